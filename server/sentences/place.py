"""Where a sentence may end: the stops of a line, the pairs around them, the characters beside them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_MARK = r"[.?!…。．？！｡‼⁇⁈⁉‽]"

_RUN = re.compile(rf"{_MARK}+(?:[ \u00a0\u202f]+[?!]+(?=\s|$))*")

_TAIL = re.compile(r"[~～〜♪♫♡♥★☆]+|[ㅋㅎㅠㅜ]+|\^\^+|\[\d{1,3}\]")
"""What may hang on a stop mark: a wave, a laugh, a footnote number."""

_EMOJI = r"[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\u200d\ufe0f]"

# Pictures that point at what follows open a sentence; all others close the one before.
_POINTER = r"[👉👇➡▶►➤➜✅☑✔📌📍🔔💡🔹🔸❌⭐]"

_EMOJI_TAIL = re.compile(rf"(?!{_POINTER}){_EMOJI}|\s+(?!{_POINTER}){_EMOJI}(?:\s*(?!{_POINTER}){_EMOJI})*(?=\s|$)")

PAIRS = {
    "“": "”",
    "‘": "’",
    "„": "“”",
    "‚": "‘’",
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
    '"': '"',
    "'": "'",
}

QUOTES = frozenset("\"'“”‘’„‚«»‹›「」『』")

TITLE_CLOSERS = frozenset("》〉")

_OPENERS = re.compile(r"[\"'“‘„‚«»‹「『《〈【（(\[¿¡—–\-―•·\s*_]*")

AHEAD = 200
"""Characters that the rules look ahead; without an end a whole book in one line takes minutes."""


@dataclass(frozen=True)
class _Stop:
    """A run of stop marks with everything that closes behind it."""

    begin: int
    """Where the marks begin."""
    end: int
    """Behind closing quotes, waves, emoji."""
    marks: str
    closed: str
    """The closing quotes and brackets passed, in order."""
    opened_at: int
    """Where the outermost bracket that closes here opened; -1 for none."""
    marks_behind: bool
    """Stop marks follow the closing quote too, as in `"Really?".`"""


@dataclass(frozen=True)
class Place:
    """One candidate and all that the rules look at."""

    code: str
    line: str
    start: int
    """Where the sentence under way begins."""
    stop: _Stop
    advised: bool
    """sentencex would end a sentence here."""

    @property
    def said(self) -> str:
        """The sentence under way up to the stop marks."""
        return self.line[self.start : self.stop.begin].strip()

    @property
    def gap(self) -> bool:
        return self.line[self.stop.end : self.stop.end + 1].isspace()

    @property
    def rest(self) -> str:
        """What follows, as far as any rule looks."""
        return self.line[self.stop.end : self.stop.end + AHEAD].lstrip()

    @property
    def opening(self) -> str:
        """Quotes, dashes and inverted marks before the next word."""
        return _OPENERS.match(self.rest)[0]  # type: ignore[index]  # it matches the empty string too

    @property
    def word(self) -> str:
        """The next word, without what opens before it; of `I'll` the `I`."""
        found = re.match(r"\w+", self.rest[len(self.opening) :])
        return found[0] if found else ""


def is_speakable(text: str) -> bool:
    return any(character.isalnum() for character in text)


def pairs_of(line: str, code: str) -> dict[int, int]:
    """Closing position to opening position of every quotation and bracket that is closed within the line."""
    open_at: list[int] = []
    pairs: dict[int, int] = {}
    for at, character in enumerate(line):
        before, after = line[at - 1 : at] if at else "", line[at + 1 : at + 2]
        if character in "'’" and roman(before) and (roman(after) or after.isdigit()):
            continue  # an apostrophe: don't, l'heure
        match = next((i for i in reversed(open_at) if character in PAIRS[line[i]]), None)
        if match is not None and not (character == "»" and line[match] == "»"):
            del open_at[open_at.index(match) :]
            pairs[at] = match
        elif character in PAIRS and _may_open(character, before, after, code):
            open_at.append(at)
    return pairs


def _may_open(character: str, before: str, after: str, code: str) -> bool:
    if character not in "\"'»":
        return True
    # 27" is inches and the dogs' a genitive; '90s is a decade, where Korean quotes numbers with the same sign.
    free = not before or before.isspace() or (not (before.isalnum() and before.isascii()) and character == '"')
    free = free or unicodedata.category(before) in ("Ps", "Pi", "Pd")
    return free and bool(after) and not (character == "'" and after.isdigit() and code != "ko")


def roman(character: str) -> bool:
    """A letter of an alphabet with capitals."""
    return character.lower() != character.upper()


def stops_of(line: str, pairs: dict[int, int]) -> Iterator[_Stop]:
    at = 0
    closes = _quotation_ends(line, pairs)
    while found := _RUN.search(line, at):
        stop = _stop(line, found, pairs)
        at = stop.end
        if closes[stop.begin] < stop.end:
            yield stop


def _stop(line: str, found: re.Match[str], pairs: dict[int, int]) -> _Stop:
    """Takes along what closes behind the marks, and marks behind that."""
    end, closed, opened_at, behind, marks = found.end(), "", -1, False, found[0]
    while end < len(line):
        spaces = len(line[end : end + 9]) - len(line[end : end + 9].lstrip())
        if end + spaces in pairs and (not spaces or line[end + spaces] in '»"'):
            end += spaces
            closed += line[end]
            opened_at = pairs[end]
            end += 1
        elif line[end] in "”’」』）)" and end not in pairs:  # closes what another line opened
            closed += line[end]
            end += 1
        elif tail := _TAIL.match(line, end):
            end = tail.end()
        elif closed and (more := _RUN.match(line, end)):
            end, behind = more.end(), True
        elif emoji := _EMOJI_TAIL.match(line, end):
            end = emoji.end()
        else:
            break
    return _Stop(found.start(), end, marks, closed, opened_at, behind)


def _quotation_ends(line: str, pairs: dict[int, int]) -> list[int]:
    """For each character where the outermost quotation around it closes; -1 outside, and inside an overlong one."""
    ends = [-1] * (len(line) + 1)
    for close, opened in pairs.items():
        if close - opened <= _longest_quotation(line[opened:close]):
            for at in range(opened + 1, close):
                ends[at] = max(ends[at], close)
    return ends


def _longest_quotation(quoted: str) -> int:
    """Characters; a longer one is split inside, since one take of half a minute drifts."""
    return 90 if 3 * sum(map(is_wide, quoted)) > len(quoted) else 220


def is_wide(character: str) -> bool:
    return is_hangul(character) or is_kana(character) or is_han(character)


def is_hangul(character: str) -> bool:
    return "가" <= character <= "힣" or "ᄀ" <= character <= "ᇿ" or "ㄱ" <= character <= "ㆎ"


def is_kana(character: str) -> bool:
    return "ぁ" <= character <= "ゖ" or "ァ" <= character <= "ヺ" or character == "ー" or "ｦ" <= character <= "ﾝ"


def is_han(character: str) -> bool:
    return "㐀" <= character <= "鿿" or "\U00020000" <= character <= "\U0003ffff" or character == "々"


def goes_on_in_small_letters(place: Place) -> bool:
    """A small letter continues the sentence, unless it is an iPhone or the writer uses no capitals at all."""
    word = place.word
    if not word[:1].islower() or not roman(word[0]):
        return False
    if not word.islower():
        return False
    return not (place.advised and place.line == place.line.lower() and not place.opening.strip())
