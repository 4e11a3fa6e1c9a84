"""Whether a sentence ends at a full stop or an ellipsis: numbers, dates, lists, abbreviations."""

from __future__ import annotations

import re

from server.sentences.items import BULLETS
from server.sentences.pairs import is_cased
from server.sentences.place import Place, is_wide
from server.sentences.quotations import HESITATIONS
from server.sentences.words import (
    ABBREVIATIONS,
    ABBREVIATIONS_ELSEWHERE,
    CLOCK,
    KO_LETTERED,
    NEVER_LAST,
    RU_UNITS,
    STARTERS,
    UNITS,
    WORDS_AFTER_ALL,
    WORDS_OF_ONE_LETTER,
    word_set,
)


def ends_at_ellipsis(place: Place) -> bool:
    """`Wait... what?` goes on and `I can't believe it... But it's true.` does not."""
    if place.code == "ko":
        return is_closing_korean(place.said)
    if place.code in ("ja", "zh"):
        return False  # both use it for a pause far more often than for an end; an end has its 。
    if is_wide(place.rest[0]) or not place.word[:1].isupper():
        return False
    dots = place.stop.marks.count(".") + 2 * place.stop.marks.count("…")
    if dots > 3 and " " in place.stop.marks:
        return True  # three spaced dots for what is left out, and the full stop
    if " " in place.stop.marks or (place.code == "en" and place.line[place.stop.begin - 1].isspace()):
        return False  # a pause: Maybe . . . I don't know
    starts = place.word.casefold() in STARTERS[place.code]
    if place.code == "de":
        return starts or bool(place.opening.strip())  # every noun has a capital: Ich habe … Angst.
    words = place.said.casefold().split()
    if place.said.casefold() in HESITATIONS or (words and words[-1] in NEVER_LAST.get(place.code, ())):
        return False
    if place.code == "en" and place.word == "I":
        return len(words) > 3  # Maybe... I don't know.
    return place.gap or place.advised


def is_closing_korean(said: str) -> bool:
    """The last word has a final ending: 했어요, 합니다, 그렇죠; not the sigh 글쎄요."""
    word = re.split(r"[^가-힣]", said)[-1]
    if len(word) < 2 or word in ("글쎄요", "저요", "그다", "보다", "마다", "여기다"):
        return False
    return word.endswith(("다", "요", "죠")) or (word.endswith("니까") and _has_final_bieup(word[-3:-2]))


def _has_final_bieup(syllable: str) -> bool:
    """합니까 asks; 하니까 gives a reason and goes on."""
    return bool(syllable) and (ord(syllable) - 0xAC00) % 28 == 17


def ends_at_full_stop(place: Place) -> bool:
    said, code = place.said, place.code
    token = _token(said)
    if is_list_marker(place):
        return False
    if place.rest.startswith(". . ."):
        return True  # the full stop before what is left out
    if _NUMBER_SIGN.search(said) and place.rest[0].isdigit():
        return False
    if token[-1:].isdigit():
        return _ends_after_number(place, token)
    if not said[-1:].isalnum():
        return True  # «no». 50 %.
    abbreviation = _abbreviation(said)
    verdict = _judged_by_tables(place, token.casefold(), abbreviation)
    if verdict is not None:
        return verdict
    if code in ("ko", "ja", "zh"):
        return True
    word = token.casefold()
    if code == "it":
        # sentencex knows a thousand Italian abbreviations, "mai", "via" and "ore" among them.
        address = "@" in word or re.search(r"\w{3}\.\w{2,3}$", word) is not None
        return place.advised or address or word in WORDS_AFTER_ALL["it"] or place.word.casefold() in STARTERS["it"]
    # A word of six letters is hardly an abbreviation.
    return place.advised or len(token) > 5 or word in WORDS_AFTER_ALL.get(code, ())


_NUMBER_SIGN = re.compile(r"(?:^|[\s(])(?:[Nn][°º]|№)$")

_MARKED = re.compile(
    r"\d{1,3}|(?:[A-Za-z]-?)?\d{1,3}|\d{1,2}(?:[.-]\d{1,2})+|[A-Za-zа-еА-Е]|[IVX]{1,4}(?:-\d{1,2})?|[ivx]{1,4}|[Ⅰ-Ⅻⅰ-ⅻ](?:-\d{1,2})?"
    r"|[ㄱ-ㅎ]|[가나다라마바](?:-\d{1,2})?"
)


def _token(said: str) -> str:
    return re.split(r"[\s(\[\"'“‘„«「『（/]", said)[-1]


def is_list_marker(place: Place) -> bool:
    """`1.`, `A.`, `1-1.`, `Q1.` or `ㄱ.` where a sentence begins, or behind a colon."""
    token = _token(place.said)
    if not _MARKED.fullmatch(token):
        return False
    before = place.said[: len(place.said) - len(token)].strip(f" _-—–(\"'“‘«「{BULLETS}")
    counting = re.fullmatch(r"(?:\d{1,3}[.,]\s?)+", before) is not None  # 3. 2. 1. Go!
    return not before or counting or before.endswith((":", "："))


_EAST_DATE = re.compile(r"(?:^|[^\d.])(?:\d{4}|['’]?\d{2})\.\s?\d{1,2}(?:\.\s?\d{1,2})?$")

_EAST_DAY = re.compile(r"(?:^|[^\d.])(?:0?[1-9]|1[0-2])\.\s?(?:0?[1-9]|[12]\d|3[01])$")

_KO_DATED = re.compile(
    r"기준|현재|부터|까지|오전|오후|자로|자\s|에\s|당시|이후|이전|발표|출시|작성|업데이트|개봉|방송|\([월화수목금토일]\)"
)


