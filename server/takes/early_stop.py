"""Early stop: detects the dummy's beginning while a take is being spoken, so that its rest need not be spoken.

The dummy is a third of what is spoken for a usual line, and half for a short one; its first 0.6 s are enough to
recognise it. A take stops only if all signs agree: a pause before the dummy, an alignment as good as that of the
voice's own takes, from the first sound on, and a length that fits the text. Every other take is spoken to its end and
cut by server/cut/find.py. docs/dev/cutting.md has the figures.

Knows no engine: arrays in, a Cut or nothing out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from server.audio.samples import Audio, Samples
from server.cut.alignment import path_of
from server.cut.boundary import before_breath, cut_frame
from server.cut.dummy_takes import SAME_VOICE_QUALITY, DummyTakes
from server.cut.features import (
    HOP_S,
    Features,
    Floats,
    certain_frames,
    checked,
    extract_features,
    inner_pauses,
    speech_span,
)
from server.cut.find import evidence_of
from server.cut.result import Cut
from server.cut.search import Search, Timing, expected_timing, margin_of, nearest_pause, search_dummy
from server.takes.dummy import Dummy, begins_alike, shared_beginning
from server.text.length import spoken_units

MIN_AGREEMENT = 0.5
"""How well the dummy's takes must match each other. Takes below this recognise nothing with certainty."""
MIN_TAKES = 2
"""Fewer cannot agree."""
MIN_DUMMY_S = 0.6
"""How much of the dummy must be heard. The part of its opening that the line itself contains ("그리고") is added."""
MIN_QUALITY = 0.75
"""Alignment quality, as a share of the takes' quality with each other"""
MIN_OPENING = 0.4
"""The same for the first 300 ms: another sentence may end in the dummy's sounds, but does not begin with them."""
MIN_PAUSE_S = 0.045
MIN_MARGIN = 0.3
"""Lead over the next best place to cut (server.cut.search.margin_of): noise can hide the true pause."""
MAX_MISMATCH = 0.5
"""Log of the sentence's said to expected length: 0.6 to 1.65 times"""
STOPPED_CONFIDENCE = 0.99
"""All 3,861 stopped takes of the reports were cut in the right pause (docs/dev/cutting.md)."""
MIN_DURATION_FACTOR, MAX_DURATION_FACTOR = 0.75, 2.0
"""Times the dummy's length in its takes; pauses inside the dummy make it longer."""
EVERY_S = 0.32
"""Four codec frames: the engine reads results back from a GPU as often."""


@dataclass(frozen=True)
class Onset:
    """Evidence that the dummy has begun."""

    dummy_s: float
    """Seconds of the dummy that were spoken"""
    quality: float
    """1: as good as the takes align with each other"""
    opening: float
    """The same for the first 300 ms"""
    pause_s: float
    margin: float
    mismatch: float


def is_certain(onset: Onset, min_dummy_s: float) -> bool:
    """Whether the onset passes all limits above. min_dummy_s: MIN_DUMMY_S, extended for this line."""
    return (
        onset.dummy_s >= min_dummy_s
        and onset.quality >= MIN_QUALITY
        and onset.opening >= MIN_OPENING
        and onset.pause_s >= MIN_PAUSE_S
        and onset.margin >= MIN_MARGIN
        and abs(onset.mismatch) <= MAX_MISMATCH
    )


