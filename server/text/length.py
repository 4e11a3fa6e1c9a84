"""How long a text takes to say, judged by its letters. Knows no audio, no voice and no engine.

One table (Figures) and three readings of it, since three questions need three answers:

    spoken_weight   syllables, right on average in a known language; the queue, the take's check and pace.py ask
    spoken_units    length as a share of another text's, in one voice; the cut asks, and does not know the language
    max_syllables   more than any voice says; the frame cap asks, since a cap that is too low clips slow speakers

docs/dev/log.md (2026-11-28) says what was measured when one of them stood in for another.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from server.text.composed import composed
from server.text.languages import language_code


@dataclass(frozen=True)
class Figures:
    """What one sign adds whose spoken length its letters do not show, in syllables (Japanese: morae)."""

    digit: float
    """With the words for tens, hundreds and thousands"""
    kanji: float
    """A Chinese character in Japanese; in all other languages it is one syllable."""
    capital: float
    """A letter of an acronym"""
    symbol: float
    """`%`, `$` and their like"""


AVERAGE_DIGIT = {
    "ko": 1.5,
    "en": 1.9,
    "ja": 2.3,
    "zh": 1.6,
    "de": 2.0,
    "fr": 1.7,
    "ru": 2.3,
    "pt": 2.1,
    "es": 2.1,
    "it": 2.1,
}
"""On the average of years, prices and counts."""

AVERAGE = {code: Figures(digit, kanji=1.8, capital=1.0, symbol=2.0) for code, digit in AVERAGE_DIGIT.items()}
"""Used by spoken_weight, by language."""

RATIO_CJK = Figures(digit=1.6, kanji=1.8, capital=0.7, symbol=2.0)
RATIO_WESTERN = Figures(digit=3.0, kanji=1.8, capital=1.3, symbol=2.0)
"""Used by spoken_units, which does not know the language: texts with Hangul, kana or Chinese characters, and all
others. Fitted to eSpeak's durations in Korean, English and German. The capital's figure comes on top of a letter's."""

BOUND = Figures(digit=4.0, kanji=3.0, capital=2.0, symbol=4.0)
"""Used by max_syllables. Digits: Russian's are the longest, 1985 is 11 syllables. Kanji: two morae are the average, and
they are short. Capitals: HTTP is six syllables in Korean. Symbols: `%` is peurosenteu."""

# --- classes of letters, the same for all readings -------------------------------------------------------------------

_SMALL_KANA = frozenset("ぁぃぅぇぉゃゅょゎァィゥェォャュョヮ")
"""Part of the mora before."""

_VOWELS = "aeiouyàáâãäåæèéêëìíîïòóôõöøœùúûüýÿāēīōū"

_CYRILLIC_VOWELS = "аеёиоуыэюяіїєѐѝ"

_VOWEL_GROUP = re.compile(f"[{_VOWELS}{_CYRILLIC_VOWELS}]+")

_CYRILLIC_VOWEL = re.compile(f"[{_CYRILLIC_VOWELS}]")

_CYRILLIC = re.compile("[\u0400-\u04ff]")

_ACRONYM = re.compile(r"(?<![A-Za-z])[A-Z]{2,6}(?![A-Za-z])")
"""`FBI`, `GPU`: short, in capitals, said letter by letter."""

_MAX_SPELLED = 4
"""Letters, for spoken_weight: UNESCO and a heading in capitals are words. spoken_units was fitted with up to six."""

_EAST_ASIAN = "\u1100-\u11ff\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"

_HAN = re.compile("[\u3005\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")

_EAST_ASIAN_CHAR = re.compile(f"[{_EAST_ASIAN}]")


_SPOKEN_SYMBOLS = frozenset("%$€£¥₩&+=@℃°")


def _is_kana(char: str) -> bool:
    return "ぁ" <= char <= "ヺ"


def _is_han(char: str) -> bool:
    return bool(_HAN.fullmatch(char))


def _is_hangul(char: str) -> bool:
    return "가" <= char <= "힣"


