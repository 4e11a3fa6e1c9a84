"""The text that eSpeak NG reads: Japanese in kana, ellipses in a form that eSpeak NG pauses at."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from server.contract.codes import ErrorCode
from server.errors import TextRefused

_KANJI = re.compile("[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")

Reader = Callable[[str], list[tuple[str, str]]]
"""Japanese text to its words and their readings in kana."""


@dataclass(frozen=True)
class _Readable:
    text: str
    offsets: list[int]
    """For each character and the end: the offset in the text as written"""


# White space before a free-standing ellipsis, and a possible abbreviation before that space.
_FREE_ELLIPSIS = re.compile(r"(?P<short>\b[A-Z][a-z]{0,2}\.['\"’”)]*)?(?P<space> {1,2})(?=(?:\.\.\.|……) )")


def as_written(text: str) -> _Readable:
    return _Readable(_FREE_ELLIPSIS.sub(_line_break, text), list(range(len(text) + 1)))


def _line_break(ellipsis: re.Match[str]) -> str:
    """Replaces the space before a free-standing ellipsis by a line break, at which eSpeak NG pauses.

    Without it eSpeak NG makes no pause at an ellipsis after a lone symbol. After "Mr." or "plan B." it needs an empty
    line. The number of characters stays the same, so that offsets hold.
    """
    short, space = ellipsis["short"] or "", ellipsis["space"]
    return short + ("\n" * len(space) if short else "\n" + space[1:])


def in_kana(text: str, reader: Reader | None) -> _Readable:
    """Japanese text with kanji turned into kana, since eSpeak NG says "Chinese letter" for each kanji.

    Raises TextRefused when a kanji has no known reading, or there is no reader.
    """
    if not _KANJI.search(text):
        return as_written(text)
    if reader is None:
        raise TextRefused(ErrorCode.KANJI_UNREADABLE)
    words: list[str] = []
    offsets: list[int] = []
    at = 0
    for surface, reading in reader(text):
        kana = reading if _KANJI.search(surface) else surface
        if _KANJI.search(kana):  # a name that the dictionary does not have
            raise TextRefused(ErrorCode.KANJI_UNREADABLE)
        words.append(kana)
        offsets += [at + min(i, len(surface) - 1) for i in range(len(kana))]
        at += len(surface)
    return _Readable(as_written("".join(words)).text, [*offsets, len(text)])


def kana_reader() -> Reader | None:
    """SudachiPy with its small dictionary (extra `kanji`); None where either is not installed."""
    try:
        dictionary = importlib.import_module("sudachipy").Dictionary(dict="small")
    except ImportError:
        return None
    # A tokenizer serves one thread, and making one takes microseconds. Before SudachiPy 0.7 the method is `create`.
    new_tokenizer = dictionary.tokenizer if hasattr(dictionary, "tokenizer") else dictionary.create

    def read(text: str) -> list[tuple[str, str]]:
        return [(word.surface(), word.reading_form()) for word in new_tokenizer().tokenize(text)]

    return read
