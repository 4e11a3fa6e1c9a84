"""A request's text made fit to be spoken. Knows no engine and no dummy sentence.

Numbers, abbreviations and web addresses are left as written: reading them out is the engine's part.
"""

from __future__ import annotations

import re
import unicodedata

from server.contract.codes import ErrorCode
from server.contract.http import MAX_TEXT_CHARS
from server.errors import TextRefused
from server.text.composed import composed
from server.text.languages import language_code

RAW_LIMIT_CHARS = 20 * MAX_TEXT_CHARS
"""Longer texts are refused before any work: ordering long runs of combining marks takes quadratic time."""

SHOWN_CHARS = 40
"""How much of a refused text its error quotes."""

# --- characters -----------------------------------------------------------------------------------------------------

# Invisible, yet letters or marks to Unicode: Hangul fillers, the grapheme joiner, variation selectors, braille blank,
# and the keycap around an emoji digit.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u20e3\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

# Blocks of pictures. The category alone does not tell: the degree sign and the trade mark are "So" too.
_PICTURE_BLOCKS = (
    (0x2190, 0x21FF),  # arrows
    (0x2300, 0x23FF),  # technical: watch, hourglass, keyboard
    (0x2400, 0x245F),  # control pictures
    (0x2500, 0x25FF),  # boxes, blocks, bullets
    (0x2600, 0x27BF),  # symbols and dingbats
    (0x2900, 0x297F),  # more arrows
    (0x2B00, 0x2BFF),
    (0x1F000, 0x1FAFF),
    (0x1FB00, 0x1FBFF),
)

_HALF_WIDTH = re.compile("[\uff61-\uff9f\uffa1-\uffdc]+")

_FULL_WIDTH_ALL = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}

_FULL_WIDTH_WORDS = {code: ascii_code for code, ascii_code in _FULL_WIDTH_ALL.items() if chr(ascii_code).isalnum()}

_EXPANDED = str.maketrans({"‼": "!!", "⁇": "??", "⁈": "?!", "⁉": "!?"})

# Chinese and Japanese marks as the other eight languages write them.
_WESTERN_MARKS = str.maketrans({"。": ".", "、": ",", "〜": "~", "…": "...", "‥": "..", "・": "·"})

_DIGIT_STOP = re.compile(r"(?<=[0-9])．(?=[0-9])")

_DIGIT_COMMA = re.compile(r"(?<=[0-9])，(?=[0-9])")


def _is_picture(char: str) -> bool:
    code = ord(char)
    # Numbers and punctuation in these blocks stay: circled digits are read.
    return any(first <= code <= last for first, last in _PICTURE_BLOCKS) and unicodedata.category(char)[0] not in "NP"


def _cleaned_char(char: str) -> str:
    if " " <= char <= "~":
        return char
    if char.isspace() or _is_picture(char):
        return " "
    # Controls, zero-width and direction marks, lone surrogates, private use, unassigned.
    return "" if unicodedata.category(char)[0] == "C" else char


def _visible(text: str) -> str:
    """Without what has no shape and no sound, white space folded."""
    kept = "".join(map(_cleaned_char, _INVISIBLE.sub("", text)))
    return " ".join(kept.split())


# --- punctuation ----------------------------------------------------------------------------------------------------

_LEADING_STOPS = re.compile(r"^[。 ]+")

_FINAL_CLUSTER = re.compile(r"[!?！？。](?: ?[!?！？。])+")

_SPACED_DOTS = re.compile(r"\.(?: \.)+")

_MANY_DOTS = re.compile(r"\.{4,}")

_SAME_MARK = re.compile(r"([,;:~、，；：～〜…·])(?: ?\1)+")

_LONG_RUN = re.compile(r"([^\w\s.])\1{3,}")


def _one_cluster(match: re.Match[str]) -> str:
    """`!!!` to `!`, `?!?!` to `?!`, a full stop beside them dropped."""
    seen: dict[str, str] = {}
    for mark in match[0].replace(" ", ""):
        seen.setdefault(unicodedata.normalize("NFKC", mark), mark)
    spoken = [mark for mark in seen.values() if mark != "。"]
    return "".join(spoken) or "。"


def _bounded_marks(text: str, east_asian: bool) -> str:
    """Runs of marks shortened to what they mean: Qwen3-TTS speaks nonsense over padding such as a row of `。`."""
    text = _LEADING_STOPS.sub("", text)
    text = _FINAL_CLUSTER.sub(_one_cluster, text)
    if not east_asian:
        text = " ".join(text.translate(_WESTERN_MARKS).split())
    text = _SPACED_DOTS.sub("...", text)
    text = _MANY_DOTS.sub("...", text)
    text = _SAME_MARK.sub(r"\1", text)
    return _LONG_RUN.sub(r"\1\1\1", text)


def _has_speech(text: str) -> bool:
    # Modifier letters (the kana length mark, a raised h) have no sound of their own.
    return any(unicodedata.category(char) in ("Lu", "Ll", "Lt", "Lo", "Nd", "Nl", "No") for char in text)


def _shortened(text: str) -> str:
    shown = _visible_or_emoji(text)
    return shown if len(shown) <= SHOWN_CHARS else shown[:SHOWN_CHARS] + "..."


def _visible_or_emoji(text: str) -> str:
    """What an error may quote. Emoji stay, since the error is about them."""
    shown = _INVISIBLE.sub("", text[: 4 * SHOWN_CHARS])
    return " ".join("".join(char for char in shown if char.isprintable() or char.isspace()).split())


def normalise(text: str, language: str) -> str:
    """The text as the engine gets it, without the dummy sentence; the same again when given its own result.

    language: a code or a name of the ten; ValueError for any other.
    Raises TextRefused when nothing can be spoken or the text is too long.
    """
    code = language_code(language)
    if len(text) > RAW_LIMIT_CHARS:
        raise TextRefused(ErrorCode.TEXT_TOO_LONG, length=len(text), limit=MAX_TEXT_CHARS)
    east_asian = code in ("ja", "zh")
    cleaned = _visible(text)
    if not cleaned and not _visible_or_emoji(text):
        raise TextRefused(ErrorCode.TEXT_EMPTY)
    cleaned = _HALF_WIDTH.sub(lambda match: unicodedata.normalize("NFKC", match[0]), cleaned)
    cleaned = cleaned.translate(_EXPANDED).translate(_FULL_WIDTH_WORDS if east_asian else _FULL_WIDTH_ALL)
    if east_asian:
        cleaned = _DIGIT_COMMA.sub(",", _DIGIT_STOP.sub(".", cleaned)).replace("．", "。")
    cleaned = composed(cleaned)
    cleaned = _bounded_marks(cleaned, east_asian).strip()
    if not _has_speech(cleaned):
        raise TextRefused(ErrorCode.TEXT_UNSPEAKABLE, text=_shortened(text))
    if len(cleaned) > MAX_TEXT_CHARS:
        raise TextRefused(ErrorCode.TEXT_TOO_LONG, length=len(cleaned), limit=MAX_TEXT_CHARS)
    return cleaned
