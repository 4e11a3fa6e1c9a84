"""Text in Unicode's composed form (NFC), in time linear in its length."""

from __future__ import annotations

import re
import unicodedata

MAX_MARKS = 30
"""Combining marks on one letter that are put in order: more than any language writes (Unicode's Stream-Safe Format)."""

_WITHOUT_A_GAP = re.compile(rf"\S{{{MAX_MARKS},}}")


def composed(text: str) -> str:
    """NFC. A letter under more than MAX_MARKS combining marks is left as it is: to order them takes quadratic time."""
    if text.isascii():
        return text
    parts: list[str] = []
    at = 0
    for run in _WITHOUT_A_GAP.finditer(text):
        for begin, end in _overloaded(run[0]):
            parts.append(unicodedata.normalize("NFC", text[at : run.start() + begin]))
            at = run.start() + end
            parts.append(text[run.start() + begin : at])
    return "".join((*parts, unicodedata.normalize("NFC", text[at:])))


def _overloaded(run: str) -> list[tuple[int, int]]:
    """The letters under too many marks, with those marks."""
    if not any(map(unicodedata.combining, run)):
        return []
    found: list[tuple[int, int]] = []
    begin = 0
    for at, character in enumerate(run + " "):
        if unicodedata.combining(character):
            continue
        if at - begin > MAX_MARKS:
            found.append((begin, at))
        begin = at
    return found
