"""Where a sentence may end: the stops of a line, the pairs around them, the characters beside them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_MARK = r"[.?!…。．？！｡‼⁇⁈⁉‽]"

_RUN = re.compile(rf"{_MARK}+(?:[ \u00a0\u202f]+[?!]+(?=\s|$))*")

_TAIL = re.compile(r"[~～〜♪♫♡♥★☆]+|[ㅋㅎㅠㅜ]+|\^\^+|\[\d{1,3}\]")
"""Characters that may follow a stop mark directly: a wave, a laugh, a footnote number."""

_EMOJI = r"[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\u200d\ufe0f]"

# An emoji that points forward begins the next sentence; every other emoji belongs to the sentence before it.
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
"""Characters that the rules look ahead: without a limit, a book in one line takes minutes."""


@dataclass(frozen=True)
class _Stop:
    """A run of stop marks with the closing quotes, brackets, waves and emoji after it."""

    begin: int
    """Position of the first stop mark."""
    end: int
    """Position after the closing quotes, waves and emoji."""
    marks: str
    closed: str
    """The closing quotes and brackets passed, in order."""
    opened_at: int
    """Position where the outermost bracket that closes here was opened; -1 for none."""
    marks_behind: bool
    """Stop marks follow the closing quote as well, as in `"Really?".`"""


@dataclass(frozen=True)
class Place:
    """One candidate for the end of a sentence, with all that the rules look at."""

    code: str
    line: str
    start: int
    """Position where the current sentence begins."""
    stop: _Stop
    advised: bool
    """sentencex would end a sentence here."""

    @property
    def said(self) -> str:
        """The current sentence up to the stop marks."""
        return self.line[self.start : self.stop.begin].strip()

    @property
    def gap(self) -> bool:
        """White space follows the stop."""
        return self.line[self.stop.end : self.stop.end + 1].isspace()

    @property
    def rest(self) -> str:
        """The text after the stop: AHEAD characters at most, without leading white space."""
        return self.line[self.stop.end : self.stop.end + AHEAD].lstrip()

    @property
    def opening(self) -> str:
        """Quotes, dashes and inverted marks before the next word."""
        return _OPENERS.match(self.rest)[0]  # type: ignore[index]  # it matches the empty string too

    @property
    def word(self) -> str:
        """The next word without the quotes and dashes before it; of `I'll` only the `I`."""
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
        if character in "'’" and is_cased(before) and (is_cased(after) or after.isdigit()):
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
    # No quotation begins at 27" (inches), dogs' (a genitive) and '90s (a decade); but Korean quotes numbers with '.
    free = not before or before.isspace() or (not (before.isalnum() and before.isascii()) and character == '"')
    free = free or unicodedata.category(before) in ("Ps", "Pi", "Pd")
    return free and bool(after) and not (character == "'" and after.isdigit() and code != "ko")


def is_cased(character: str) -> bool:
    """A letter of an alphabet that has capitals: Latin, Greek, Cyrillic."""
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
    """The stop with all that closes after its marks, and with the stop marks after that."""
    end, closed, opened_at, behind, marks = found.end(), "", -1, False, found[0]
    while end < len(line):
        spaces = len(line[end : end + 9]) - len(line[end : end + 9].lstrip())
        if end + spaces in pairs and (not spaces or line[end + spaces] in '»"'):
            end += spaces
            closed += line[end]
            opened_at = pairs[end]
            end += 1
        elif line[end] in "”’」』）)" and end not in pairs:  # closes a pair that another line opened
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
    """For each character, the position where the outermost quotation around it closes.

    -1 for a character outside of all quotations, or inside an overlong one.
    """
    ends = [-1] * (len(line) + 1)
    for close, opened in pairs.items():
        if close - opened <= _max_quotation_chars(line[opened:close]):
            for at in range(opened + 1, close):
                ends[at] = max(ends[at], close)
    return ends


def _max_quotation_chars(quoted: str) -> int:
    """A longer quotation is split inside: in one take of half a minute the voice drifts."""
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
    """A word in small letters continues the sentence, unless the writer uses no capitals at all; iPhone is none."""
    word = place.word
    if not word[:1].islower() or not is_cased(word[0]):
        return False
    if not word.islower():
        return False
    return not (place.advised and place.line == place.line.lower() and not place.opening.strip())