@dataclass
class DummyDetector:
    """StopCondition of one take of `text` and `dummy`: stops it once the dummy has certainly onset."""

    text: str
    dummy: Dummy
    takes: DummyTakes
    every_s: float = EVERY_S
    cut: Cut | None = None
    """The cut of the stopped take; None while the take goes on."""
    judged_samples: int = 0
    _mel: Floats | None = field(default=None, repr=False)

    @property
    def first_s(self) -> float:
        """Seconds of audio before which `is_met` is always False: the sentence would be too short (MAX_MISMATCH)."""
        shortest = self._text_s * float(np.exp(-MAX_MISMATCH))
        return shortest + MIN_PAUSE_S + self._min_dummy_s

    def is_met(self, spoken: Audio) -> bool:
        """Whether the take may stop here. spoken: all of the take so far, (samples,) float32."""
        samples = checked(spoken.samples, self.takes.sample_rate)
        if len(samples) <= self.judged_samples:  # the engine has restarted the take
            self._mel = None
        elif self.cut is not None:
            return True  # asked again before the first yes arrived: the first cut holds
        self.judged_samples = len(samples)
        features = extract_features(samples, spoken.sample_rate, self._mel)
        self._mel = features.mel[: certain_frames(len(samples), spoken.sample_rate)]
        self.cut = self._find(samples, features)
        return self.cut is not None

    def cut_of(self, spoken: Audio) -> Cut | None:
        """The cut of a take that this detector stopped; None for a take that went on."""
        return self.cut if len(spoken.samples) == self.judged_samples else None

    def _find(self, samples: Samples, features: Features) -> Cut | None:
        span = speech_span(features)
        if span is None:
            return None
        first, last = span
        timing = expected_timing(features, first, self.text, self.dummy.text, self.takes)
        if not self._may_have_begun(features, timing, last):
            return None
        search = search_dummy(features, self.takes.takes, timing, last, unfinished=True)
        if search is None or not is_certain(onset_of(search, timing, self.takes), self._min_dummy_s):
            return None
        pause = nearest_pause(features, search, search.candidates[0])
        if before_breath(samples, features, first, pause) != pause:
            return None  # a breath, or a syllable that noise makes sound like one
        sample = min(len(samples), cut_frame(features.level_db, *pause) * features.hop)
        evidence = evidence_of(features, search, (pause[0] * features.hop, pause[1] * features.hop), {})
        return Cut(sample, STOPPED_CONFIDENCE, "begun", "calibrated", True, evidence)

    def _may_have_begun(self, features: Features, timing: Timing, last: int) -> bool:
        """Whether any pause could be the one before the dummy. The search costs three times as much as all the rest."""
        min_s, max_s = MIN_DURATION_FACTOR * self._min_dummy_s, MAX_DURATION_FACTOR * self._dummy_s
        return any(
            (end - start) * HOP_S >= MIN_PAUSE_S
            and min_s <= (last - end) * HOP_S <= max_s
            and abs(timing.text_mismatch(start)) <= MAX_MISMATCH
            for start, end in inner_pauses(features)
        )

    @cached_property
    def _dummy_s(self) -> float:
        return float(np.median(self.takes.seconds))

    @cached_property
    def _text_s(self) -> float:
        return self._dummy_s * spoken_units(self.text) / spoken_units(self.dummy.text)

    @cached_property
    def _min_dummy_s(self) -> float:
        return MIN_DUMMY_S + shared_beginning(self.text, self.dummy.words) * self._dummy_s


def detector_for(text: str, dummy: Dummy, takes: DummyTakes | None) -> DummyDetector | None:
    """A detector for one take; None if the dummy's beginning could not be recognised with certainty."""
    if takes is None or len(takes.takes) < MIN_TAKES or takes.agreement < MIN_AGREEMENT:
        return None
    # Letters do not show how a number is said.
    if begins_alike(text, dummy.words) or any(char.isdigit() for char in dummy.words):
        return None
    return DummyDetector(text, dummy, takes)


def onset_of(search: Search, timing: Timing, takes: DummyTakes) -> Onset:
    """Of the best candidate."""
    best = search.candidates[0]
    path = path_of(search.alignment, best.row)
    dummy_rows = search.alignment.take_rows[int(search.alignment.take[best.row])] - path.unsaid
    own = SAME_VOICE_QUALITY * takes.agreement
    return Onset(
        dummy_s=dummy_rows * 2 * HOP_S,
        quality=-best.cost / max(1, dummy_rows) / own,
        opening=-path.opening_cost / own,
        pause_s=best.pause_s,
        margin=margin_of(search),
        mismatch=timing.text_mismatch(best.start),
    )
