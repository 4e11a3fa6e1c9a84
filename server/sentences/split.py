"""A paragraph, split into the sentences that a narrator would record one by one. Knows no file and no server.

Every run of stop marks is a candidate. Rules, most of them "this goes on", decide about it; whether a full stop ends an
abbreviation is sentencex's judgement where a language's own tables say nothing. When in doubt two sentences stay
together: a line that is cut in its middle is recorded with the wrong cadence, two sentences in one file do no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import sentencex

from server.sentences.full_stops import ends_at_ellipsis, ends_at_full_stop, is_closing_korean, is_list_marker
from server.sentences.items import items_of
from server.sentences.pairs import QUOTES, pairs_of
from server.sentences.place import (
    AHEAD,
    Place,
    goes_on_in_small_letters,
    is_hangul,
    is_speakable,
    is_wide,
    stops_of,
)
from server.sentences.quotations import NAMES_WITH_A_MARK, ends_after_bracket, ends_after_quote, is_attribution
from server.sentences.quotations_east import GOES_ON_QUOTING, continues_in_japanese, is_cited_in_korean
from server.sentences.words import STARTERS
from server.text.languages import language_code

_SPOKEN = re.compile(r"[^\W_]")

_WINDOW = 4000
"""Characters that sentencex sees at once: of brackets without a partner it makes quadratic work."""

_LONE_QUOTE = re.compile("[" + "".join(sorted(QUOTES - set("'’"))) + r"]|(?<!\w)['’]|['’](?!\w)")


def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of a paragraph, none of them blank; every character but white space is kept, in order.

    language: code or name of one of the ten; ValueError otherwise. A line break always ends a sentence.
    """
    code = language_code(language)
    return [sentence for line in text.splitlines() for sentence in _split_line(line, code)]


def _split_line(line: str, code: str) -> list[str]:
    pieces: list[str] = []
    start = 0
    for end in _ends_of(line, code):
        pieces.append(line[start:end])
        start = end
    pieces.append(line[start:])
    return _joined_to_something_spoken(pieces)


def _ends_of(line: str, code: str) -> Iterator[int]:
    """Where the line's sentences end, in order, the last one's end left out."""
    pairs = pairs_of(line, code)
    advice = _advice(line, code)
    items = items_of(line)
    cuts = iter((*items.cuts, len(line)))
    cut = next(cuts)
    start = spoken = 0
    for stop in stops_of(line, pairs):
        while cut <= stop.begin:
            if cut > start:
                yield cut
                start = cut
            cut = next(cuts)
        if stop.begin in items.marks:
            continue
        spoken = _first_spoken(line, max(start, spoken))
        # The first letter or digit is looked for once: without it there is nothing to end.
        if spoken >= stop.end:
            continue
        advised = any(at in advice for at in range(stop.begin + 1, min(stop.end, stop.begin + 40) + 1))
        if _behind(line, stop.end) in items.begins or _ends_sentence(Place(code, line, start, stop, advised)):
            yield stop.end
            start = stop.end
    while cut < len(line):
        if cut > start:
            yield cut
        cut = next(cuts)


def _behind(line: str, at: int) -> int:
    """Where the text goes on behind white space."""
    following = line[at : at + AHEAD]
    return at + len(following) - len(following.lstrip())


def _first_spoken(line: str, at: int) -> int:
    found = _SPOKEN.search(line, at)
    return found.start() if found else len(line)


def _joined_to_something_spoken(pieces: list[str]) -> list[str]:
    """Pieces without a letter or digit go to the one before them, or at the very start to the one behind."""
    joined: list[list[str]] = []
    speakable = False
    for piece in pieces:
        if joined and not (speakable and is_speakable(piece)):
            joined[-1].append(piece)
            speakable = speakable or is_speakable(piece)
        else:
            joined.append([piece])
            speakable = is_speakable(piece)
    return [sentence for parts in joined if (sentence := "".join(parts).strip())]


def _advice(line: str, code: str) -> set[int]:
    """Where sentencex would end a sentence: positions right behind the stop marks."""
    # Without quotes: an unpaired one keeps sentencex from splitting at all, and quotations are judged here.
    bare = _LONE_QUOTE.sub(" ", line)
    ends: set[int] = set()
    begin = 0
    while begin < len(bare):
        end = len(bare) if len(bare) - begin <= _WINDOW else bare.rfind(" ", begin + 1, begin + _WINDOW) + 1
        end = end or begin + _WINDOW
        ends.update(begin + at for at in _advice_within(bare[begin : end + AHEAD], code) if begin + at < end)
        begin = end
    return ends


def _advice_within(bare: str, code: str) -> Iterator[int]:
    segments = list(sentencex.segment(code, bare))
    if "".join(segments) != bare:
        return
    at = 0
    for segment in segments:
        yield at + len(segment.rstrip())
        at += len(segment)


def _ends_sentence(place: Place) -> bool:
    """The rules in their order: the first that knows an answer gives it."""
    stop, rest = place.stop, place.rest
    if not rest or rest[0] in ",;:、，；：)]）/・·％%":
        return False
    if stop.closed == ")" and stop.opened_at < 0 and is_list_marker(place):
        return False  # 1.) Salt.
    if stop.closed and not stop.marks_behind:
        if stop.opened_at >= 0 and not is_speakable(place.line[max(stop.opened_at, stop.begin - AHEAD) : stop.begin]):
            return False  # (?) and (!) are remarks within a sentence
        return ends_after_quote(place) if QUOTES & set(stop.closed) else ends_after_bracket(place)
    if not place.gap and stop.marks.isascii() and not _wide_follows(place):
        return False  # 2.0, www.example.com, a?b=1
    if place.word.casefold() in GOES_ON_QUOTING.get(place.code, ()) or is_cited_in_korean(place):
        return False
    if re.fullmatch(r"…+\.*|\.{2,}…*|\.(?:[ \u00a0]\.)+", stop.marks):
        return ends_at_ellipsis(place)
    if goes_on_in_small_letters(place) or continues_in_japanese(place, quoted=False):
        return False
    if stop.marks in (".", "．"):
        return ends_at_full_stop(place)
    if re.split(r"\W", place.said)[-1].casefold() in NAMES_WITH_A_MARK:
        return place.word.casefold() in STARTERS[place.code]
    return not is_attribution(place)


def _wide_follows(place: Place) -> bool:
    """No space behind an ASCII mark, but a script that can do without: `네.맞아요.` but not `Node.js` or `2.首先`."""
    token = re.split(r"\s", place.line[max(0, place.stop.end - AHEAD) : place.stop.end])[-1]
    if "://" in token or "@" in token or token.startswith("www."):
        return False
    before, after = place.said[-1:], place.rest[0]
    if place.stop.marks.startswith("."):
        if place.stop.marks == "." and is_hangul(before):
            return is_hangul(after) and is_closing_korean(place.said)
        return is_wide(before) and (is_wide(after) or after in "「『“")
    return is_wide(after) or after in "「『“" or (after.isupper() and before.islower())
