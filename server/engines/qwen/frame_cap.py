"""How many codec frames a text may take at most. Pure: knows no model.

The model now and then never ends (0.3 to 0.5 % of sentences: QwenLM/Qwen3-TTS #118, sglang-omni #1179), and the
shipped limit is 8192 frames, eleven minutes. The cap is there to notice that, so it must lie well above any real
speech: too tight a cap clips slow speakers (mlx-audio PR 695).
"""

from __future__ import annotations

import math
import unicodedata

from server.text.length import max_syllables

FRAMES_PER_SECOND = 12.5
FLOOR_FRAMES = 75
"""6 s, for texts of a word or two: a slow "Yes." with a long pause is under 3 s."""
FRAMES_PER_SYLLABLE = 6
"""2.1 syllables a second. Slow documentary narration is about 4, Korean announcers about 6."""
FRAMES_PER_PAUSE = 12
"""A full second for every run of punctuation; measured pauses are 0.2 to 0.8 s."""


def frame_cap(text: str, language: str) -> int:
    """Frames after which generation of this text (dummy sentence included) is a runaway; 12.5 frames are a second.

    language: a code or a name of the ten; ValueError for any other.
    """
    pauses, in_pause = 0, False
    for char in unicodedata.normalize("NFC", text):
        pause = unicodedata.category(char)[0] == "P"
        pauses += pause and not in_pause
        # Spaces neither begin nor end a run: "  ...  " is one pause.
        in_pause = pause or (in_pause and char.isspace())
    return max(FLOOR_FRAMES, math.ceil(max_syllables(text, language) * FRAMES_PER_SYLLABLE + pauses * FRAMES_PER_PAUSE))
