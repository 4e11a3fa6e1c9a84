"""Items of a list written within one line: `1) … 2) …`, `a. … b. …`, `• 9. … • 10. …`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

BULLETS = "•⁃‣◦▪▫■□◆◇●○∙·*►▶→⇒➤➜✓✔❖"

_MARKER = re.compile(
    rf"(?:^|(?<=\s))(?P<bullet>[{BULLETS}][ \u00a0]*)?"
    r"(?P<label>[QA]?\d{1,3}|\d{1,2}-\d{1,2}|[ivx]{2,4}|[IVX]{2,4}|[A-Za-zа-зА-З]|[ㄱ-ㅎ]|[가나다라마바사아자차카타파하])"
    r"(?P<close>\.\)|\)|\.)(?=\s)"
)

_ORDERS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "абвгдежз",
    "АБВГДЕЖЗ",
    "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ",
    "가나다라마바사아자차카타파하",
)

_ROMANS = (
    ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"),
    ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"),
)

_BETWEEN_ITEMS = re.compile(
    r"(?:[,;，；、/·(\[]|\b(?:and|or|und|oder|et|ou|y|o|e|и|или|bis|to|à|a)|그리고|또는|및|와|과|と|和)$"
)
"""`1) milk, 2) bread` and `1) milk and 2) bread` are one sentence."""

_MIN_WORDS = 3
"""Behind a colon and without stop marks, items of fewer words are an enumeration: `you need: 1) salt 2) oil`."""


@dataclass(frozen=True)
class _Marker:
    style: tuple[str, str, str]
    """Bullet, kind of label and what closes it: items of one list share all three."""
    value: int
    begin: int
    end: int


@dataclass(frozen=True)
class Items:
    """Where the items of a line's lists begin."""

    cuts: tuple[int, ...]
    """Positions before which a sentence ends although no stop mark says so."""
    marks: frozenset[int]
    """Positions of stop marks that belong to an item's number."""
    begins: frozenset[int]
    """Where items begin: a stop mark right before them ends a sentence."""


def items_of(line: str) -> Items:
    """The lists of a line. One marker alone is no list: `Vitamin 1. Then` is judged by the other rules."""
    marks: set[int] = set()
    begins: set[int] = set()
    cuts: list[int] = []
    under_way: dict[tuple[str, str, str], tuple[_Marker, bool]] = {}
    for marker in _markers(line):
        before, at_start = under_way.get(marker.style, (None, False))
        if before and marker.value == before.value + 1 and _has_words(line[before.end : marker.begin], 1):
            marks.update(range(before.begin, before.end))
            marks.update(range(marker.begin, marker.end))
            begins.update((before.begin, marker.begin))
            if _begins_item(line, before, marker, at_start):
                cuts.append(marker.begin)
            under_way[marker.style] = (marker, at_start)
        elif _begins_list(line, marker):
            under_way[marker.style] = (marker, not line[: marker.begin].strip(" \t" + BULLETS))
    return Items(tuple(cuts), frozenset(marks), frozenset(begins))


def _markers(line: str) -> list[_Marker]:
    return [
        _Marker(((found["bullet"] or "").strip(), kind, found["close"]), value, found.start(), found.end())
        for found in _MARKER.finditer(line)
        for kind, value in _values_of(found["label"])
    ]


def _values_of(label: str) -> list[tuple[str, int]]:
    """`Q3` to ("Q", 3), `1-2` to ("1-", 2), `b` to ("abc…", 1); `i` may be a letter or a Roman number."""
    if number := re.fullmatch(r"([QA]?|\d{1,2}-)(\d{1,3})", label):
        return [(number[1], int(number[2]))]
    letters = [(order, order.index(label)) for order in _ORDERS if label in order]
    romans = [(order[0], order.index(label)) for order in _ROMANS if label in order]
    return letters + romans


def _begins_list(line: str, marker: _Marker) -> bool:
    before = line[max(0, marker.begin - 8) : marker.begin].rstrip()
    return not before or before[-1] in ".!?…:。！？："


def _begins_item(line: str, before: _Marker, marker: _Marker, at_start: bool) -> bool:
    """A stop mark before the item is judged as any other; without one the list must be plain to see."""
    told = line[before.end : marker.begin].rstrip()
    if told[-1:] in tuple(".!?…。！？\"'”’»」』)") or _BETWEEN_ITEMS.search(told[-8:]):
        return False
    following = line[marker.end : marker.end + 40].lstrip()
    if marker.style[1].isupper() and marker.style[1] in _ORDERS:
        return False  # A. Smith met B. Jones
    if marker.style[2] == "." and (not at_start or following[:1].islower()):
        return False  # 1. Mai bis 2. Juni
    return at_start or _has_words(told, _MIN_WORDS)


def _has_words(text: str, least: int) -> bool:
    return len(re.findall(r"[^\W\d_]+", text[:200])) >= least
