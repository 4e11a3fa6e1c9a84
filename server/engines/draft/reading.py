"""What eSpeak NG is given to read: Japanese in kana, marks as it understands them."""

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
    """For each character and the end: its offset in the text as written."""


# White space before an ellipsis that stands free, and what may be an abbreviation before that.
_FREE_ELLIPSIS = re.compile(r"(?P<short>\b[A-Z][a-z]{0,2}\.['\"’”)]*)?(?P<space> {1,2})(?=(?:\.\.\.|……) )")


def as_written(text: str) -> _Readable:
    return _Readable(_FREE_ELLIPSIS.sub(_line_break, text), list(range(len(text) + 1)))


def _line_break(ellipsis: re.Match[str]) -> str:
    """A free ellipsis is a pause, yet eSpeak NG runs on over it after a lone symbol; at a line's end it stops.

    After "Mr." or "plan B." only an empty line stops it. As many characters as before, so that offsets hold.
    """
    short, space = ellipsis["short"] or "", ellipsis["space"]
    return short + ("\n" * len(space) if short else "\n" + space[1:])


def in_kana(text: str, reader: Reader | None) -> _Readable:
    """eSpeak NG says "Chinese letter" for each kanji, so they become kana or the line is refused."""
    if not _KANJI.search(text):
        return as_written(text)
    if reader is None:
        raise TextRefused(ErrorCode.KANJI_UNREADABLE)
    spoken: list[str] = []
    offsets: list[int] = []
    at = 0
    for surface, reading in reader(text):
        said = reading if _KANJI.search(surface) else surface
        if _KANJI.search(said):  # a name that the dictionary does not have
            raise TextRefused(ErrorCode.KANJI_UNREADABLE)
        spoken.append(said)
        offsets += [at + min(i, len(surface) - 1) for i in range(len(said))]
        at += len(surface)
    return _Readable(as_written("".join(spoken)).text, [*offsets, len(text)])


def kana_reader() -> Reader | None:
    """SudachiPy with its small dictionary (extra `kanji`), where both are installed."""
    try:
        dictionary = importlib.import_module("sudachipy").Dictionary(dict="small")
    except ImportError:
        return None
    # A tokenizer serves one thread, and making one takes microseconds. `create` is its name before 0.7.
    new_tokenizer = dictionary.tokenizer if hasattr(dictionary, "tokenizer") else dictionary.create

    def read(text: str) -> list[tuple[str, str]]:
        return [(word.surface(), word.reading_form()) for word in new_tokenizer().tokenize(text)]

    return read
