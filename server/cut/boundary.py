"""Which frame of the chosen pause the cut falls on: breaths, faint sounds, endings that fade."""

from __future__ import annotations

import numpy as np

from server.audio.samples import Samples
from server.cut.features import BANDS, HOP_S, Features, Floats, runs

BREATH_S = (0.15, 0.55)
"""Shortest and longest inhalation"""

BREATH_PAUSE_S = 0.07
"""Shortest pause before an inhalation"""

BREATH_MAX_DB = -9.0
"""An inhalation's loudest frame lies below, relative to speech."""

BREATH_VOICING = 0.30
"""An inhalation's autocorrelation at a pitch lies below: 0 is ideal noise, 1 an ideal vowel."""

BREATH_CENTRE = 0.72
"""An inhalation's centre of gravity lies below, as a share of the mel axis; an s lies above."""


def before_breath(samples: Samples, features: Features, first: int, pause: tuple[int, int]) -> tuple[int, int]:
    """`pause`, or the pause before it where only an inhalation lies between the two: soft, unvoiced, not an s.

    samples: mono, (samples,). first: the first speech frame. Pauses are start and end as frames.
    """
    earlier = [(a, b) for a, b in runs(~features.speech[: pause[0]]) if a > first]
    if pause[1] - pause[0] < 3 or not earlier:
        return pause
    start, end = earlier[-1][1], pause[0]
    long_enough = BREATH_S[0] <= (end - start) * HOP_S <= BREATH_S[1]
    paused = (earlier[-1][1] - earlier[-1][0]) * HOP_S >= BREATH_PAUSE_S
    if not (long_enough and paused) or features.level_db[start:end].max() >= BREATH_MAX_DB:
        return pause
    power = np.maximum(features.mel[start:end] - features.noise, 0.0).sum(axis=0)
    centre = float(power @ np.arange(BANDS)) / (float(power.sum()) + 1e-12) / BANDS
    if centre >= BREATH_CENTRE:
        return pause
    sample_rate = round(features.hop / HOP_S)
    voicing = _voicing(samples[start * features.hop : end * features.hop], sample_rate)
    return earlier[-1] if voicing < BREATH_VOICING else pause


def _voicing(samples: Samples, sample_rate: int) -> float:
    """0 to 1: the 70th percentile of the autocorrelation at a voice's pitch (70 to 400 Hz) over 40 ms windows."""
    step = max(1, sample_rate // 8000)
    low = samples[: len(samples) // step * step].reshape(-1, step).mean(axis=1)
    rate, window = sample_rate / step, round(0.040 * sample_rate / step)
    if len(low) < window:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(low, window)[:: window // 2]
    frames = frames - frames.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(frames, 2 * window, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)
    lags = slice(int(rate / 400), min(window - 1, int(rate / 70)))
    return float(np.percentile(correlation[:, lags].max(axis=1) / (correlation[:, 0] + 1e-9), 70))


DECAYED_DB = -45.0
"""A decay below this level has ended, relative to speech."""

DECAY_S = 0.02
"""Speech that ends closer than this to the end of the audio was broken off."""

MAX_DECAY_S = 0.3
"""Longest quiet that is left after the sentence"""

BURST_S, ONSET_S = 0.025, 0.060
"""Longest burst of a consonant, and longest time from it to the vowel"""

FAINT_DB, FAINT_S = -42.0, 0.020
"""A sound of at least this level and length is audible, though too soft to count as speech: often the sentence's last
syllable."""


def cut_frame(level_db: Floats, start: int, end: int) -> int:
    """The frame to cut at: the quietest 25 ms of the pause after its last faint sound, in doubt at 70 % of that part.

    Late rather than early: the dummy's onset is known to about 10 ms, the end of the sentence's decay is not. At most
    300 ms of quiet are left after the sentence.
    """
    if end - start < 3:
        first = max(0, start - 8)
        return first + int(np.argmin(_smooth(level_db)[first : start + 5]))
    start = _after_faint_sounds(level_db, start, end)
    position = np.linspace(0.0, 1.0, end - start) - 0.7
    quietest = start + int(np.argmin(_smooth(np.maximum(level_db, -48.0))[start:end] + 8.0 * position**2))
    quiet = np.flatnonzero(level_db[start:quietest] <= DECAYED_DB)
    return min(quietest, start + int(quiet[0]) + round(MAX_DECAY_S / HOP_S)) if len(quiet) else quietest


def _after_faint_sounds(level_db: Floats, start: int, end: int) -> int:
    """The frame after the pause's last faint sound: faint sounds belong to the sentence.

    The burst of the dummy's first consonant does not (a Chinese zh: 15 to 25 ms, then 30 ms of faint hiss).
    """
    pause = level_db[start:end]
    for a, b in reversed(runs(pause > FAINT_DB)):
        if a == 0 or b == len(pause) or (b - a) * HOP_S < FAINT_S:
            continue
        is_burst = (b - a) * HOP_S <= BURST_S and (len(pause) - a) * HOP_S <= ONSET_S
        if not is_burst:
            return start + b
    return start


def _smooth(level_db: Floats) -> Floats:
    return np.convolve(level_db, np.full(5, 0.2, np.float32), "same")[: len(level_db)]
