"""A paragraph, split into the sentences that a narrator would record one by one. Knows no file and no server.

Every run of stop marks is a candidate for the end of a sentence. Rules decide, and most of them say "the sentence goes
on"; sentencex decides whether a full stop ends an abbreviation where the tables of the language say nothing. When in
doubt two sentences stay together: a sentence that is cut in its middle is recorded with the wrong cadence, and two
sentences in one file do no harm.
"""

from __future__ import annotations

import re

import sentencex

from server.sentences.full_stops import ends_at_ellipsis, ends_at_full_stop, is_closing_korean
from server.sentences.place import (
    AHEAD,
    QUOTES,
    Place,
    goes_on_in_small_letters,
    is_hangul,
    is_speakable,
    is_wide,
    pairs_of,
    stops_of,
)
from server.sentences.quotations import (
    GOES_ON_QUOTING,
    NAMES_WITH_A_MARK,
    continues_in_japanese,
    ends_after_bracket,
    ends_after_quote,
    is_attribution,
)
from server.sentences.words import STARTERS
from server.text.languages import language_code


def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of a paragraph, none of them blank; every character but white space is kept, in order.

    language: code or name of one of the ten; ValueError otherwise. A line break always ends a sentence.
    """
    code = language_code(language)
    return [sentence for line in text.splitlines() for sentence in _split_line(line, code)]


def _split_line(line: str, code: str) -> list[str]:
    pairs = pairs_of(line, code)
    advice = _advice(line, code)
    pieces: list[str] = []
    start = 0
    for stop in stops_of(line, pairs):
        if _ends_sentence(Place(code, line, start, stop, stop.begin + len(stop.marks) in advice)):
            pieces.append(line[start : stop.end])
            start = stop.end
    pieces.append(line[start:])
    return _joined_to_something_spoken(pieces)


def _joined_to_something_spoken(pieces: list[str]) -> list[str]:
    """A piece without a letter or digit joins the piece before it; at the start, the piece after it."""
    joined: list[str] = []
    for piece in pieces:
        if joined and not (is_speakable(piece) and is_speakable(joined[-1])):
            joined[-1] += piece
        else:
            joined.append(piece)
    return [piece.strip() for piece in joined if piece.strip()]


def _advice(line: str, code: str) -> set[int]:
    """Where sentencex would end a sentence: positions right behind the stop marks."""
    # Quotes become spaces: an unpaired quote keeps sentencex from splitting at all, and quotations.py judges them.
    bare = "".join(" " if character in QUOTES and character not in "'’" else character for character in line)
    segments = list(sentencex.segment(code, bare))
    if "".join(segments) != bare:
        return set()
    ends: set[int] = set()
    at = 0
    for segment in segments:
        at += len(segment)
        ends.add(at - len(segment) + len(segment.rstrip()))
    return ends


def _ends_sentence(place: Place) -> bool:
    """Asks the rules in their order; the first rule with an answer decides."""
    stop, rest = place.stop, place.rest
    if not rest or not is_speakable(place.line[place.start : stop.end]) or rest[0] in ",;:、，；：)]）/・·％%":
        return False
    if stop.closed and not stop.marks_behind:
        if stop.opened_at >= 0 and not is_speakable(place.line[stop.opened_at : stop.begin]):
            return False  # (?) and (!) are remarks within a sentence
        return ends_after_quote(place) if QUOTES & set(stop.closed) else ends_after_bracket(place)
    if not place.gap and stop.marks.isascii() and not _wide_follows(place):
        return False  # 2.0, www.example.com, a?b=1
    if place.word.casefold() in GOES_ON_QUOTING.get(place.code, ()):
        return False
    if re.fullmatch(r"…+\.*|\.{2,}…*", stop.marks):
        return ends_at_ellipsis(place)
    if goes_on_in_small_letters(place) or continues_in_japanese(place, quoted=False):
        return False
    if stop.marks in (".", "．"):
        return ends_at_full_stop(place)
    if re.split(r"\W", place.said)[-1].casefold() in NAMES_WITH_A_MARK:
        return place.word.casefold() in STARTERS[place.code]
    return not is_attribution(place)


def _wide_follows(place: Place) -> bool:
    """Whether a sentence may follow an ASCII mark without a space: `네.맞아요.` but not `Node.js` or `2.首先`."""
    token = re.split(r"\s", place.line[max(0, place.stop.end - AHEAD) : place.stop.end])[-1]
    if "://" in token or "@" in token or token.startswith("www."):
        return False
    before, after = place.said[-1:], place.rest[0]
    if place.stop.marks.startswith("."):
        if place.stop.marks == "." and is_hangul(before):
            return is_hangul(after) and is_closing_korean(place.said)
        return is_wide(before) and (is_wide(after) or after in "「『“")
    return is_wide(after) or after in "「『“" or (after.isupper() and before.islower())
