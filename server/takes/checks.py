"""Is this a good take, before anybody looks for the cut? Finite, audible, and of a length that the text can have."""

from __future__ import annotations

import numpy as np

from server.audio.samples import SILENT_PEAK, Audio
from server.text.length import spoken_weight

MIN_S_PER_UNIT = 0.04
"""Fastest speech there is: 25 syllables a second, three times a fast reader's."""
MAX_S_PER_UNIT = 1.2
MAX_S_FLOOR = 8.0
"""A short text may be followed by a long pause; a babbling model goes on for minutes."""


def take_fault(audio: Audio, text: str, language: str) -> str | None:
    """A short English phrase, or None for a take that may be cut.

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
