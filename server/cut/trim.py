"""The audio that is delivered: silence before the first sound taken off, the end faded, silence added."""

from __future__ import annotations

import numpy as np

from server.audio.samples import Samples, silence
from server.cut.features import BANDS, HOP_S, Bools, Features, checked, extract_features, speech_span
from server.cut.result import Cut

TAIL_SILENCE_S = 0.2

HEAD_MS, DECAY_MS = 40.0, 120.0
"""Kept before the first sound, and at most after the last one"""


def delivered_span(
    audio: Samples, cut: Cut, sample_rate: int, head_ms: float = HEAD_MS, decay_ms: float = DECAY_MS
) -> tuple[int, int]:
    """Samples: head_ms before the first sound to decay_ms after the last one before the cut, or the cut itself."""
    samples = checked(audio, sample_rate)
    features = extract_features(samples, sample_rate)
    start, end = 0, min(len(samples), max(0, cut.sample))
    span = speech_span(features)
    if span is not None:
        start = max(0, _first_sound(features, span[0]) * features.hop - round(head_ms * sample_rate / 1000))
        end = min(end, _last_sound(features, end // features.hop) * features.hop + round(decay_ms * sample_rate / 1000))
    return min(start, end), end


def finish(
    audio: Samples,
    cut: Cut,
    sample_rate: int,
    *,
    head_ms: float = HEAD_MS,
    decay_ms: float = DECAY_MS,
    fade_in_ms: float = 3.0,
    fade_out_ms: float = 8.0,
) -> Samples:
    """What is delivered: head_ms before the first sound, the sentence, decay_ms of its decay, 0.2 s of silence."""
    start, end = delivered_span(audio, cut, sample_rate, head_ms, decay_ms)
    kept = checked(audio, sample_rate)[start:end].copy()
    rise = min(len(kept), round(fade_in_ms * sample_rate / 1000))
    fall = min(len(kept), round(fade_out_ms * sample_rate / 1000))
    kept[:rise] *= np.linspace(0.0, 1.0, rise, dtype=np.float32)
    kept[len(kept) - fall :] *= np.linspace(1.0, 0.0, fall, dtype=np.float32)
    return np.concatenate((kept, silence(TAIL_SILENCE_S, sample_rate)))


AUDIBLE_DB = 3.0
"""A soft onset or a decay this far above the background is audible."""

SOFT_ONSET_S = 0.25
"""Longest initial consonant"""


def _audible(features: Features) -> Bools:
    """(frames,) whether a third of the spectrum lies above the background, and no more than 60 dB below speech."""
    thirds = np.array_split(np.arange(BANDS), 3)
    power = np.stack([features.mel[:, third].sum(axis=1) for third in thirds], axis=1)
    floor = np.array([features.noise[third].sum() for third in thirds]) * 10 ** (AUDIBLE_DB / 10)
    smooth = np.stack([np.convolve(p, np.full(3, 1 / 3), "same")[: len(p)] for p in power.T], axis=1)
    audible = (smooth > np.maximum(floor, features.speech_power * 1e-6)).any(axis=1)
    return np.asarray(audible)


def _first_sound(features: Features, first_speech: int) -> int:
    """The frame where a soft onset (s, h, f) before the first speech frame begins."""
    earliest = max(0, first_speech - round(SOFT_ONSET_S / HOP_S))
    quiet = np.flatnonzero(~_audible(features)[earliest:first_speech])
    return earliest + (int(quiet[-1]) + 1 if len(quiet) else 0)


def _last_sound(features: Features, end: int) -> int:
    """The frame after the last audible one before `end`."""
    audible = np.flatnonzero(_audible(features)[:end])
    return int(audible[-1]) + 1 if len(audible) else end
