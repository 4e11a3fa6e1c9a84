"""Where a sentence may end: the stops of a line and the characters beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from server.sentences.pairs import OPENERS, is_cased

_MARK = r"[.?!…。．？！｡‼⁇⁈⁉‽]"

_RUN = re.compile(
    # Four spaced dots written to a word are its full stop and three that stand for something left out.
    r"(?<=\w)\.(?=(?:[ \u00a0]\.){3}[ \u00a0]+[A-ZА-ЯÀ-ÖØ-Þ])"
    r"|\.(?:[ \u00a0]\.)+(?:[ \u00a0]?[?!]+)?"
    rf"|{_MARK}+(?:[ \u00a0\u202f]+[?!]+(?=\s|$))*"
)

_FOOTNOTE = r"\[(?:\d{1,3}(?:\s?[-–,]\s?\d{1,3})*|[a-z]|note \d+|주 ?\d+)\]"

_TAIL = re.compile(
    rf"[~～〜♪♫♡♥★☆]+|[ㅋㅎㅠㅜ]+|\^\^+|[¹²³⁰⁴-⁹]+|{_FOOTNOTE}|[ \u00a0]{_FOOTNOTE}(?=\s|\[|$)"
    r"|[ \u00a0](?:\^\^+|[:;]-?[)D])(?=\s|$)"
)
"""What may hang on a stop mark: a wave, a laugh, a footnote number."""

_EMOJI = r"[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\u200d\ufe0f]"

# Pictures that point at what follows open a sentence; all others close the one before.
_POINTER = r"[👉👇➡▶►➤➜✅☑✔📌📍🔔💡🔹🔸❌⭐]"

_EMOJI_TAIL = re.compile(rf"(?!{_POINTER}){_EMOJI}|\s+(?!{_POINTER}){_EMOJI}(?:\s*(?!{_POINTER}){_EMOJI})*(?=\s|$)")

_SOURCE = re.compile(r"\s?[(（][^()（）.?!…。？！]{1,60}(?:\.[^()（）.?!…。？！]{1,20})?[)）](?=\s|[.,;。、，]|$)")
"""Behind a quotation, where it was said: `“…” (Smith 55).`, `“…”(요한 3:13)`."""

AHEAD = 200
"""Characters that the rules look ahead; without an end a whole book in one line takes minutes."""

BEHIND = 400
"""Characters that the rules look back, for the same reason."""


@dataclass(frozen=True)
class Stop:
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
    stop: Stop
    advised: bool
    """sentencex would end a sentence here."""

    @cached_property
    def said(self) -> str:
        """The sentence under way up to the stop marks; of a very long one its end."""
        return self.line[max(self.start, self.stop.begin - BEHIND) : self.stop.begin].strip()

    @cached_property
    def before_bracket(self) -> str:
        """The sentence under way up to the quotation or bracket that closes here, as far back as any rule looks."""
        opened_at = self.stop.opened_at
        return self.line[max(self.start, opened_at - BEHIND) : max(self.start, opened_at)].strip()

    @cached_property
    def gap(self) -> bool:
        return self.line[self.stop.end : self.stop.end + 1].isspace()

    @cached_property
    def rest(self) -> str:
        """What follows, as far as any rule looks."""
        return self.line[self.stop.end : self.stop.end + AHEAD].lstrip()

    @cached_property
    def opening(self) -> str:
        """Quotes, dashes and inverted marks before the next word."""
        return OPENERS.match(self.rest)[0]  # type: ignore[index]  # it matches the empty string too

    @cached_property
    def word(self) -> str:
        """The next word, without what opens before it; of `I'll` the `I`."""
        found = re.match(r"\w+", self.rest[len(self.opening) :])
        return found[0] if found else ""


def is_speakable(text: str) -> bool:
    return any(character.isalnum() for character in text)


def stops_of(line: str, pairs: Mapping[int, int]) -> Iterator[Stop]:
    """The stops outside quotations and brackets, and those with which a quotation ends."""
    quotations = sorted(
        (opened, close) for close, opened in pairs.items() if close - opened <= _longest_quotation(line, opened, close)
    )
    at = entered = 0
    closes = -1  # where the outermost quotation around the candidate closes
    while found := _RUN.search(line, at):
        stop = _stop(line, found, pairs)
        at = stop.end
        while entered < len(quotations) and quotations[entered][0] < stop.begin:
            closes = max(closes, quotations[entered][1])
            entered += 1
        if closes < stop.begin or closes < stop.end:
            yield stop


def _stop(line: str, found: re.Match[str], pairs: Mapping[int, int]) -> Stop:
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
        elif closed[-1:] in tuple("\"'”’»“」』") and (source := _SOURCE.match(line, end)):
            end = source.end()
        elif emoji := _EMOJI_TAIL.match(line, end):
            end = emoji.end()
        else:
            break
    return Stop(found.start(), end, marks, closed, opened_at, behind)


def _longest_quotation(line: str, opened: int, close: int) -> int:
    """Characters; a longer one is split inside, since one take of half a minute drifts."""
    quoted = line[opened : min(close, opened + 221)]
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
    if not word[:1].islower() or not is_cased(word[0]):
        return False
    if not word.islower():
        return False
    if _is_eastern_end(place):
        return False  # PC를 켭니다. npm을 설치합니다.
    return not (place.advised and not place.opening.strip() and _has_no_capitals(place.line))


def _is_eastern_end(place: Place) -> bool:
    """Neither Hangul nor a full-width mark has small letters behind it that could tell anything."""
    return place.code in ("ko", "ja", "zh") and (is_wide(place.said[-1:] or " ") or not place.stop.marks.isascii())


def _has_no_capitals(line: str) -> bool:
    return not any(character.isupper() for character in line[:4000])
