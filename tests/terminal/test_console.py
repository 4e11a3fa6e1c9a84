"""Both programs at a terminal: usage errors, languages, consoles that cannot show everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clock import seconds

from server.terminal.messages import reader_language, t, use_language

HANGUL = re.compile("[가-힣]")


def program(module: str, *args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", module, *args],
        env={**os.environ, **environment},
        cwd=cwd,
        capture_output=True,
        timeout=seconds(60),
        check=False,
    )


@pytest.mark.parametrize(
    ("argv", "environ", "system", "language"),
    [
        ([], {}, None, "en"),
        ([], {}, "ko_KR", "ko"),
        ([], {}, "Korean_Korea", "ko"),
        ([], {"LANG": "ko_KR.UTF-8"}, "en_US", "ko"),
        ([], {"LANG": "C.UTF-8"}, "ko_KR", "en"),
        ([], {"LANG": "ko_KR", "LC_ALL": "en_US"}, None, "en"),
        (["--lang", "ko"], {"LANG": "en_US"}, None, "ko"),
        (["run", "x.txt", "--lang=en"], {"LANG": "ko_KR"}, None, "en"),
        (["--lang", "de"], {}, None, "en"),
        (["--lang"], {"LANG": "ko_KR"}, None, "ko"),
    ],
)
def test_the_readers_language(argv: list[str], environ: dict[str, str], system: str | None, language: str) -> None:
    assert reader_language(argv, environ, system) == language


def test_sentences_change_with_the_language() -> None:
    english = t("Stopped.")
    use_language("ko")
    korean = t("Stopped.")
    assert english == "Stopped."
    assert HANGUL.search(korean)


@pytest.mark.parametrize("module", ["server", "client"])
@pytest.mark.parametrize(
    "args",
    [["--help"], [], ["nonsense"], ["--nonsense"]],
)
def test_help_and_usage_errors_are_in_the_readers_language_and_without_a_traceback(
    module: str, args: list[str], tmp_path: Path
) -> None:
    for language, is_korean in (("ko", True), ("en", False)):
        ended = program(module, "--lang", language, *args, cwd=tmp_path, PYTHONUTF8="1")
        text = (ended.stdout + ended.stderr).decode()
        assert "Traceback" not in text
        assert bool(HANGUL.search(text)) is is_korean, text
        assert ended.returncode == (0 if args == ["--help"] else 2)


@pytest.mark.parametrize("args", [["-h"], ["serve", "-h"], ["run", "-h"]])
def test_h_shows_what_help_shows(args: list[str], tmp_path: Path) -> None:
    """A regression: the help option was made anew with its long name alone."""
    module = "client" if "run" in args else "server"
    short = program(module, *args, cwd=tmp_path)
    assert short.returncode == 0, short.stderr
    assert b"-h, --help" in short.stdout
    assert short.stdout == program(module, *args[:-1], "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("module", ["server", "client"])
def test_a_cp949_console_shows_the_korean_help_whole(module: str, tmp_path: Path) -> None:
    for command in ([], ["run"], ["split"], ["status"], ["say"]) if module == "client" else ([], ["serve"], ["init"]):
        ended = program(module, "--lang", "ko", *command, "--help", cwd=tmp_path, PYTHONIOENCODING="cp949")
        assert ended.returncode == 0, ended.stderr
        text = ended.stdout.decode("cp949")
        assert HANGUL.search(text)
        assert "?" not in text.replace("?)", ""), text


def test_a_fault_of_ours_is_one_line_and_a_traceback_only_with_debug(tmp_path: Path) -> None:
    code = (
        "import sys, typer; from server.terminal import console\n"
        "def build():\n"
        "    app = typer.Typer()\n"
        "    @app.command()\n"
        "    def f(): raise KeyError('boom')\n"
        "    return app\n"
        "sys.exit(console.run(build, 'x', ()))\n"
    )

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=tmp_path, check=False
        )

    plain, debug = run(), run("--debug")
    assert plain.returncode == debug.returncode == 1
    assert "boom" in plain.stderr and "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
