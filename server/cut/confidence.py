"""How sure a cut is: logistic regressions, their predictors taken from the search and their weights fitted."""

from __future__ import annotations

import math

from server.cut.alignment import path_of
from server.cut.search import Search, Timing, margin_of


def logistic(weights: dict[str, float], predictors: dict[str, float]) -> float:
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, sum(weights[k] * predictors[k] for k in weights)))))


# Weights of logistic regressions, by scripts/bench/bench_cut.py --fit on one half of the voices and sentences, some
# with takes of another speaker or garbled takes (docs/dev/cutting.md). Cases with the voice's own takes count eight
# times.
PRESENT_WEIGHTS = {
    "bias": -2.7,  # fitted -1.2; moved to the middle between present (from +4.0) and missing (to -0.9) with own takes
    "match_near_0": 2.6,
    "pause": 4.8,
    "length_says_present": 5.7,
    "text_mismatch": -2.0,
}


def presence_predictors(search: Search, timing: Timing, last: int) -> dict[str, float]:
    """Predictors of whether the dummy is there at all. last: the frame after the last speech."""
    best = search.candidates[0]
    total = max(timing.said(last), 10.0)
    as_missing = abs(math.log(total / timing.expected_text))
    as_present = abs(math.log(total / (timing.expected_text + timing.dummy)))
    return match_shape(search) | {
        "bias": 1.0,
        "has_pause": float(best.end > best.start),
        "pause": min(best.pause_s, 0.3) / 0.3,
        "length_says_present": max(-1.0, min(1.0, as_missing - as_present)),
        "text_mismatch": min(1.0, abs(timing.text_mismatch(best.start))),
        "whole_mismatch": as_missing,
        "depth": best.depth_db / 20.0,
        "margin": margin_of(search),
    }


def match_shape(search: Search) -> dict[str, float]:
    """How well, how completely and how close to the end the best candidate's dummy was matched."""
    best = search.candidates[0]
    path = path_of(search.alignment, best.row)
    return {
        "match": -best.cost / 10.0,
        "match_near_0": max(-1.0, min(3.0, -best.cost / 10.0)),  # beyond 3 a better match adds no evidence
        "quality": -best.cost / max(1, path.until - best.row + 1),
        "opening": -path.opening_cost,
        "cut_short": path.unsaid / search.alignment.take_rows[int(search.alignment.take[best.row])],
        "rows_after": min(60, len(search.rows.frames) - 1 - path.until) / 10.0,
    }


TWICE_WEIGHTS = {
    "bias": -4.5,
    "match": 0.91,
    "rows_after": -0.65,
    "length_says_twice": 3.4,
    "cut_short": -2.8,
}


CONFIDENCE_WEIGHTS = {
    "bias": 0.9,
    "margin": 0.31,
    "opening": 7.4,
    "left_mismatch": -5.1,
    "sure_twice": 0.63,
}
"""Weights for the boundary being right, given that the dummy is there; fitted like the weights above."""

SUREST = 6.0
"""Log odds: one error in 400"""


def sureness(probability: float) -> float:
    """Log odds of the likelier decision, at most SUREST."""
    likelier = max(probability, 1.0 - probability)
    return min(SUREST, math.log(likelier / max(1e-9, 1.0 - likelier)))
