"""Markdown to passages: marks taken off, blocks that are not spoken left out."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from server.script.passages import BREAK, HEADING, Passage, PassageReader, is_speakable, label_and_rest

_FENCE = re.compile(r"\s*(`{3,}|~{3,})")

_RULE = re.compile(r"\s*([-*_])(?:\s*\1){2,}\s*")

_TABLE_RULE = re.compile(r"\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)*\|?\s*")

_DEFINITION = re.compile(r"\s{0,3}\[[^\]]+\]:\s")

_BULLET = re.compile(r"\s*(?:[-*+]\s+(?:\[[ xX]\]\s+)?|(?=\d{1,3}[.)]\s))")

_QUOTED = re.compile(r"^\s{0,3}(?:>\s?)+")


def markdown_passages(text: str) -> Iterator[Passage]:
    reader = PassageReader()
    run: list[str] = []
    """Source lines of the current passage."""
    run_begins = 0
    lines = _without_blocks(text.split("\n"))

    def finish() -> Iterator[Passage]:
        spoken = _without_marks(BREAK.join(run))
        run.clear()
        if is_speakable(spoken):
            yield reader.passage(spoken, run_begins)

    for number, raw in enumerate(lines, start=1):
        line = _QUOTED.sub("", raw, count=1)
        if run and len(run) == 1 and re.fullmatch(r"\s{0,3}=+\s*", line):  # Heading, underlined
            reader.begin_heading(_without_marks(run[0]).strip())
            run.clear()
            continue
        heading = HEADING.fullmatch(line)
        if heading or not line.strip() or _RULE.fullmatch(line):
            yield from finish()
            reader.close_paragraph()
            if heading:
                reader.begin_heading(_without_marks(heading[1] or "").strip())
            continue
        if _TABLE_RULE.fullmatch(line) or _DEFINITION.match(line):
            yield from finish()
            continue
        bullet = _BULLET.match(line)
        is_table_row = line.lstrip().startswith("|")
        label, rest = label_and_rest(line[bullet.end() :] if bullet else line)
        if bullet or is_table_row or label:
            yield from finish()
        reader.label = label or reader.label
        if is_table_row:
            rest = ", ".join(cell.strip() for cell in rest.strip().strip("|").split("|") if cell.strip())
        if not run:
            run_begins = number
        if rest.strip():
            run.append(rest.strip())
        if is_table_row or raw.endswith(("  ", "\\")):
            yield from finish()
    yield from finish()


def _without_blocks(lines: list[str]) -> list[str]:
    """Front matter, code blocks and comments as empty lines, so that the numbers of the others stay."""
    kept = list(lines)
    if kept and kept[0].rstrip() == "---":
        end = next((i for i, line in enumerate(kept[1:], start=1) if line.rstrip() in ("---", "...")), None)
        if end is not None:
            kept[: end + 1] = [""] * (end + 1)
    fence = ""
    for i, line in enumerate(kept):
        found = _FENCE.match(line)
        if fence:
            kept[i] = ""
            if found and found[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif found:
            fence, kept[i] = found[1], ""
    blank = re.sub(r"<!--.*?-->", lambda comment: "\n" * comment[0].count("\n"), "\n".join(kept), flags=re.DOTALL)
    return blank.split("\n")


_IMAGE = re.compile(r"!\[[^\]]*\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\]]*\])")

_LINK = re.compile(r"\[([^\[\]]*)\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\])")

_MARKS_OFF = (
    (re.compile(r"\[\^[^\]]+\]"), ""),  # footnote
    (_IMAGE, ""),
    (_LINK, r"\1"),
    (re.compile(r"<((?:https?://|mailto:)[^<>\s]+)>"), r"\1"),
    (re.compile(r"<br\s*/?>", re.IGNORECASE), "\n"),
    (re.compile(r"</?[A-Za-z][^<>]*>"), ""),
    (re.compile(r"(?<!\\)(`+)(.+?)(?<!\\)\1"), r"\2"),
    (re.compile(r"(?<![\\\d*])(\*{1,3})(?=[^\s*])(.+?)(?<=[^\s*\\])\1(?!\*)"), r"\2"),
    (re.compile(r"(?<!\\)(~~|==|__)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![A-Za-z0-9_\\])_(?=[^\s_])([^_]+?)(?<=\S)_(?![A-Za-z0-9_])"), r"\1"),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)
"""The order matters: a link's text may be emphasised, and an escaped star is no emphasis."""


def _without_marks(text: str) -> str:
    for pattern, kept in _MARKS_OFF:
        text = pattern.sub(kept, text)
    return html.unescape(text.rstrip("\\")).replace("\xa0", " ")
