"""How long a text takes to say, in units of its own: for the queue and for the cut. Knows no audio."""

from __future__ import annotations

import re
import unicodedata

from server.text.languages import language_code

_SMALL_KANA = frozenset("ぁぃぅぇぉゃゅょゎァィゥェォャュョヮ")

_EAST_ASIAN = "\u1100-\u11ff\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"

_EAST_ASIAN_CHAR = re.compile(f"[{_EAST_ASIAN}]")

_EAST_ASIAN_OR_RUN = re.compile(f"[{_EAST_ASIAN}]|[^{_EAST_ASIAN}]+")

_TOKEN = re.compile(r"[0-9]+(?:[.,:][0-9]+)*|[^\W\d_]+(?:['’][^\W\d_]+)*|.", re.DOTALL)

_VOWELS = "aeiouyàáâãäåæèéêëìíîïòóôõöøùúûüýœāēīōū"

_VOWEL_GROUP = re.compile(f"[{_VOWELS}]+")

_CYRILLIC_VOWEL = re.compile("[аеёиоуыэюяіїєѐѝ]")

# An accent on i or u in these languages parts two vowels: Ma-rí-a, pa-ís.
_HIATUS = re.compile(r"(?<=[aeoáéóàèò])(?=[íúìù])|(?<=[íúìù])(?=[aeoáéóàèò])")

_SYLLABLES_PER_DIGIT = {
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

_SPOKEN_SYMBOLS = {"%": 3, "$": 2, "€": 2, "£": 1, "¥": 1, "₩": 1, "&": 1, "+": 2, "=": 2, "@": 2, "℃": 3, "°": 1}

_MORAE_PER_KANJI = 1.8


def spoken_weight(text: str, language: str) -> float:
    """How long the text takes to say, in syllables of that language (morae in Japanese); pauses not counted.

    language: a code or a name of the ten.
    """
    code = language_code(language)
    return sum(_token_weight(token, code) for token in _TOKEN.findall(unicodedata.normalize("NFC", text)))


def _token_weight(token: str, code: str) -> float:
    if token[0].isdecimal():
        digits = sum(char.isdecimal() for char in token)
        marks = sum(char in ".:" for char in token)  # "point"; commas between thousands are silent
        return digits * _SYLLABLES_PER_DIGIT[code] + marks
    if not token[0].isalpha():
        return _SYLLABLES_PER_DIGIT[code] if token.isnumeric() else _SPOKEN_SYMBOLS.get(token, 0)
    # A Korean or Japanese word may hold Latin letters without a space between: `AI가`.
    return sum(_run_weight(run, code) for run in _script_runs(token))


def _script_runs(word: str) -> list[str]:
    """Letters of one alphabet stay together; each East Asian character stands alone."""
    return _EAST_ASIAN_OR_RUN.findall(word)


def _run_weight(run: str, code: str) -> float:
    if _EAST_ASIAN_CHAR.fullmatch(run):
        return _east_asian_weight(run, code)
    if _is_spelled(run):
        return sum(3.0 if letter in "Ww" and code == "en" else 1.0 for letter in run)
    lowered = run.casefold()
    cyrillic = len(_CYRILLIC_VOWEL.findall(lowered))
    if cyrillic:
        return float(cyrillic)
    return float(max(1, _alphabetic_syllables(lowered, code)))


def _east_asian_weight(char: str, code: str) -> float:
    if char in _SMALL_KANA:
        return 0.0
    is_han = "CJK" in unicodedata.name(char, "") or char == "々"
    return _MORAE_PER_KANJI if is_han and code == "ja" else 1.0


def _is_spelled(run: str) -> bool:
    """`FBI`, `GPU`: short, in capitals, said letter by letter."""
    return 2 <= len(run) <= 4 and run.isupper() and run.isascii()


def _alphabetic_syllables(word: str, code: str) -> int:
    groups = len(_VOWEL_GROUP.findall(word))
    if code in ("es", "it", "pt"):
        return groups + len(_HIATUS.findall(word))
    # English and French end many words in a silent e; foreign words in the CJK languages are mostly English.
    if code == "fr":
        silent = bool(re.search(r"[^aeiouyéèê](?:e|es|ent)$", word))
    else:
        silent = code != "de" and bool(re.search(r"[^aeiouyl]e$", word))
    return groups - 1 if silent and groups > 1 else groups


_VOWEL_RUN = re.compile(r"[aeiouyàâäáãåéèêëíìîïóòôöõúùûüýœæøаеёиоуыэюя]+")


def spoken_units(text: str) -> float:
    """About the syllables of the text; only ever compared with the dummy's own, in the same language and voice.

    Against eSpeak's durations in ten languages the ratio text : dummy is right within 6 to 11 % (standard deviation).
    """
    kana = sum(0x3041 <= ord(c) <= 0x30FA for c in text)
    han = sum(0x3400 <= ord(c) <= 0x9FFF for c in text)
    hangul = [c for c in text if 0xAC00 <= ord(c) <= 0xD7A3]
    closed = sum((ord(c) - 0xAC00) % 28 > 0 for c in hangul)  # syllables with a final consonant take longer
    digits = sum(c.isdigit() for c in text)
    letters = sum(c.isalpha() for c in text) - kana - han - len(hangul)
    # A kanji is read as about two kana, a Chinese character as one syllable; "strength" has one vowel but takes longer.
    cjk = kana + han * (1.8 if kana else 1.0) + len(hangul) + 0.25 * closed
    plain = 0.3 + cjk + 0.45 * len(_VOWEL_RUN.findall(text.lower())) + 0.25 * letters + 1.6 * digits
    return plain + _unwritten_units(text, western=cjk == 0)


# What is said but not written. Figures from eSpeak's durations of such sentences in Korean, English and German.
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\S+", re.IGNORECASE)

_ACRONYM = re.compile(r"(?<![A-Za-z])[A-Z]{2,6}(?![A-Za-z])")

_NO_VOWEL = re.compile(r"(?<![^\W\d_])[bcdfghjklmnpqrstvwxz]{2,4}(?![^\W\d_])", re.IGNORECASE)

_SHORTENED = re.compile(r"(?<![^\W\d_])[^\W\d_]{1,6}\.(?=\s?[a-zа-яß\d,;]|\s?[^\W\d_]\.|$)")

_SYMBOL = re.compile(r"[$€£¥₩%]")


def _unwritten_units(text: str, western: bool) -> float:
    """Units that digits, symbols, addresses, acronyms and abbreviations have beyond their letters.

    western: no Hangul, kana or Chinese character in it; there a digit is a longer word.
    """
    extra = 0.0
    for address in _ADDRESS.findall(text):
        extra += (2.2 if western else 1.2) * address.lower().count("w", 0, 3) + 1.4 * sum(c in "./@" for c in address)
    text = _ADDRESS.sub(" ", text)
    extra += (1.4 if western else 0.0) * sum(c.isdigit() for c in text)
    extra += 2.0 * len(_SYMBOL.findall(text))
    extra += (1.3 if western else 0.7) * sum(len(word) for word in _ACRONYM.findall(text))
    text = _ACRONYM.sub(" ", text)
    extra += 2.0 * len(_NO_VOWEL.findall(text))
    # The text's own last word has a full stop too: it counts only where it is known to be short for something.
    shortened = [word for word in _SHORTENED.findall(text.rstrip()[:-1]) if not _NO_VOWEL.fullmatch(word[:-1])]
    return extra + 2.0 * len(shortened)
