"""Checks of a take before the cut: finite samples, audible, and of a length that the text can have."""

from __future__ import annotations

import numpy as np

from server.audio.samples import SILENT_PEAK, Audio
from server.text.length import spoken_weight

MIN_S_PER_UNIT = 0.04
"""Per syllable of spoken_weight. No speech is faster: 25 syllables a second are three times a fast reader's pace."""
MAX_S_PER_UNIT = 1.2
MAX_S_FLOOR = 8.0
"""Added to the longest: a short text may be followed by a long pause. A babbling model goes on for minutes."""


def take_fault(audio: Audio, text: str, language: str) -> str | None:
    """What is wrong, as a short English phrase; None for a take that may be cut.

    text: all that was to be spoken, dummy sentence included.
    """
    if not np.isfinite(audio.samples).all():
        return "not finite"
    if len(audio.samples) == 0 or float(np.abs(audio.samples).max()) < SILENT_PEAK:
        return "silent"
    weight = spoken_weight(text, language)
    if audio.seconds < weight * MIN_S_PER_UNIT:
        return f"{audio.seconds:.1f} s is too short for this text"
    if audio.seconds > MAX_S_FLOOR + weight * MAX_S_PER_UNIT:
        return f"{audio.seconds:.1f} s is too long for this text"
    return None