_MONTH = re.compile(r"(?<![\d.])(?:0?[1-9]|1[0-2])$")

_DATED_DAY = re.compile(rf"(?:0?[1-9]|[12]\d|3[01])\.\s?(?:{_KO_DATED.pattern})")


def _ends_after_number(place: Place, token: str) -> bool:
    if place.code in ("ko", "ja", "zh"):
        if re.match(r"\d{1,2}\.", place.rest) and re.search(r"\d{4}(?:\.\s?\d{1,2})?$", place.said):
            return False  # 2026. 2. 19.
        if _MONTH.search(place.said) and _DATED_DAY.match(place.rest):
            return False  # 12. 25. 오전에
        # An official Korean date ends in a full stop of its own.
        if _EAST_DATE.search(place.said) and re.search(r"(?:^|\D)\d{4}\.|\d{1,2}\.\s?\d{1,2}\.\s?\d{1,2}$", place.said):
            return False
        if place.code != "ko" and re.fullmatch(r"\d{1,2}", token):
            return False  # neither ends a sentence in an ASCII stop behind a number: 2. 閉じる
        return not (_EAST_DAY.search(place.said) and _KO_DATED.match(place.rest))
    if place.code == "de" and re.fullmatch(r"-?\d{1,2}", token):
        return not _is_german_ordinal(place, token)
    if place.code == "de" and re.fullmatch(r"\d{1,2}\.\d{1,2}", token):
        return place.word.casefold() in STARTERS["de"]  # am 3.10. Danach …
    return place.rest[0] not in "0123456789" or place.advised


_DE_ORDERED = re.compile(
    r"(?:Jan|Feb|Mär|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez)|Jh|Jahrhundert|Jahrtausend|Weltkrieg|Platz|Mal\b|Tag\b|Kapitel|"
    r"Klasse|Stock|Runde|Staffel|Teil|Folge|Etage|Auflage|Geburtstag|Jahrestag|Liga|Halbzeit|Minute|Stunde|Woche|Mann\b"
)

_DE_BEFORE_ORDINAL = word_set(
    "am der die das dem den des im vom zum zur beim bis ab jeder jede jedes jeden mein dein sein ihr "
    "unser euer meinen deinen seinen ihren unseren meinem seinem ihrem unserem dieser diese dieses "
    "diesem diesen ein einen einem kein ins"
)


def _is_german_ordinal(place: Place, token: str) -> bool:
    """`am 3. Oktober` against `in der Berliner Str. 5. Er ist Arzt.`"""
    if _DE_ORDERED.match(place.rest):
        return True
    before = place.said[: len(place.said) - len(token)].split()
    article = bool(before) and before[-1].casefold() in _DE_BEFORE_ORDINAL
    return article and place.word.casefold() not in STARTERS["de"]


def _abbreviation(said: str) -> str:
    """`um 5 p. m` to `p.m`: the letters at the end that belong to one abbreviation."""
    found = re.search(r"(?<![\w.])(?:[^\W\d_]{1,2}\.[ \u00a0]?)+[^\W\d_]{1,4}$", said)
    return re.sub(r"\s", "", found[0]) if found and not any(map(is_wide, found[0])) else ""


def _judged_by_tables(place: Place, token: str, abbreviation: str) -> bool | None:
    """Whether the sentence ends, by the tables of abbreviations; None where they do not know the word."""
    tables = ABBREVIATIONS.get(place.code, ABBREVIATIONS_ELSEWHERE)
    starts = place.word.casefold() in STARTERS[place.code]
    number = re.match(r"[№#]?\d|[IVXLC]+\b", place.rest) is not None
    keys = {token, abbreviation.casefold()} - {""}
    if keys & tables.closing:
        return not number
    if place.code == "ru" and re.search(r",\s\d{4}\s?г$", place.said):
        return False  # a caption: the house on the Neva, 1898 г.
    if place.code == "ru" and token in RU_UNITS and re.search(r"\d\s?\w+$", place.said):
        return not number
    if place.code == "ru" and token in ("г", "см", "д", "с") and re.search(r"\d\s?\w+$", place.said):
        return starts  # 1799 г. is a year, г. Москва a town; 5 см. a length, см. a hint to a page
    if place.code == "en" and "st" in keys and re.search(r"[A-Z\d]\w* St$", place.said):
        return starts  # 5 Main St. It is old.
    if keys & tables.leading:
        return False
    if keys & tables.numbered and (number or len(token) > 1):
        return not number
    if token in UNITS and re.search(r"\d\s?\w+$", place.said) and place.code != "ru":
        return not (token in CLOCK and number)  # 8 h. 30
    if keys & tables.either or any(token.endswith(end) for end in tables.endings):
        return starts or (place.code == "en" and place.advised)
    if re.match(r"[^\W\d_]\.", place.rest) and re.search(r"(?:^|[.-])\w$", token) and is_cased(token[-1]):
        return False  # J. K.
    if re.fullmatch(r"[^\W\d_]\.-[^\W\d_]", token):
        return False  # J.-P.
    if place.code == "ru" and token.isascii() and token.isalpha():
        return True  # Пётр I.
    if place.code == "ko" and len(token) == 1 and KO_LETTERED.search(place.said):
        return True
    if place.said[-1] in WORDS_OF_ONE_LETTER.get(place.code, "") and len(token) == 1:
        return True  # позвал я. Никто
    last = abbreviation.split(".")[-1]
    if len(last) == 1 or last.isupper() or (len(token) == 1 and is_cased(token)):  # as p. m., EE. UU. and C.
        return place.advised if place.code == "en" else starts
    return None
