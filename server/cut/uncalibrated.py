"""Cuts without takes of the dummy: by pauses and durations alone, and as the first server did it."""

from __future__ import annotations

import math

import numpy as np

from server.audio.samples import Samples
from server.cut.boundary import cut_frame
from server.cut.features import HOP_S, Features, checked, inner_pauses, speech_span
from server.cut.result import Cut, Evidence
from server.cut.search import pause_bonus
from server.text.length import spoken_units


def nothing_to_cut(samples: Samples, features: Features, method: str) -> Cut:
    nothing = np.zeros(0, np.float32)
    evidence = Evidence(features.level_db, (), (len(samples), len(samples)), np.zeros(0, np.int64), nothing)
    return Cut(len(samples), 0.0, "missing", method, decayed=False, evidence=evidence)


def uncalibrated_cut(samples: Samples, features: Features, text: str, dummy: str) -> Cut:
    """Pauses scored by length, depth and distance from where the ratio of the texts puts the boundary."""
    span = speech_span(features)
    if span is None:
        return nothing_to_cut(samples, features, "uncalibrated")
    spoken = np.concatenate(([0], np.cumsum(features.speech)))
    total = spoken[span[1]]
    expected = spoken_units(text) / (spoken_units(text) + spoken_units(dummy))

    def score(pause: tuple[int, int]) -> float:
        share = min(0.99, max(0.01, spoken[pause[0]] / total))
        away = abs(math.log(share / (1 - share)) - math.log(expected / (1 - expected)))
        depth = -float(features.level_db[pause[0] : pause[1]].min())
        return 6.0 * pause_bonus((pause[1] - pause[0]) * HOP_S, depth) - 8.0 * max(0.0, away - 0.15) ** 2

    pauses = inner_pauses(features)
    ranked = sorted(pauses, key=score, reverse=True)
    if ranked:
        best = ranked[0]
        margin = score(best) - (score(ranked[1]) if len(ranked) > 1 else 0.0)
    else:
        frame = int(np.searchsorted(spoken, expected * total))
        best, margin = (frame, frame), 0.0
    frame = cut_frame(features.level_db, *best)
    hop = features.hop
    evidence = Evidence(
        features.level_db,
        tuple((a * hop, b * hop) for a, b in pauses),
        (best[0] * hop, best[1] * hop),
        np.zeros(0, np.int64),
        np.zeros(0, np.float32),
    )
    confidence = 0.7 / (1.0 + math.exp(-margin))
    return Cut(min(len(samples), frame * hop), confidence, "found", "uncalibrated", True, evidence)


REFERENCE_CONFIDENCE = 0.3
"""Fixed: the reference is often wrong and cannot tell when."""


def reference_cut(audio: Samples, sample_rate: int, text: str, dummy: str) -> Cut:
    """The first server's algorithm: the quietest 80 ms within 10 % of the audio around the share of characters.

    audio, errors: as find_cut.
    """
    samples = checked(audio, sample_rate)
    window = round(sample_rate * 0.08)
    expected = int(len(samples) * len(text) / max(1, len(text) + len(dummy)))
    reach = int(len(samples) * 0.1)
    first, last = max(0, expected - reach), min(len(samples), expected + reach) - window
    energy = np.concatenate(([0.0], np.cumsum(samples.astype(np.float64) ** 2)))
    starts = np.arange(first, last, max(1, window // 4))
    sample = expected if len(starts) == 0 else int(starts[np.argmin(energy[starts + window] - energy[starts])])
    nothing = np.zeros(0, np.float32)
    evidence = Evidence(nothing, (), (sample, min(len(samples), sample + window)), np.zeros(0, np.int64), nothing)
    return Cut(sample, REFERENCE_CONFIDENCE, "found", "reference", True, evidence)
