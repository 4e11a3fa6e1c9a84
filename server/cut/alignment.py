"""The dummy's takes aligned with a recording: for every row of 10 ms, the cost of the dummy beginning there.

Knows no text and chooses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from server.cut.features import Bools, Floats, FramePairs, Ints

# --- the row where the dummy begins, given that the dummy runs to the end of the speech ------------------------------
#
# Dynamic time warping (Sakoe and Chiba 1978) in its "subsequence" form (Mueller, Information Retrieval for Music and
# Motion, 2007, ch. 4), run backwards: it is anchored at the end of the speech and its start is free. So a sentence that
# contains the dummy's words is not mistaken for it. Local costs are relative to a filler, so that negative sums mean
# "better than speech in general" and long and short matches can be compared (word spotting, Rose and Paul 1990).

FILLER = 0.42
"""Cost of a row under the filler, between its best (0) and its mean (1) distance to the dummy's rows."""

SKIPPED_ROW = 0.35
"""Cost of each row of speech that lies after the dummy"""

TRUNCATED, TRUNCATED_ROW = 6.0, 0.06
"""Cost of a dummy that breaks off, and cost of each row that is missing from its end"""

MAX_TRUNCATED = 0.85
"""Share of the dummy's rows that may be missing"""

FAST_STEP, SLOW_STEP = 0.10, 0.15
"""Costs of slopes 2 and 1/2 against 1."""

NEVER = np.float32(1e6)
"""Cost of a path that is not allowed"""


@dataclass(frozen=True, eq=False)
class Alignment:
    cost: Floats
    """(rows,) lowest cost over the takes of the dummy beginning at this row and running to the end"""
    take: Ints
    """(rows,) the take with that cost"""
    table: Floats
    """(take rows, takes, rows + 2) cumulated costs, both time axes reversed, two columns of NEVER in front"""
    local: Floats
    """(take rows, takes, rows + 1) local costs, reversed likewise, one column in front"""
    starts: Floats
    """(take rows, rows) cost of beginning, at the end of the speech, with this row of the take"""
    take_rows: tuple[int, ...]


def _local_cost(take: Floats, rows: Floats, speech: Bools) -> Floats:
    """(take rows, rows): distance of the features, 0 for the filler."""
    squares = (take**2).sum(axis=1)[:, None] + (rows**2).sum(axis=1)[None] - 2.0 * take @ rows.T
    distance = np.sqrt(np.maximum(squares, 0.0))
    best = np.partition(distance, min(2, len(distance) - 1), axis=0)[:3].mean(axis=0)
    spread = np.maximum(distance.mean(axis=0) - best, 1e-3)
    scale = spread[speech].mean() if speech.any() else spread.mean()
    cost: Floats = (distance - best) / scale - FILLER * np.maximum(spread / scale, 0.5)
    return cost


def align_takes(takes: Sequence[FramePairs], rows: FramePairs, unfinished: bool = False) -> Alignment:
    """Subsequence DTW of every take with `rows`, anchored at the last row.

    unfinished: the recording may break off anywhere in the dummy, at no cost.
    """
    count = len(rows.features)
    take_rows = tuple(len(take.features) for take in takes)
    local = np.zeros((max(take_rows), len(takes), count + 1), np.float32)
    for k, take in enumerate(takes):
        local[: take_rows[k], k, 1:] = _local_cost(take.features, rows.features, rows.speech)[::-1, ::-1]
    starts = _start_costs(max(take_rows), rows.speech, unfinished)
    table = np.full((max(take_rows), len(takes), count + 2), NEVER, np.float32)
    never = np.full((len(takes), count + 2), NEVER, np.float32)
    for j in range(len(table)):
        one, two = table[j - 1] if j > 0 else never, table[j - 2] if j > 1 else never
        # From the row before: one row of the take; two rows of the take (faster); one row of the take for two (slower).
        best = np.minimum(one[:, 1:-1], two[:, 1:-1] + FAST_STEP)
        np.minimum(best, one[:, :-2] + local[j, :, :-1] + SLOW_STEP, out=best)
        np.minimum(best, starts[j], out=best)
        np.add(best, local[j, :, 1:], out=table[j, :, 2:])
    costs = np.stack([table[last - 1, k, :1:-1] for k, last in enumerate(take_rows)])
    take_of = costs.argmin(axis=0)
    return Alignment(costs.min(axis=0), take_of, table, local, starts, take_rows)


def _start_costs(take_rows: int, speech: Bools, unfinished: bool) -> Floats:
    """(take rows, rows), reversed: whole dummies may be followed by a little speech, truncated ones end the audio.

    unfinished: a dummy that ends with the audio costs nothing.
    """
    starts = np.full((take_rows, len(speech)), NEVER, np.float32)
    spoken_after = np.concatenate(([0], np.cumsum(speech[::-1])[:-1]))
    starts[0] = SKIPPED_ROW * spoken_after
    near_end = np.arange(min(6, len(speech)))
    unsaid = np.arange(1, 1 + (take_rows - 1 if unfinished else int(MAX_TRUNCATED * take_rows)))[:, None]
    cost = 0.0 if unfinished else TRUNCATED + TRUNCATED_ROW * unsaid
    starts[1 : len(unsaid) + 1, : len(near_end)] = 0.2 * near_end + cost
    return starts


OPENING_ROWS = 30
"""The dummy's first 300 ms. If these fit badly, the cut may have left the dummy's first word with the sentence."""


@dataclass(frozen=True)
class AlignmentPath:
    until: int
    """Last row of the match"""
    unsaid: int
    """Rows at the take's end that the recording does not have"""
    opening_cost: float
    """Cost per row of the take's first OPENING_ROWS"""


def path_of(alignment: Alignment, row: int) -> AlignmentPath:
    """Traces the cheapest path that begins at `row` to its end."""
    take = int(alignment.take[row])
    table, local, starts = alignment.table[:, take], alignment.local[:, take], alignment.starts
    first, last = alignment.take_rows[take] - 1, len(alignment.cost) - 1
    j, i = first, last - row
    opening = float(table[j, i + 2])
    while True:
        ways = (
            (float(starts[j, i]), j, i),
            (float(table[j - 1, i + 1]) if j > 0 else math.inf, j - 1, i - 1),
            (float(table[j - 2, i + 1]) + FAST_STEP if j > 1 else math.inf, j - 2, i - 1),
            (float(table[j - 1, i] + local[j, i]) + SLOW_STEP if j > 0 else math.inf, j - 1, i - 2),
        )
        cost, before_j, before_i = min(ways)
        if (before_j, before_i) == (j, i) or cost >= NEVER or before_i < 0:
            return AlignmentPath(last - i, j, (float(alignment.cost[row]) - opening) / OPENING_ROWS)
        j, i = before_j, before_i
        if j >= first - OPENING_ROWS:
            opening = float(table[j, i + 2])
