"""Candidates for the dummy's start: the pauses of a take, scored by how well the dummy aligns after each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from server.cut.alignment import Alignment, align_takes
from server.cut.dummy_takes import DummyTakes
from server.cut.features import HOP_S, Features, FramePairs, Ints, frame_pairs_of, inner_pauses, runs
from server.text.length import spoken_units

PAUSE_WEIGHT = 6.0
"""Score of a pause with a bonus of 1"""

NO_PAUSE = 10.0
"""Cost of a start inside speech: the dummy begins with dots, so engines pause before it."""

DURATION_WEIGHT, DURATION_FREE = 16.0, 0.35
"""Cost of each squared log ratio of said to expected length beyond the free part; 40 % more or less costs nothing."""

NEAR_BEFORE, NEAR_AFTER = 4, 8
"""Rows around a pause's end in which the dummy may begin."""

NEAR_FREE, NEAR_COST = 3, 0.8
"""Rows away from the pause's end that cost nothing, and the cost of each further one"""

SEARCHED_DUMMIES, SEARCHED_S = 4.0, 3.0
"""The search covers this many dummy lengths and seconds before the end of the speech."""


def pause_bonus(pause_s: float, depth_db: float) -> float:
    """0 to 1: sentences end in long and deep pauses; 300 ms are as good as more. depth_db: positive, below speech."""
    return math.sqrt(min(pause_s, 0.3) / 0.3) * min(1.0, max(0.2, (depth_db - 25.0) / 15.0))


@dataclass(frozen=True)
class Candidate:
    score: float
    """The lowest is the best."""
    row: int
    """The row where the dummy would begin"""
    start: int
    end: int
    """Frames of the pause before it; equal without a pause"""
    cost: float
    """Of the alignment at `row`"""
    pause_s: float
    depth_db: float


@dataclass(frozen=True, eq=False)
class Search:
    rows: FramePairs
    alignment: Alignment
    candidates: tuple[Candidate, ...]
    """Best first, never empty"""


@dataclass(frozen=True, eq=False)
class Timing:
    spoken: Ints
    """(frames + 1,) frames of speech before each frame"""
    first: int
    expected_text: float
    """Frames that the sentence should take"""
    dummy: float
    """Frames that the dummy takes"""

    def said(self, frame: int) -> float:
        """Frames of speech before this one."""
        return float(self.spoken[frame] - self.spoken[self.first])

    def text_mismatch(self, frame: int) -> float:
        """Log of said to expected length if the sentence ended here."""
        return math.log(max(self.said(frame), 6.0) / self.expected_text)


def expected_timing(features: Features, first: int, text: str, dummy: str, takes: DummyTakes) -> Timing:
    """The sentence's expected length: the dummy's own, times the ratio of the two texts. first: first speech frame."""
    dummy_frames = float(np.median(takes.seconds)) / HOP_S
    expected = dummy_frames * spoken_units(text) / spoken_units(dummy)
    return Timing(np.concatenate(([0], np.cumsum(features.speech))), first, expected, dummy_frames)


def search_dummy(
    features: Features, takes: Sequence[Features], timing: Timing, last: int, unfinished: bool = False
) -> Search | None:
    """Candidates for the dummy's start, given that the speech ends at frame `last`; None below 8 rows (80 ms).

    unfinished: the take is still being spoken, and may end anywhere in the dummy.
    """
    reach = SEARCHED_DUMMIES * timing.dummy + SEARCHED_S / HOP_S
    start = max(timing.first, round(last - reach))
    rows = frame_pairs_of(features, start, last)
    if len(rows.frames) < 8:
        return None
    noise = features.noise / np.float32(features.speech_power)
    patterns = [frame_pairs_of(t, 0, len(t.speech), noise * np.float32(t.speech_power)) for t in takes]
    alignment = align_takes(patterns, rows, unfinished)
    pauses = [(a, b) for a, b in runs(~features.speech[:last]) if timing.first < a and start < b < last]
    found = [c for a, b in pauses if (c := _at_pause(features, timing, rows, alignment, a, b)) is not None]
    row = int(np.argmin(alignment.cost))
    frame = int(rows.frames[row])
    score = float(alignment.cost[row]) + NO_PAUSE + _duration_cost(timing, frame)
    found.append(Candidate(score, row, frame, frame, float(alignment.cost[row]), 0.0, 0.0))
    return Search(rows, alignment, tuple(sorted(found, key=lambda c: c.score)))


def _duration_cost(timing: Timing, frame: int) -> float:
    return DURATION_WEIGHT * max(0.0, abs(timing.text_mismatch(frame)) - DURATION_FREE) ** 2


def _at_pause(
    features: Features, timing: Timing, rows: FramePairs, alignment: Alignment, start: int, end: int
) -> Candidate | None:
    expected_row = int(np.searchsorted(rows.frames, end))
    near = np.arange(max(0, expected_row - NEAR_BEFORE), min(len(rows.frames), expected_row + NEAR_AFTER + 1))
    if len(near) == 0:
        return None
    costs = alignment.cost[near] + NEAR_COST * np.maximum(0, np.abs(near - expected_row) - NEAR_FREE)
    row = int(near[np.argmin(costs)])
    pause_s, depth = (end - start) * HOP_S, -float(features.level_db[start:end].min())
    bonus = PAUSE_WEIGHT * pause_bonus(pause_s, depth)
    score = float(costs.min()) - bonus + _duration_cost(timing, start)
    return Candidate(score, row, start, end, float(alignment.cost[row]), pause_s, depth)


ISLAND_S = 0.15
"""Longest faint syllable between two pauses, the second pause included"""


def nearest_pause(features: Features, search: Search, chosen: Candidate) -> tuple[int, int]:
    """The chosen pause, or a later one within 150 ms that ends nearer to the dummy's first row.

    A long pause scores better than a short one. With only a faint last syllable between the two, the short
    one is right.
    """
    pause, begins = (chosen.start, chosen.end), int(search.rows.frames[chosen.row])
    for other in inner_pauses(features):
        follows = chosen.end < other[1] <= chosen.end + ISLAND_S / HOP_S
        if chosen.end > chosen.start and follows and abs(other[1] - begins) < abs(pause[1] - begins):
            pause = other
    return pause


def margin_of(search: Search) -> float:
    """How much worse the best candidate more than 150 ms away scores, 0 to 3."""
    best = search.candidates[0]
    other = next((c for c in search.candidates[1:] if abs(c.end - best.end) * HOP_S > 0.15), None)
    return min(30.0, other.score - best.score) / 10.0 if other else 3.0
