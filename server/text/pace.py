"""How long a sentence will take to speak, before anything is spoken. Knows no audio and no server.

For `narrate split` and the first guess at the time that is left; both say "about".
"""

from __future__ import annotations

import re
import unicodedata

from server.text.languages import language_code

NARRATION_PACE = 0.8
"""Of the pace of fluent reading: narrators speak slower; with pauses it gives 150 to 160 English words a minute."""

# Syllables (Japanese: morae) a second in fluent reading. de, en, es, fr, it, ja, zh: Pellegrino, Coupe and Marsico,
# "A cross-language perspective on speech information rate", Language 87 (2011), table 1. The other three are not in
# it and come from draft speech (eSpeak NG at 165 words a minute, 18 sentences a language): the table's paces are 1.58
# times draft speech's on average over en, de, es, fr, it and zh, which gives ko 7.3, pt 6.7, ru 8.1.
# Korean and Russian are set lower, towards the others: no narrator reads as fast as that.
SYLLABLES_PER_SECOND = {
    "ko": 6.9,
    "en": 6.19,
    "ja": 7.84,
    "zh": 5.18,
    "de": 5.97,
    "fr": 7.18,
    "ru": 7.0,
    "pt": 6.7,
    "es": 7.82,
    "it": 6.99,
}

_SYLLABLES_PER_DIGIT = {
    "ko": 1.5,
    "en": 1.7,
    "ja": 2.2,
    "zh": 1.4,
    "de": 2.3,
    "fr": 1.8,
    "ru": 2.8,
    "pt": 2.3,
    "es": 2.4,
    "it": 2.4,
}
"""On the average of years, prices and single digits, with the words for tens and hundreds."""

EDGE_S = 0.2
"""Seconds of silence that a recording has in front and behind."""
COMMA_S = 0.2
STOP_S = 0.4
"""Seconds of pause at a stop mark or ellipsis within the text; the last one is the recording's end."""

_MORAE_PER_KANJI = 1.9
_SMALL_KANA = frozenset("ぁぃぅぇぉゃゅょゎァィゥェォャュョヮ")
_VOWELS = "aeiouyàáâãäåæèéêëìíîïòóôõöøœùúûüýÿаеёиоуыэюя"
_VOWEL_GROUP = re.compile(f"[{_VOWELS}]+")
_RUSSIAN_VOWEL = re.compile("[аеёиоуыэюя]")
_MUTE_ENDING = {"en": re.compile(r"[^aeioul]e[sd]?$"), "fr": re.compile(r"[^aeiou](?:e|es|ent)$")}
_PAUSE = re.compile(r"[,;:、，；：]|\s[—–-]\s")
_LAST_MARKS = " .?!…。？！\"'”’」』)~"
_STOP = re.compile(r"(?:[.?!…。？！]+)(?=[\s\"'”’」』)]|[^\x00-\x7f]|$)")


def expected_seconds(text: str, language: str) -> float:
    """Spoken length in seconds, the silence at both ends included; language: code or name of one of the ten."""
    code = language_code(language)
    text = unicodedata.normalize("NFC", text).strip()
    pauses = COMMA_S * len(_PAUSE.findall(text)) + STOP_S * len(_STOP.findall(text.rstrip(_LAST_MARKS)))
    return EDGE_S + syllables(text, code) / (NARRATION_PACE * SYLLABLES_PER_SECOND[code]) + pauses


def syllables(text: str, code: str) -> float:
    """About how many syllables (Japanese: morae) the text has when it is read out."""
    east = sum(_east_asian(character, code) for character in text)
    digits = sum(character.isdecimal() for character in text) * _SYLLABLES_PER_DIGIT[code]
    words = re.findall(rf"[a-z{_VOWELS}а-яçñß]+", text.casefold())
    acronyms = re.findall(r"\b[A-Z]{2,5}\b", text)
    return east + digits + sum(_word(word, code) for word in words) + sum(len(a) - 1 for a in acronyms)


def _east_asian(character: str, code: str) -> float:
    if "가" <= character <= "힣":
        return 1.0
    if "ㄱ" <= character <= "ㆎ":
        return 0.5  # ㅋㅋㅋ
    if "ぁ" <= character <= "ヺ" or character == "ー":
        return 0.0 if character in _SMALL_KANA else 1.0
    if "㐀" <= character <= "鿿" or "\U00020000" <= character <= "\U0003ffff" or character == "々":
        return _MORAE_PER_KANJI if code == "ja" else 1.0
    return 0.0


def _word(word: str, code: str) -> int:
    if code == "ru":
        return len(_RUSSIAN_VOWEL.findall(word))  # a lone consonant (в, к, с) leans on its neighbour
    groups = len(_VOWEL_GROUP.findall(word))
    ending = _MUTE_ENDING.get(code)
    return max(1, groups - (ending is not None and ending.search(word) is not None))