# --- syllables, right on average -------------------------------------------------------------------------------------

_EAST_ASIAN_OR_RUN = re.compile(f"[{_EAST_ASIAN}]|[^{_EAST_ASIAN}]+")

_TOKEN = re.compile(r"[0-9]+(?:[.,:][0-9]+)*|[^\W\d_]+(?:['’][^\W\d_]+)*|.", re.DOTALL)

_HIATUS = re.compile(r"(?<=[aeoáéóàèò])(?=[íúìù])|(?<=[íúìù])(?=[aeoáéóàèò])")
"""In Spanish, Italian and Portuguese an accent on i or u parts two vowels: Ma-rí-a, pa-ís."""

_FRENCH_SILENT = re.compile(r"[^aeiouyéèê](?:e|es|ent)$")

_ENGLISH_SILENT = re.compile(r"(?:[^aeiouyl]e|[^aeiouytd]ed|[^aeiouylscxzgh]es)$")
"""home, walked, times; but not: wanted, pages, little"""

JAMO = 0.5
"""Syllables of a Hangul letter that stands alone: ㅋㅋㅋ"""


def spoken_weight(text: str, language: str) -> float:
    """How many syllables the text has when it is read out (Japanese: morae); pauses are not counted.

    language: a code or a name of the ten; ValueError for any other.
    """
    code = language_code(language)
    return sum(_token_weight(token, code) for token in _TOKEN.findall(composed(text)))


def _token_weight(token: str, code: str) -> float:
    if token[0].isdecimal():
        digits = sum(char.isdecimal() for char in token)
        marks = sum(char in ".:" for char in token)  # "point"; commas between thousands are silent
        return digits * AVERAGE[code].digit + marks
    if not token[0].isalpha():
        return _sign_weight(token, AVERAGE[code])
    # A Korean or Japanese word may hold Latin letters without a space between: `AI가`.
    return sum(_run_weight(run, code) for run in _EAST_ASIAN_OR_RUN.findall(token))


def _sign_weight(sign: str, figures: Figures) -> float:
    if sign.isnumeric():  # ², Ⅳ, ½
        return figures.digit
    return figures.symbol if sign in _SPOKEN_SYMBOLS else 0.0


def _run_weight(run: str, code: str) -> float:
    """run: one East Asian character, or letters of other scripts in a row."""
    if _EAST_ASIAN_CHAR.fullmatch(run):
        return _east_asian_weight(run, code)
    if len(run) <= _MAX_SPELLED and _ACRONYM.fullmatch(run):
        double_u = 2 * sum(letter == "W" for letter in run) if code == "en" else 0
        return AVERAGE[code].capital * len(run) + double_u
    lowered = run.casefold()
    if _CYRILLIC.search(lowered):
        return float(_cyrillic_syllables(run, lowered))
    return float(max(1, _latin_syllables(lowered, code)))


def _east_asian_weight(char: str, code: str) -> float:
    if char in _SMALL_KANA:
        return 0.0
    if "ㄱ" <= char <= "ㆎ":
        return JAMO
    return AVERAGE[code].kanji if code == "ja" and _is_han(char) else 1.0


def _cyrillic_syllables(run: str, lowered: str) -> int:
    vowels = len(_CYRILLIC_VOWEL.findall(lowered))
    if vowels:
        return vowels
    # СССР is spelled. A lone consonant (в, к, с) is no syllable, but takes as long: errors are 2 % smaller with it.
    return len(run) if run.isupper() else 1


def _latin_syllables(word: str, code: str) -> int:
    groups = len(_VOWEL_GROUP.findall(word))
    if code in ("es", "it", "pt"):
        return groups + len(_HIATUS.findall(word))
    if code == "de":
        return groups
    # Foreign words in Korean, Japanese, Chinese and Russian texts are mostly English.
    silent = (_FRENCH_SILENT if code == "fr" else _ENGLISH_SILENT).search(word)
    return groups - 1 if silent and groups > 1 else groups


# --- units, for the ratio of two texts -------------------------------------------------------------------------------

