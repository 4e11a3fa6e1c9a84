"""The dummy said alone a few times in the voice, made ready to be aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from server.audio.samples import Samples
from server.cut.alignment import align_takes
from server.cut.features import HOP_S, Features, extract_features, frame_pairs_of, speech_span

FULL_TRUST_AGREEMENT = 0.25
"""Takes that agree this well do not lower the confidence."""


@dataclass(frozen=True, eq=False)
class DummyTakes:
    """The dummy said alone, a few times, in the voice: made once by prepare_takes."""

    sample_rate: int
    takes: tuple[Features, ...]
    """Each from its first to its last speech."""
    seconds: tuple[float, ...]
    """Speech in each take."""
    agreement: float
    """0 to 1: how well the takes match each other. eSpeak's 0.8 to 0.95, garbled ones 0.2 to 0.6, noise 0."""

    @property
    def trust(self) -> float:
        """0 to 1: scales the confidence down when the dummy's takes do not agree with each other."""
        return min(1.0, self.agreement / FULL_TRUST_AGREEMENT)


def prepare_takes(takes: Sequence[Samples], sample_rate: int) -> DummyTakes:
    """Features of each take, cut to its speech; takes with less than 0.1 s of speech are left out.

    takes: mono float32, (samples,) each. Raises ValueError as extract_features does.
    """
    kept: list[Features] = []
    for take in takes:
        features = extract_features(take, sample_rate)
        span = speech_span(features)
        if span is not None and span[1] - span[0] >= 20:
            kept.append(excerpt(features, *span))
    seconds = tuple(float(take.speech.sum()) * HOP_S for take in kept)
    return DummyTakes(sample_rate, tuple(kept), seconds, _agreement(kept))


def excerpt(features: Features, start: int, end: int) -> Features:
    """Frames start to end; background and speech level stay those of the whole recording."""
    return Features(
        features.hop,
        features.mel[start:end],
        features.noise,
        features.speech_power,
        features.level_db[start:end],
        features.speech[start:end],
    )


SAME_VOICE_QUALITY = 0.55
"""Negated cost per row of one eSpeak take aligned with another of the same voice"""


def _agreement(takes: Sequence[Features]) -> float:
    """0 to 1: how well each take aligns with each other one."""
    if len(takes) < 2:
        return float(len(takes))
    rows = [frame_pairs_of(take, 0, len(take.speech)) for take in takes]
    quality = [-float(align_takes([a], b).cost[0]) / max(1, len(b.frames)) for a in rows for b in rows if a is not b]
    return max(0.0, min(1.0, float(np.median(quality)) / SAME_VOICE_QUALITY))
