"""The pauses of draft speech: found, and stretched. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 22_050
"""Hertz; eSpeak NG's output"""

PAUSE_FLOOR_MS = 30
"""Shorter runs of digital silence are closures of stop consonants and keep their length."""


def stretch_pauses(pcm: npt.NDArray[np.int16], factor: float) -> tuple[npt.NDArray[np.int16], Callable[[int], int]]:
    """The samples with each pause `factor` times as long, and a function from old sample index to new.

    pcm: (samples,) at SAMPLE_RATE.
    """
    starts, ends = silent_runs(pcm, PAUSE_FLOOR_MS * SAMPLE_RATE // 1000)
    edges, pieces = [0], [0]  # old and new position of each change of speed
    out: list[npt.NDArray[np.int16]] = []
    at = 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        length = round((end - start) * factor)
        out += [pcm[at:start], np.zeros(length, np.int16)]
        edges += [start, end]
        pieces += [pieces[-1] + start - at, pieces[-1] + start - at + length]
        at = end
    out.append(pcm[at:])
    edges.append(len(pcm))
    pieces.append(pieces[-1] + len(pcm) - at)
    return np.concatenate(out), lambda sample: round(float(np.interp(sample, edges, pieces)))


def silent_runs(pcm: npt.NDArray[Any], min_samples: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First and past-the-last sample of each run of zeros that is at least `min_samples` long."""
    is_zero = np.concatenate(([0], (pcm == 0).astype(np.int8), [0]))
    change = np.diff(is_zero)
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    long_enough = ends - starts >= min_samples
    return starts[long_enough], ends[long_enough]
