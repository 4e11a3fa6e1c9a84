"""A plain text to passages with headings and labels. Knows no Markdown and no sentence."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

MAX_LABEL_CHARS = 60
"""Longer text in square brackets is a part of the sentence."""


BREAK = "\ue000"
"""Stands for a line break within a passage until its sentences are found."""


@dataclass(frozen=True)
class Passage:
    """A text that is split into sentences as one: a line of a .txt file, the running text of a Markdown paragraph."""

    text: str
    """With BREAK for each line break of the source."""
    label: str
    paragraph: int
    heading: str
    source_line: int


@dataclass
class PassageReader:
    """Paragraph, heading and label at the line that is being read."""

    paragraph: int = 0
    paragraph_open: bool = False
    heading: str = ""
    label: str = ""
    """For the next passage."""

    def close_paragraph(self) -> None:
        self.paragraph_open = False

    def begin_heading(self, heading: str) -> None:
        self.close_paragraph()
        self.heading = self.label = heading

    def passage(self, text: str, source_line: int) -> Passage:
        if not self.paragraph_open:
            self.paragraph += 1
            self.paragraph_open = True
        label, self.label = self.label, ""
        return Passage(text, label, self.paragraph, self.heading, source_line)


HEADING = re.compile(r"\s{0,3}#{1,6}(?:\s+(.*?))?(?:\s+#+)?\s*")
"""CommonMark's rule: without the space, `#1` and `#tag` are words of the sentence."""

_LABEL = re.compile(rf"\s*\[([^\[\]]{{1,{MAX_LABEL_CHARS}}})\](?![(:\[])\s*(.*)", re.DOTALL)


def is_speakable(text: str) -> bool:
    """Has a letter or a number; a kana length mark alone has no sound, and the server would refuse it."""
    return any(character.isalnum() and unicodedata.category(character) != "Lm" for character in text)


def label_and_rest(line: str) -> tuple[str, str]:
    found = _LABEL.fullmatch(line)
    return (found[1].strip(), found[2]) if found else ("", line)


def text_passages(text: str) -> Iterator[Passage]:
    reader = PassageReader()
    for number, line in enumerate(text.split("\n"), start=1):
        if line.lstrip().startswith("//"):
            continue
        if heading := HEADING.fullmatch(line):
            reader.begin_heading(heading[1] or "")
            continue
        label, rest = label_and_rest(line)
        reader.label = label or reader.label
        if is_speakable(rest):
            yield reader.passage(rest, number)
        elif not label:
            reader.close_paragraph()  # an empty line, or a rule such as ---
