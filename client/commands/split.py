"""narrate split: the sentences of a script and the names of their files; nothing is made."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from client.project.plan import wanted_lines
from client.run.options import given_language
from client.run.screen import duration
from server.contract.http import MAX_TEXT_CHARS
from server.script.lines import read_script
from server.terminal.console import say as say_line
from server.terminal.exit_codes import ExitCode
from server.terminal.messages import t
from server.text.pace import expected_seconds


def show_split(path: Path, language: str, as_json: bool) -> ExitCode:
    """Shows the lines that `narrate run` would make."""
    script = read_script(path, given_language(language))
    rows = [(line, expected_seconds(line.text, script.language)) for line in wanted_lines(script)]
    total = sum(seconds for _, seconds in rows)
    if as_json:
        for line, seconds in rows:
            say_line(json.dumps({**asdict(line), "expected_seconds": round(seconds, 1)}, ensure_ascii=False))
        return ExitCode.OK
    if sys.stdout.isatty():
        table = Table(box=None, pad_edge=False)
        table.add_column(t("No."), justify="right")
        table.add_column(t("File"), overflow="fold")
        table.add_column(t("Characters"), justify="right", no_wrap=True)
        table.add_column(t("Expected"), justify="right", no_wrap=True)
        table.add_column(t("Sentence"), overflow="fold", ratio=1)
        for line, seconds in rows:
            table.add_row(
                f"{line.number:03}", line.file, str(len(line.text)), f"{seconds:.1f} s", line.text, style=None
            )
        Console(highlight=False, markup=False).print(table, markup=False)
    else:
        for line, seconds in rows:
            say_line(f"{line.number:03}  {line.file}  {len(line.text)}  {seconds:.1f} s  {line.text}")
    say_line(
        t(
            "{count} sentences in {language}, about {time} of speech.",
            count=len(rows),
            language=script.language,
            time=duration(total),
        )
    )
    if too_long := [line for line, _ in rows if len(line.text) > MAX_TEXT_CHARS]:
        say_line(
            t(
                "Too long for one request, which takes at most {limit} characters: {numbers}. Break these sentences "
                "up, with a full stop or a new line.",
                limit=MAX_TEXT_CHARS,
                numbers=", ".join(f"{line.number:03}" for line in too_long),
            )
        )
    return ExitCode.OK
