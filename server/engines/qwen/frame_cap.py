"""How many codec frames a text may take at most. Pure: knows no model.

The model now and then never ends (0.3 to 0.5 % of sentences: QwenLM/Qwen3-TTS #118, sglang-omni #1179), and the
shipped limit is 8192 frames, eleven minutes. The cap is there to notice that, so it must lie well above any real
speech: too tight a cap clips slow speakers (mlx-audio PR 695).
"""

from __future__ import annotations

import math
import unicodedata

FRAMES_PER_SECOND = 12.5
FLOOR_FRAMES = 75
"""6 s, for texts of a word or two: a slow "Yes." with a long pause is under 3 s."""
FRAMES_PER_SYLLABLE = 6
"""2.1 syllables a second. Slow documentary narration is about 4, Korean announcers about 6."""
FRAMES_PER_PAUSE = 12
"""A full second for every run of punctuation; measured pauses are 0.2 to 0.8 s."""
SYLLABLES_PER_DIGIT = 4
"""Russian is the longest: 1985 is 11 syllables."""
SYLLABLES_PER_CAPITAL = 2
"""Capitals may be spelled out: HTTP is six syllables in Korean."""
SYLLABLES_PER_LETTER = 0.5
"""English has 0.35, Italian and Spanish 0.45."""
SYLLABLES_PER_KANJI = 3
"""Morae in Japanese; two is the average, and they are short. A Chinese or Korean reading is one syllable."""
SYLLABLES_PER_SYMBOL = 4
"""`%` is peurosenteu."""


def frame_cap(text: str, language: str) -> int:
    """Frames after which generation of this text (dummy sentence included) is a runaway; 12.5 frames are a second.

    language: a name of the ten; it decides only how long a Chinese character is.
    """
    syllables, pauses, in_pause = 0.0, 0, False
    for char in unicodedata.normalize("NFC", text):
        pause = unicodedata.category(char)[0] == "P"
        pauses += pause and not in_pause
        # Spaces neither begin nor end a run: "  ...  " is one pause.
        in_pause = pause or (in_pause and char.isspace())
        syllables += _syllables(char, language)
    return max(FLOOR_FRAMES, math.ceil(syllables * FRAMES_PER_SYLLABLE + pauses * FRAMES_PER_PAUSE))


def _syllables(char: str, language: str) -> float:
    category = unicodedata.category(char)
    if category[0] == "N":
        return SYLLABLES_PER_DIGIT
    if category[0] == "S":
        return SYLLABLES_PER_SYMBOL
    if category == "Lu":
        return SYLLABLES_PER_CAPITAL
    if category == "Ll":
        return SYLLABLES_PER_LETTER
    if category[0] == "L":
        name = unicodedata.name(char, "")
        return SYLLABLES_PER_KANJI if language == "Japanese" and name.startswith("CJK") else 1
    return 0
