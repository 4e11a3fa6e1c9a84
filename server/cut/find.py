"""Where the real sentence ends in "sentence + dummy": arrays in, sample index and confidence out.

Knows no engine, no server and no file. The dummy's text and the voice never change, so the dummy, said alone a few
times (`prepare_takes`), is looked for from the end of the audio backwards (`find_cut`): features.py listens,
alignment.py finds where the dummy would begin, and here the pause is chosen. docs/dev/cutting.md tells the method with
a picture and its figures; scripts/bench/show_cut.py draws one decision, scripts/bench/bench_cut.py scores many.
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
    present_features,
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
    features: dict[str, float]
    probability: float


def _said_before(sound: Features, takes: DummyTakes, timing: Timing, found: Candidate, last: int) -> Earlier | None:
    """Looks for the dummy once more before the found one, which serves as one more take: it has this very sound."""
    spoken = np.flatnonzero(sound.speech[: found.start])
    if len(spoken) == 0 or found.start - timing.first < 0.6 * timing.dummy:
        return None
    patterns = takes.takes
    if last - found.end > 0.6 * timing.dummy:
        patterns = (*patterns, excerpt(sound, found.end, last))
    search = search_dummy(sound, patterns, timing, int(spoken[-1]) + 1)
    if search is None:
        return None
    best = search.candidates[0]
    nearer = abs(timing.text_mismatch(found.start)) - abs(timing.text_mismatch(best.start))
    features = match_shape(search) | {"bias": 1.0, "length_says_twice": max(-1.0, min(1.0, nearer))}
    return Earlier(search, features, logistic(TWICE_WEIGHTS, features))


def _calibrated(samples: Samples, sound: Features, text: str, dummy: str, takes: DummyTakes) -> Cut:
    span = speech_span(sound)
    if span is None:
        return nothing_to_cut(samples, sound, "calibrated")
    first, last = span
    timing = expected_timing(sound, first, text, dummy, takes)
    search = search_dummy(sound, takes.takes, timing, last)
    if search is None:
        return nothing_to_cut(samples, sound, "calibrated")
    best = search.candidates[0]
    features = present_features(search, timing, last)
    features["present"] = logistic(PRESENT_WEIGHTS, features)
    if features["present"] < 0.5:
        cut = len(samples)
        # The decision's own probability, which was fitted on cases where it errs; less where the whole is longer or
        # shorter than any way of saying the sentence.
        fits = math.exp(-3.0 * max(0.0, features["whole_mismatch"] - 0.5))
        confidence = takes.trust * fits * (1.0 - features["present"])
        decayed = (len(sound.speech) - last) * HOP_S >= DECAY_S
        evidence = evidence_of(sound, search, (cut, cut), features)
        return Cut(cut, confidence, "missing", "calibrated", decayed, evidence)
    features["sure_twice"] = SUREST
    state: DummyState = "truncated" if features["cut_short"] > 0 else "found"
    chosen, chosen_search = best, search
    for _ in range(2):
        earlier = _said_before(sound, takes, timing, chosen, last)
        if earlier is None:
            break
        if state != "twice":
            features |= {f"twice.{name}": value for name, value in earlier.features.items()}
            features["sure_twice"] = sureness(earlier.probability)
        if earlier.probability < 0.5:
            break
        last = chosen.start
        chosen, chosen_search, state = earlier.search.candidates[0], earlier.search, "twice"
    features["left_mismatch"] = min(1.0, abs(timing.text_mismatch(chosen.start)))
    pause = before_breath(samples, sound, first, nearest_pause(sound, chosen_search, chosen))
    sample = min(len(samples), cut_frame(sound.level_db, *pause) * sound.hop)
    chosen_samples = (pause[0] * sound.hop, pause[1] * sound.hop)
    evidence = evidence_of(sound, search, chosen_samples, features)
    confidence = takes.trust * features["present"] * logistic(CONFIDENCE_WEIGHTS, features)
    return Cut(sample, confidence, state, "calibrated", True, evidence)


def evidence_of(sound: Features, search: Search, chosen: tuple[int, int], features: dict[str, float]) -> Evidence:
    pauses = tuple((a * sound.hop, b * sound.hop) for a, b in inner_pauses(sound))
    rows = search.rows.frames * sound.hop
    return Evidence(sound.level_db, pauses, chosen, rows, search.match.cost, tuple(features.items()))


def find_cut(
    audio: Samples,
    sample_rate: int,
    text: str,
    dummy: str,
    dummy_takes: DummyTakes | Sequence[Samples] | None,
) -> Cut:
    """Where `text` ends in a take of `text + dummy`.

    audio: float32 mono, (samples,). dummy_takes: what prepare_takes returned, or recordings of the dummy alone at the
    same rate; without them the pauses alone decide, at a lower confidence. Channels are mixed; Cut.sample counts time.
    """
    samples = checked(audio, sample_rate)
    takes = dummy_takes
    if takes is not None and not isinstance(takes, DummyTakes):
        takes = prepare_takes(takes, sample_rate)
    sound = extract_features(samples, sample_rate)
    if takes is None or not takes.takes:
        return uncalibrated_cut(samples, sound, text, dummy)
    if takes.sample_rate != sample_rate:
        raise ValueError(f"the takes of the dummy have {takes.sample_rate} Hz, the audio has {sample_rate} Hz")
    return _calibrated(samples, sound, text, dummy, takes)
