"""Has the dummy begun? Asked while a take is still being spoken, so that it need not be spoken to its end.

The dummy is a third of what is spoken for a usual line, and half for a short one; its first 0.6 s are enough to know
it by. A take stops only where everything speaks for it: the pause before the dummy, a match as good as the voice's own
takes have among each other, from the first sound on, and a length that fits the text. Whatever is not sure is spoken
to its end and cut as ever (server/cut/find.py). docs/dev/cutting.md has the figures.

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
"""Of the dummy's takes among each other: takes that are unlike each other recognise nothing with certainty."""
MIN_TAKES = 2
"""Fewer cannot agree."""
MIN_HEARD_S = 0.6
"""And as much more as the text itself says of the dummy's beginning: where the line has a "그리고" of its own, hearing
that of the dummy means nothing."""
MIN_QUALITY = 0.75
"""Of the match, as a share of the one that the takes have among each other"""
MIN_OPENING = 0.4
"""Of the first 300 ms likewise: another sentence may end in the dummy's sounds, but does not begin with them."""
MIN_PAUSE_S = 0.045
MIN_MARGIN = 0.3
"""Of the pause before the next best place to cut (server.cut.margin_of): noise can hide the true pause."""
MAX_MISMATCH = 0.5
"""Log of said to expected length of the sentence: from 0.6 to 1.65 times."""
STOPPED_CONFIDENCE = 0.99
"""Of 3,861 stopped takes that were reported, every one was cut in the right pause (docs/dev/cutting.md)."""
MIN_DURATION_FACTOR, MAX_DURATION_FACTOR = 0.75, 2.0
"""Of the dummy's pace in its takes; pauses inside it count as slowness."""
EVERY_S = 0.32
"""Four frames: as often as a card is looked at."""


@dataclass(frozen=True)
class Onset:
    """How the dummy's beginning was heard."""

    heard_s: float
    quality: float
    """1: as the takes match each other"""
    opening: float
    """likewise, of the first 300 ms"""
    pause_s: float
    margin: float
    mismatch: float


def is_certain(begun: Onset, min_heard_s: float) -> bool:
    return (
        begun.heard_s >= min_heard_s
        and begun.quality >= MIN_QUALITY
        and begun.opening >= MIN_OPENING
        and begun.pause_s >= MIN_PAUSE_S
        and begun.margin >= MIN_MARGIN
        and abs(begun.mismatch) <= MAX_MISMATCH
    )


@dataclass
class DummyDetector:
    """The Listen of one take of `text` and `dummy`: stops it once the dummy has surely begun."""

    text: str
    dummy: Dummy
    takes: DummyTakes
    every_s: float = EVERY_S
    cut: Cut | None = None
    """Where the sentence ends in what was heard when it was enough."""
    heard_samples: int = 0
    _mel: Floats | None = field(default=None, repr=False)

    @property
    def first_s(self) -> float:
        """Before, the sentence would be shorter than MAX_MISMATCH lets it be."""
        shortest = self._text_s * float(np.exp(-MAX_MISMATCH))
        return shortest + MIN_PAUSE_S + self._min_heard_s

    def is_met(self, spoken: Audio) -> bool:
        """spoken: all of the take so far, (samples,) float32."""
        samples = checked(spoken.samples, self.takes.sample_rate)
        if len(samples) <= self.heard_samples:  # it has begun anew
            self._mel = None
        elif self.cut is not None:
            return True  # asked while the answer before was on its way: that one holds
        self.heard_samples = len(samples)
        sound = extract_features(samples, spoken.sample_rate, self._mel)
        self._mel = sound.mel[: certain_frames(len(samples), spoken.sample_rate)]
        self.cut = self._find(samples, sound)
        return self.cut is not None

    def cut_of(self, spoken: Audio) -> Cut | None:
        """The cut of a take that was stopped by this listener; None for one that went on."""
        return self.cut if len(spoken.samples) == self.heard_samples else None

    def _find(self, samples: Samples, sound: Features) -> Cut | None:
        span = speech_span(sound)
        if span is None:
            return None
        first, last = span
        timing = expected_timing(sound, first, self.text, self.dummy.text, self.takes)
        if not self._may_have_begun(sound, timing, last):
            return None
        search = search_dummy(sound, self.takes.takes, timing, last, unfinished=True)
        if search is None or not is_certain(onset_of(search, timing, self.takes), self._min_heard_s):
            return None
        pause = nearest_pause(sound, search, search.candidates[0])
        if before_breath(samples, sound, first, pause) != pause:
            return None  # a breath, or a syllable that noise makes sound like one
        sample = min(len(samples), cut_frame(sound.level_db, *pause) * sound.hop)
        evidence = evidence_of(sound, search, (pause[0] * sound.hop, pause[1] * sound.hop), {})
        return Cut(sample, STOPPED_CONFIDENCE, "begun", "calibrated", True, evidence)

    def _may_have_begun(self, sound: Features, timing: Timing, last: int) -> bool:
        """Whether any pause could be the one before the dummy: the search costs three times as much as all else."""
        min_s, max_s = MIN_DURATION_FACTOR * self._min_heard_s, MAX_DURATION_FACTOR * self._dummy_s
        return any(
            (end - start) * HOP_S >= MIN_PAUSE_S
            and min_s <= (last - end) * HOP_S <= max_s
            and abs(timing.text_mismatch(start)) <= MAX_MISMATCH
            for start, end in inner_pauses(sound)
        )

    @cached_property
    def _dummy_s(self) -> float:
        return float(np.median(self.takes.seconds))

    @cached_property
    def _text_s(self) -> float:
        return self._dummy_s * spoken_units(self.text) / spoken_units(self.dummy.text)

    @cached_property
    def _min_heard_s(self) -> float:
        return MIN_HEARD_S + shared_beginning(self.text, self.dummy.words) * self._dummy_s


def detector_for(text: str, dummy: Dummy, takes: DummyTakes | None) -> DummyDetector | None:
    """None where the dummy's beginning could not be told with certainty."""
    if takes is None or len(takes.takes) < MIN_TAKES or takes.agreement < MIN_AGREEMENT:
        return None
    # A figure is said in ways that letters do not show.
    if begins_alike(text, dummy.words) or any(char.isdigit() for char in dummy.words):
        return None
    return DummyDetector(text, dummy, takes)


def onset_of(search: Search, timing: Timing, takes: DummyTakes) -> Onset:
    best = search.candidates[0]
    path = path_of(search.match, best.row)
    heard = search.match.take_rows[int(search.match.take[best.row])] - path.unsaid
    own = SAME_VOICE_QUALITY * takes.agreement
    return Onset(
        heard_s=heard * 2 * HOP_S,
        quality=-best.cost / max(1, heard) / own,
        opening=-path.opening_cost / own,
        pause_s=best.pause_s,
        margin=margin_of(search),
        mismatch=timing.text_mismatch(best.start),
    )
