"""The dummy sentence that is spoken after every line, so that the model's early stop falls into it and not the line.

Knows no audio: server/cut/find.py finds where the dummy begins and takes it off.

A dummy has at least eight syllables, a pause before it, rare content words and an ending that ordinary sentences do
not share, since a short one of frequent syllables is mistaken for the line's own ending.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from server.errors import SettingsError
from server.terminal.messages import t
from server.text.languages import language_code

PAUSE = "  ...  "
PAUSE_EAST_ASIAN = " …… "
"""Never a row of full stops: Qwen3-TTS speaks nonsense over `。` used as padding."""


@dataclass(frozen=True)
class Dummy:
    text: str
    """What is appended to the line: a pause, then the words."""
    words: str
    """The spoken part, as the engine says it alone for calibration."""


@dataclass(frozen=True)
class _Candidate:
    words: str
    distinctive: str
    """A line that contains this part gets the other dummy; compared without case, spaces and marks. A line with a
    sentence that begins as this dummy does gets the other one too."""


# Japanese in kana only: draft speech cannot read kanji.
_CANDIDATES: dict[str, tuple[_Candidate, _Candidate]] = {
    "ko": (
        _Candidate("그리고 잠시 쉬어가겠습니다.", "쉬어가"),
        _Candidate("이쯤에서 느긋하게 숨을 골라 보지요.", "느긋하게숨"),
    ),
    "en": (
        _Candidate("And now we shall rest beside the lighthouse.", "lighthouse"),
        _Candidate("Meanwhile a copper kettle hums in the pantry.", "pantry"),
    ),
    "ja": (
        _Candidate("それではとうだいのそばでしばらくうたたねを。", "うたたね"),
        _Candidate("そろそろやかんがことことうたいだすころ。", "ことことうたい"),
    ),
    "zh": (
        _Candidate("现在我们去灯塔旁边歇歇脚。", "歇歇脚"),
        _Candidate("这时候厨房里的水壶正咕嘟咕嘟冒泡。", "咕嘟"),
    ),
    "de": (
        _Candidate("Und nun verweilen wir kurz am Leuchtturm.", "leuchtturm"),
        _Candidate("Inzwischen summt der Kessel in der Speisekammer.", "speisekammer"),
    ),
    "fr": (
        _Candidate("Et maintenant nous flânerons autour du phare.", "phare"),
        _Candidate("Pendant ce temps la bouilloire chantonne à l'office.", "bouilloire"),
    ),
    "ru": (
        _Candidate("А теперь мы передохнём у старого маяка.", "маяка"),
        _Candidate("Тем временем чайник мурлычет в кладовке.", "кладовк"),
    ),
    "pt": (
        _Candidate("E agora descansaremos junto ao velho farol.", "farol"),
        _Candidate("Enquanto isso a chaleira cantarola na despensa.", "despensa"),
    ),
    "es": (
        _Candidate("Y ahora descansaremos junto al viejo faro.", "faro"),
        _Candidate("Mientras tanto la tetera canturrea en la despensa.", "despensa"),
    ),
    "it": (
        _Candidate("E adesso ci riposeremo accanto al vecchio faro.", "faro"),
        _Candidate("Intanto il bollitore canticchia nella dispensa.", "dispensa"),
    ),
}

_LEAD = re.compile(r"^[\s.…。·・,、，~～—–-]*")
_PAUSE_MARK = re.compile(r"[.…,、，—–-]")
_CLOSERS = "\"'”’»›」』）)]】》〉"
_FINALS = ".!?。！？…．"
_WEAK_TAIL = ",;:、，；：—–-~～·・ "


def dummy_for(language: str, text: str, override: str = "") -> Dummy:
    """The dummy to append to this line; the language's second one if the line resembles the first.

    language: a code or a name of the ten. override: the DUMMY_SUFFIX setting, used for every line.
    Raises SettingsError when the override has no word, ValueError for another language.
    """
    code = language_code(language)
    if override.strip():
        return _overridden(override, code)
    first, second = _CANDIDATES[code]
    said = bare(text)
    likened = bare(first.distinctive) in said or begins_alike(text, first.words)
    chosen = second if likened and not begins_alike(text, second.words) else first
    return Dummy(text=_pause(code) + chosen.words, words=chosen.words)


MAX_SHARED = 0.3
"""Share of the dummy's letters that a line may have in a row, from the first letter on"""
MAX_SHARED_CJK = 2
"""The same in characters: letters say little about sounds here, since a line may write the dummy's kana in kanji."""


def begins_alike(text: str, words: str) -> bool:
    """Whether a sentence of the text may sound like the dummy at its beginning."""
    sought = bare(words)
    if _is_cjk(sought[:1]):
        return sought[: MAX_SHARED_CJK + 1] in bare(text)
    return shared_beginning(text, words) > MAX_SHARED


def shared_beginning(text: str, words: str) -> float:
    """The share of the dummy's letters that the text has in a row, from the dummy's first one on: 0 to 1."""
    inside, sought = bare(text), bare(words)
    length = next((n for n in range(len(sought), 0, -1) if sought[:n] in inside), 0)
    return length / max(1, len(sought))


def join(text: str, dummy: Dummy) -> tuple[str, int]:
    """The line with its dummy, and the character offset at which the dummy's first word begins.

    The line's own final punctuation comes first; a line without any gets a full stop of its script.
    """
    padded = _closed(text) + dummy.text
    words_at = len(padded) - len(dummy.words)
    first_letter = next(i for i, char in enumerate(dummy.words) if char.isalnum())
    return padded, words_at + first_letter


def _overridden(override: str, code: str) -> Dummy:
    written = override.rstrip()
    lead = _LEAD.match(written)
    pause = lead[0] if lead else ""
    words = written[len(pause) :]
    if not any(char.isalnum() for char in words):
        raise SettingsError(
            t(
                "DUMMY_SUFFIX {value} has no word in it. Write a whole sentence of eight syllables or more, "
                "or leave it empty for the one of the language.",
                value=ascii(override),
            )
        )
    if "。" in pause or not _PAUSE_MARK.search(pause):
        pause = _pause(code)
    # Spaces keep the pause's dots apart from the line's own full stop.
    pause = pause if pause[0].isspace() else "  " + pause
    pause = pause if pause[-1].isspace() else pause + "  "
    words = _closed(words)
    return Dummy(text=pause + words, words=words)


def _pause(code: str) -> str:
    return PAUSE_EAST_ASIAN if code in ("ja", "zh") else PAUSE


def _closed(text: str) -> str:
    """With final punctuation, so that every engine ends the sentence before the dummy."""
    text = text.rstrip()
    inner = text.rstrip(_CLOSERS + " ")  # French puts a space before its closing quote
    if inner and inner[-1] in _FINALS:
        return text
    text = text.rstrip(_WEAK_TAIL)
    return text + _full_stop(text)


def _full_stop(text: str) -> str:
    last = next((char for char in reversed(text) if char.isalnum()), "a")
    return "。" if _is_cjk(last) else "."


def _is_cjk(char: str) -> bool:
    """Kana or a Chinese character."""
    return unicodedata.name(char, "").startswith(("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC")) if char else False


def bare(text: str) -> str:
    """Comparison key: no case, no white space, no marks."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in folded if char.isalnum())
