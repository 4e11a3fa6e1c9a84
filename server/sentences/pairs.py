"""Quotations and brackets of a line: which sign closes which. Pure; linear in the line's length."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

PAIRS = {
    "“": '”"',
    "‘": "’'",
    "„": '“”"',
    "‚": "‘’'",
    "«": "»",
    "»": "«»",
    "‹": "›",
    "「": "」",
    "『": "』",
    "《": "》",
    "〈": "〉",
    "【": "】",
    "（": "）",
    "(": ")",
    "[": "]",
    "{": "}",
    "<": ">",
    '"': '"”',
    "'": "'’",
    "`": "`'",
}
"""Opening sign to the signs that may close it; typists mix curly and straight quotes."""

QUOTES = frozenset("\"'“”‘’„‚«»‹›「」『』`<>")

TITLE_CLOSERS = frozenset("》〉")

OPENERS = re.compile(r"[\"'`“‘„‚«»‹「『《〈【（(\[¿¡—–\-―•·\s*_]*")

_SIGNS = re.compile("[" + re.escape("".join(sorted(set(PAIRS) | set("".join(PAIRS.values()))))) + "]|,,(?=\\w)")

_MAX_DEPTH = 12
"""Openers that are kept open at once; more have no partner, and to look through all takes quadratic time."""

_MAX_SPAN = 400
"""Characters between partners; brackets and quotations that matter to a sentence are shorter."""


def is_cased(character: str) -> bool:
    """A letter of an alphabet with capitals."""
    return character.lower() != character.upper()


def pairs_of(line: str, code: str) -> dict[int, int]:
    """Closing position to opening position of every quotation and bracket that is closed within the line."""
    opened: list[int] = []
    pairs: dict[int, int] = {}
    for found in _SIGNS.finditer(line):
        at, sign = found.start(), found[0][0]
        before, after = line[at - 1 : at], line[at + 1 : at + 2]
        if sign in "'’`" and is_cased(before) and (is_cased(after) or after.isdigit()):
            continue  # an apostrophe: don't, l'heure
        if sign == "," and code != "de":
            continue
        match = _partner(line, opened, at, sign, before, after)
        if match is not None:
            pairs[at] = opened[match]
            del opened[match:]
        elif (sign in PAIRS or sign == ",") and _may_open(sign, before, after, code):
            opened.append(at)
            del opened[:-_MAX_DEPTH]
    return _without_strays(line, pairs)


def _partner(line: str, opened: list[int], at: int, sign: str, before: str, after: str) -> int | None:
    """Index of the opener that the sign closes."""
    if sign in "\"'" and _looks_opening(before, after) and not _looks_closing(before, after):
        return None  # the one that is open has no partner: He said "go. She said "stay."
    for index in range(len(opened) - 1, -1, -1):
        opener = "„" if line[opened[index]] == "," else line[opened[index]]
        if sign in PAIRS[opener] and at - opened[index] <= _MAX_SPAN:
            return None if sign == opener == "»" else index
    return None


def _looks_opening(before: str, after: str) -> bool:
    free = not before or before.isspace() or unicodedata.category(before) in ("Ps", "Pi", "Pd") or before in "\"'"
    return free and bool(after) and not after.isspace()


def _looks_closing(before: str, after: str) -> bool:
    return bool(before) and not before.isspace() and (not after or after.isspace() or not after.isalnum())


def _may_open(sign: str, before: str, after: str, code: str) -> bool:
    if sign == "“" and before and not before.isspace() and (not after or after.isspace()):
        return False  # closes what another line, or a sign of another kind, opened
    if sign == "<":
        return code == "ko" and _looks_opening(before, after)  # <봄날은 간다.>라는 영화, but not x<y
    if sign not in "\"'»`":
        return True
    # 27" is inches and the dogs' a genitive; '90s is a decade, where Korean quotes numbers with the same sign.
    wide = not (before.isascii() or is_cased(before))
    free = not before or before.isspace() or (wide and sign == '"' and code in ("ja", "zh"))
    free = free or unicodedata.category(before) in ("Ps", "Pi", "Pd") or (before in "\"'" and before != sign)
    return free and bool(after) and not after.isspace() and not (sign == "'" and after.isdigit() and code != "ko")


def _without_strays(line: str, pairs: Mapping[int, int]) -> dict[int, int]:
    """Without apostrophes that only look like partners: `'Tis late. The boys' room is shut.`

    A quotation with whole sentences inside is closed behind a stop mark; where it is not, its signs are apostrophes.
    """
    return {
        close: opened
        for close, opened in pairs.items()
        if line[opened] not in "'‘`"
        or line[close - 1] in ".?!…,;。？！~"
        or not re.search(r"[.?!…。？！][\s\"”»]", line[opened:close])
    }
