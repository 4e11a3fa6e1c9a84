"""Decodes a script file: finds its encoding, refuses what is no text. Knows no grammar."""

from __future__ import annotations

import codecs
import re
import unicodedata

from charset_normalizer import from_bytes

from server.script.errors import ScriptError
from server.terminal.messages import t
from server.text.composed import composed

# UTF-32 first: its little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes, file: str) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _or_refuse(_strictly(data[len(mark) :], encoding), file)
    text = _strictly(data, "utf-8")
    if text is None and not _is_damaged_utf8(data):
        text = _in_a_regional_encoding(data)
    return _or_refuse(text, file)


def _or_refuse(text: str | None, file: str) -> str:
    if text is None or _is_binary(text):
        raise ScriptError(
            t(
                "{file} cannot be read as text: its encoding is unknown, or it is damaged or no text at all. "
                "Open it in an editor and save it as UTF-8.",
                file=unicodedata.normalize("NFC", file),
            )
        )
    return text


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _is_binary(text: str) -> bool:
    odd = sum(unicodedata.category(c) in ("Cc", "Co", "Cn") and c not in "\t\n\r\f\v\x1a\x85\ufeff" for c in text)
    return "\x00" in text or odd * 50 > len(text)


def _is_damaged_utf8(data: bytes) -> bool:
    """Whether nearly all of the data is UTF-8: decoded otherwise, it would be gibberish that is spoken all night."""
    text = data.decode("utf-8", "replace")
    whole = sum(ord(character) > 127 and character != "\ufffd" for character in text)
    return whole > 5 * text.count("\ufffd")


_FREQUENT_SYLLABLES = frozenset(
    "이다는에을의가고하를은한지로사도기서들그어나리자시니라해인대으요아과만일정있수게습면여보것안부제없때우생스장말세내주"
    "거전오저선까데와구상음던마원당동했된였았었겠네죠신물성러비유야합입중모든위간무영경소방문러트운교치공연계반미국실조"
)
"""Half of the syllables of any Korean text are these; Chinese or Japanese bytes read as CP949 give rare ones."""

_FREQUENT_HAN = frozenset(
    "的一是不了在人有我他这個个们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于着著下自之年"
)

_FREQUENT_RUSSIAN = frozenset("оеаинтсрвлкмдпу")

_LEGACY_LATIN = frozenset("äöüßàâçèéêëîïôùûœáíóúñ¿¡ãõìòÄÖÜÉÀÇ€«»„“”‘’–—… ")


def _in_a_regional_encoding(data: bytes) -> str | None:
    """Tries the encodings that were used before UTF-8; the one whose characters look most like its language wins.

    General detectors take a short CP949 script for Chinese or Cyrillic. In the languages that are spoken here, a
    handful of characters is enough. None where nothing fits.
    """
    best_text, best_likeness = None, 0.3
    for encoding, likeness_of in (
        ("cp949", _looks_korean),
        ("cp932", _looks_japanese),
        ("euc_jp", _looks_japanese),
        ("gb18030", _looks_chinese),
        ("big5", _looks_chinese),
        ("cp1251", _looks_russian),
        ("koi8_r", _looks_russian),
        ("cp1252", _looks_latin),
    ):
        text = _strictly(data, encoding)
        if text is not None and (likeness := likeness_of(text)) > best_likeness:
            best_text, best_likeness = text, likeness
    if best_text is not None:
        return best_text
    guess = from_bytes(data).best()
    return str(guess) if guess is not None else None


def _foreign(text: str) -> list[str]:
    return [character for character in text if ord(character) > 127 and not character.isspace()]


def _share(characters: list[str], wanted: frozenset[str]) -> float:
    return sum(character in wanted for character in characters) / max(1, len(characters))


def _looks_korean(text: str) -> float:
    foreign = _foreign(text)
    hangul = [c for c in foreign if "가" <= c <= "힣"]
    # At least 0.35: a title of two rare syllables is still most likely Korean with our users.
    return max(0.35, _share(hangul, _FREQUENT_SYLLABLES)) * len(hangul) / max(1, len(foreign))


def _looks_japanese(text: str) -> float:
    foreign = _foreign(text)
    # Half-width katakana do not count: in Shift JIS, most bytes above 0xA0 are one.
    return min(1.0, 1.2 * sum("ぁ" <= c <= "ヿ" or c in "、。「」" for c in foreign) / max(1, len(foreign)))


def _looks_chinese(text: str) -> float:
    foreign = _foreign(text)
    han = [c for c in foreign if "㐀" <= c <= "鿿"]
    # These characters make a quarter of running text, so four times their share is near 1.
    return min(0.95, 4 * _share(han, _FREQUENT_HAN)) * len(han) / max(1, len(foreign))


def _looks_russian(text: str) -> float:
    # Wrongly decoded text gives itself away: KOI8-R and CP1251 swap the cases of each other's letters, and an accented
    # Latin letter becomes a Cyrillic one between Latin ones.
    if re.search(r"[a-z][а-яё]|[а-яё][a-z]", text, re.IGNORECASE):
        return 0.0
    words = re.findall(r"[А-Яа-яЁё]+", text)
    usual = sum(len(word) for word in words if word.islower() or word.isupper() or word.istitle())
    letters = "".join(words)
    return _share(list(letters.casefold()), _FREQUENT_RUSSIAN) * usual / max(1, len(_foreign(text)))


def _looks_latin(text: str) -> float:
    # Accented letters stand among plain ones, two together at most (`ção`); more of them are another script's bytes.
    too_long = sum(len(run) for run in re.findall(r"[À-ÿ]{3,}|[À-Þ][¡-ÿ]", text))
    foreign = _foreign(text)
    return (_share(foreign, _LEGACY_LATIN) * len(foreign) - too_long) / max(1, len(foreign))


_UNSPOKEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ue000]"
)
"""Zero-width and direction marks, soft hyphens, Hangul fillers; and U+E000, which is passages.BREAK."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")


def cleaned(text: str) -> str:
    r"""In NFC, with \n for every line break, without control characters and invisible ones."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"[\v\f\x85\u2028\u2029]", " ", text)  # no editor counts them as a new line
    return composed(_CONTROL.sub("", _UNSPOKEN.sub("", text)))
