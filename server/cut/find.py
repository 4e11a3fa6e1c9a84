"""Where the real sentence ends in "sentence + dummy": arrays in, sample index and confidence out.

Knows no engine, no server and no file. The dummy's text and the voice never change, so the dummy, said alone a few
times (`prepare_takes`), is searched for from the end of the audio backwards (`find_cut`): features.py describes the
recording, alignment.py says what the dummy's start would cost at each row, search.py ranks the pauses, and this module
decides. docs/dev/cutting.md describes the method and has the figures; scripts/bench/show_cut.py draws one decision,
scripts/bench/bench_cut.py scores many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from server.audio.samples import Samples
from server.cut.boundary import DECAY_S, before_breath, cut_frame
from server.cut.confidence import (
    CONFIDENCE_WEIGHTS,
    PRESENT_WEIGHTS,
    SUREST,
    TWICE_WEIGHTS,
    logistic,
    match_shape,
    presence_predictors,
    sureness,
)
from server.cut.dummy_takes import DummyTakes, excerpt, prepare_takes
from server.cut.features import HOP_S, Features, checked, extract_features, inner_pauses, speech_span
from server.cut.result import Cut, DummyState, Evidence
from server.cut.search import Candidate, Search, Timing, expected_timing, nearest_pause, search_dummy
from server.cut.uncalibrated import nothing_to_cut, uncalibrated_cut


@dataclass(frozen=True, eq=False)
class Earlier:
    """A possible earlier copy of the dummy, ending where the found one begins."""

    search: Search
    predictors: dict[str, float]
    probability: float


def _said_before(features: Features, takes: DummyTakes, timing: Timing, found: Candidate, last: int) -> Earlier | None:
    """Searches for a second dummy before the found one, which serves as a take: same voice, same room, same noise."""
    spoken = np.flatnonzero(features.speech[: found.start])
    if len(spoken) == 0 or found.start - timing.first < 0.6 * timing.dummy:
        return None
    patterns = takes.takes
    if last - found.end > 0.6 * timing.dummy:
        patterns = (*patterns, excerpt(features, found.end, last))
    search = search_dummy(features, patterns, timing, int(spoken[-1]) + 1)
    if search is None:
        return None
    best = search.candidates[0]
    nearer = abs(timing.text_mismatch(found.start)) - abs(timing.text_mismatch(best.start))
    predictors = match_shape(search) | {"bias": 1.0, "length_says_twice": max(-1.0, min(1.0, nearer))}
    return Earlier(search, predictors, logistic(TWICE_WEIGHTS, predictors))


def _calibrated(samples: Samples, features: Features, text: str, dummy: str, takes: DummyTakes) -> Cut:
    span = speech_span(features)
    if span is None:
        return nothing_to_cut(samples, features, "calibrated")
    first, last = span
    timing = expected_timing(features, first, text, dummy, takes)
    search = search_dummy(features, takes.takes, timing, last)
    if search is None:
        return nothing_to_cut(samples, features, "calibrated")
    best = search.candidates[0]
    predictors = presence_predictors(search, timing, last)
    predictors["present"] = logistic(PRESENT_WEIGHTS, predictors)
    if predictors["present"] < 0.5:
        cut = len(samples)
        # The probability of "missing", lowered where the audio is longer or shorter than the sentence can be.
        fits = math.exp(-3.0 * max(0.0, predictors["whole_mismatch"] - 0.5))
        confidence = takes.trust * fits * (1.0 - predictors["present"])
        decayed = (len(features.speech) - last) * HOP_S >= DECAY_S
        evidence = evidence_of(features, search, (cut, cut), predictors)
        return Cut(cut, confidence, "missing", "calibrated", decayed, evidence)
    predictors["sure_twice"] = SUREST
    state: DummyState = "truncated" if predictors["cut_short"] > 0 else "found"
    chosen, chosen_search = best, search
    for _ in range(2):
        earlier = _said_before(features, takes, timing, chosen, last)
        if earlier is None:
            break
        if state != "twice":
            predictors |= {f"twice.{name}": value for name, value in earlier.predictors.items()}
            predictors["sure_twice"] = sureness(earlier.probability)
        if earlier.probability < 0.5:
            break
        last = chosen.start
        chosen, chosen_search, state = earlier.search.candidates[0], earlier.search, "twice"
    predictors["left_mismatch"] = min(1.0, abs(timing.text_mismatch(chosen.start)))
    pause = before_breath(samples, features, first, nearest_pause(features, chosen_search, chosen))
    sample = min(len(samples), cut_frame(features.level_db, *pause) * features.hop)
    chosen_samples = (pause[0] * features.hop, pause[1] * features.hop)
    evidence = evidence_of(features, search, chosen_samples, predictors)
    confidence = takes.trust * predictors["present"] * logistic(CONFIDENCE_WEIGHTS, predictors)
    return Cut(sample, confidence, state, "calibrated", True, evidence)


def evidence_of(features: Features, search: Search, chosen: tuple[int, int], predictors: dict[str, float]) -> Evidence:
    """chosen: start and end of the pause that was cut in, as samples."""
    pauses = tuple((a * features.hop, b * features.hop) for a, b in inner_pauses(features))
    rows = search.rows.frames * features.hop
    return Evidence(features.level_db, pauses, chosen, rows, search.alignment.cost, tuple(predictors.items()))


def find_cut(
    audio: Samples,
    sample_rate: int,
    text: str,
    dummy: str,
    dummy_takes: DummyTakes | Sequence[Samples] | None,
) -> Cut:
    """Where `text` ends in a take of `text + dummy`: subsequence DTW against the dummy's takes, scored at the pauses.

    audio: float32, (samples,) or with channels, which are mixed.
    dummy_takes: what prepare_takes returned, or recordings of the dummy alone at the same rate; without them the
    pauses alone decide, at a lower confidence.
    Raises ValueError for takes of another rate, rates below 4000 Hertz and other shapes.
    """
    samples = checked(audio, sample_rate)
    takes = dummy_takes
    if takes is not None and not isinstance(takes, DummyTakes):
        takes = prepare_takes(takes, sample_rate)
    features = extract_features(samples, sample_rate)
    if takes is None or not takes.takes:
        return uncalibrated_cut(samples, features, text, dummy)
    if takes.sample_rate != sample_rate:
        raise ValueError(f"the takes of the dummy have {takes.sample_rate} Hz, the audio has {sample_rate} Hz")
    return _calibrated(samples, features, text, dummy, takes)