# What is said but not written.
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\S+", re.IGNORECASE)

_NO_VOWEL = re.compile(r"(?<![^\W\d_])[bcdfghjklmnpqrstvwxz]{2,4}(?![^\W\d_])", re.IGNORECASE)

_SHORTENED = re.compile(r"(?<![^\W\d_])[^\W\d_]{1,6}\.(?=\s?[a-zа-яß\d,;]|\s?[^\W\d_]\.|$)")

_PRICE_MARK = re.compile("[$€£¥₩%]")
"""Not all of _SPOKEN_SYMBOLS: the rest is rare in narration, and another ratio would be another cut (CUT_VERSION)."""


def spoken_units(text: str) -> float:
    """About the syllables of the text, above 0 for any text; compare it only within one language and voice.

    Letters count beside vowels: "strength" has one vowel and takes longer than "a". Against eSpeak's durations in ten
    languages the ratio of sentence to dummy is right within 6 to 11 % (standard deviation).
    """
    kana = sum(map(_is_kana, text))
    han = sum("\u3400" <= char <= "\u9fff" for char in text)
    hangul = [char for char in text if _is_hangul(char)]
    closed = sum((ord(char) - ord("가")) % 28 > 0 for char in hangul)  # a final consonant makes a syllable longer
    digits = sum(char.isdigit() for char in text)
    letters = sum(char.isalpha() for char in text) - kana - han - len(hangul)
    cjk = kana + han * (RATIO_CJK.kanji if kana else 1.0) + len(hangul) + 0.25 * closed
    figures = RATIO_WESTERN if cjk == 0 else RATIO_CJK
    vowels = len(_VOWEL_GROUP.findall(text.lower()))
    plain = 0.3 + cjk + 0.45 * vowels + 0.25 * letters + RATIO_CJK.digit * digits
    return plain + _unwritten_units(text, figures)


def _unwritten_units(text: str, figures: Figures) -> float:
    """Units that digits, symbols, addresses, acronyms and abbreviations have beyond their letters."""
    extra = 0.0
    for address in _ADDRESS.findall(text):
        extra += (2.2 if figures is RATIO_WESTERN else 1.2) * address.lower().count("w", 0, 3) + 1.4 * sum(
            c in "./@" for c in address
        )
    text = _ADDRESS.sub(" ", text)
    extra += (figures.digit - RATIO_CJK.digit) * sum(c.isdigit() for c in text)
    extra += figures.symbol * len(_PRICE_MARK.findall(text))
    extra += figures.capital * sum(len(word) for word in _ACRONYM.findall(text))
    text = _ACRONYM.sub(" ", text)
    extra += 2.0 * len(_NO_VOWEL.findall(text))
    # The text's own last word has a full stop too: it counts only where it is known to be short for something.
    shortened = [word for word in _SHORTENED.findall(text.rstrip()[:-1]) if not _NO_VOWEL.fullmatch(word[:-1])]
    return extra + 2.0 * len(shortened)


# --- more than any voice says ----------------------------------------------------------------------------------------

_BOUND_LETTER = 0.5
"""A small letter. English has 0.35 syllables a letter, Italian and Spanish 0.45."""


def max_syllables(text: str, language: str) -> float:
    """Syllables that the text has at most (Japanese: morae), never fewer than spoken_weight; pauses are not counted.

    language: a code or a name of the ten; ValueError for any other.
    """
    japanese = language_code(language) == "ja"
    bound = sum(_bound_of(char, japanese) for char in unicodedata.normalize("NFC", text))
    # A row of short words ("a b c d") has more syllables than its letters say.
    return max(bound, spoken_weight(text, language))


def _bound_of(char: str, japanese: bool) -> float:
    category = unicodedata.category(char)
    if category[0] == "N":
        return BOUND.digit
    if category[0] == "S":
        return BOUND.symbol
    if category == "Lu":
        return BOUND.capital
    if category == "Ll":
        return _BOUND_LETTER
    if category[0] != "L":
        return 0.0
    return BOUND.kanji if japanese and _is_han(char) else 1.0
