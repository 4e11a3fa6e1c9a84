"""Names of WAV files and project folders that work on every system, in every editor and in an EDL. Knows no disk.

A safe name is composed (NFC), so that Hangul from a Mac does not come apart on Windows; it has no sign that a file
system, a URL or an EDL treats specially; it is no device name of Windows; it is short enough in bytes for NAS shares
and for a path of 260.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from server.script.errors import NameRefused
from server.terminal.messages import t
from server.text.composed import composed

MAX_FILE_NAME_BYTES = 120
"""In UTF-8. The tightest limit that we know is 143, on encrypted NAS shares."""

MAX_PROJECT_BYTES = 80
"""In UTF-8; a date and a suffix are added to it."""

MAX_LABEL_CHARS = 40

LABEL_WORDS = 3

LABEL_CHARS = {"wide": 16, "unspaced": 10, "letters": 24}
"""Longest label that is made from a sentence, by its script: Hangul; kana and Han; everything else."""

MIN_NUMBER_WIDTH = 3

_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin", "conout"}
    | {f"{port}{n}" for port in ("com", "lpt") for n in (*range(10), "¹", "²", "³")}
)

# Hangul fillers: letters by their Unicode category, but invisible.
_INVISIBLE_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")

_DROPPED = frozenset("'’‘`\"“”´")
"""Dropped without a `_` in their place: don't becomes dont."""


def line_file_names(labels: Sequence[str], texts: Sequence[str]) -> list[str]:
    """`001_label.wav`, ... for a whole script: the label given, or else the sentence's first words.

    The numbers keep the names apart, even where labels are equal. ValueError where the two differ in length.
    """
    width = max(MIN_NUMBER_WIDTH, len(str(len(texts))))
    return [
        _file_name(f"{number:0{width}}", _shortened_label(label) or label_from(text))
        for number, (label, text) in enumerate(zip(labels, texts, strict=True), start=1)
    ]


def label_from(text: str) -> str:
    """The first words of a sentence, as a label; empty where nothing in it can stand in a name."""
    words = [word for word in _cleaned(text).split("_") if word]
    limit = LABEL_CHARS[_script_of(words)]
    label = ""
    for word in words[:LABEL_WORDS]:
        longer = f"{label}_{word}" if label else word
        if label and len(longer) > limit:
            break
        label = longer
    return _cut(label, limit, MAX_FILE_NAME_BYTES).rstrip("_.-")


def safe_project_name(name: str) -> str:
    """The name that a project's folder gets; a safe name stays as it is. Raises NameRefused."""
    shown = unicodedata.normalize("NFC", name).strip()
    if re.search(r"[/\\\x00]", shown) or re.match(r"[A-Za-z]:", shown) or shown in (".", ".."):
        raise NameRefused(
            t("The project name {name} is a path. Give a plain name, and the folder for it with --into.", name=shown)
        )
    cleaned = _cleaned(shown)
    if not cleaned:
        raise NameRefused(
            t("The project name {name} has no letter and no digit that a folder can be named with.", name=shown or '""')
        )
    if cleaned.split(".")[0].casefold() in _DEVICES:
        cleaned = f"{cleaned}_"  # Windows opens the device: CON is the console, nul.txt is nothing
    if len(cleaned.encode()) <= MAX_PROJECT_BYTES:
        return cleaned
    # Two long names with the same beginning must not share a folder.
    digest = hashlib.sha256(cleaned.encode()).hexdigest()[:6]
    return f"{_cut(cleaned, len(cleaned), MAX_PROJECT_BYTES - 7).rstrip('_.-')}_{digest}"


def _file_name(number: str, label: str) -> str:
    room = MAX_FILE_NAME_BYTES - len(f"{number}_.wav")
    label = _cut(label, len(label), room).rstrip("_.-")
    return f"{number}_{label}.wav" if label else f"{number}.wav"


def _shortened_label(label: str) -> str:
    """The given label; where it is too long, cut between two words if that keeps half of it."""
    cleaned = _cleaned(label)
    if len(cleaned) <= MAX_LABEL_CHARS:
        return cleaned
    head = _cut(cleaned, MAX_LABEL_CHARS, len(cleaned.encode()))
    words = head.rpartition("_")[0]
    return (words if len(words) * 2 >= len(head) else head).rstrip("_.-")


def _cleaned(text: str) -> str:
    """Letters, numbers and their marks; everything else becomes one `_`."""
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", composed(text))  # 3,500 stays one number
    kept = "".join(_kept(text, at) for at in range(len(text)))
    # NFC once more: a dropped character may have stood between a letter and its mark.
    kept = composed(re.sub(r"_{2,}", "_", kept))
    return re.sub(r"^[_.\-]+|[_.\-]+$", "", _without_stray_marks(kept))


def _kept(text: str, at: int) -> str:
    character = text[at]
    category = unicodedata.category(character)
    if character in _DROPPED or category[0] == "C" or _is_variation_selector(character):
        return ""
    if (category[0] in "LN" or category in ("Mn", "Mc")) and character not in _INVISIBLE_LETTERS:
        return character
    if character == "-":
        return character
    if character == "." and text[at - 1 : at].isdecimal() and text[at + 1 : at + 2].isdecimal():
        return character  # 2.0
    return character if "㈀" <= character <= "㏿" else "_"  # ㈜, ㎏


def _is_variation_selector(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def _without_stray_marks(text: str) -> str:
    """Drops combining marks without a letter before them: they would join the number or the dash."""
    kept: list[str] = []
    for character in text:
        # `kept` counts and not `text`: a mark after a dropped mark has no letter either.
        if not _extends(character) or (kept and (kept[-1].isalnum() or _extends(kept[-1]))):
            kept.append(character)
    return "".join(kept)


def _extends(character: str) -> bool:
    """Whether the character belongs to the one before it: an accent, or a vowel or final of old Hangul.

    Old Hangul has no composed syllables.
    """
    return (
        unicodedata.category(character)[0] == "M"
        or "\u1160" <= character <= "\u11ff"
        or "\ud7b0" <= character <= "\ud7fb"
    )


def _cut(text: str, max_chars: int, max_bytes: int) -> str:
    """The longest beginning within both limits that takes no character apart."""
    end, used = 0, 0
    for grapheme in _graphemes(text):
        used += len(grapheme.encode())
        if used > max_bytes or end + len(grapheme) > max_chars:
            break
        end += len(grapheme)
    return text[:end]


def _graphemes(text: str) -> list[str]:
    begins = [at for at, character in enumerate(text) if at == 0 or not _extends(character)]
    return [text[begin:end] for begin, end in pairwise([*begins, len(text)])]


def _script_of(words: list[str]) -> str:
    head = "".join(words[:LABEL_WORDS])
    if any("가" <= character <= "힣" for character in head):
        return "wide"
    if any("ぁ" <= character <= "ヺ" or "㐀" <= character <= "鿿" for character in head):
        return "unspaced"
    return "letters"
