"""What a cut is: the sample, how sure it is, and the evidence. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from server.cut.features import Floats, Ints

DummyState = Literal["found", "missing", "truncated", "twice", "begun"]
"""`begun`: the take was stopped once its dummy had begun (server/takes/early_stop.py)."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a picture of the decision shows. Frames are 5 ms apart, the first at sample 0."""

    level_db: Floats
    """(frames,) loudness relative to speech"""
    pauses: tuple[tuple[int, int], ...]
    """Samples: start and end of every pause inside the speech."""
    chosen: tuple[int, int]
    """Samples: start and end of the pause that was cut in; equal where there was none."""
    match_samples: Ints
    """(rows,) sample of each row of match_cost; empty without calibration"""
    match_cost: Floats
    """(rows,) cost that the dummy begins here; below 0 is better than chance"""
    predictors: tuple[tuple[str, float], ...] = ()
    """Name and value of each predictor of the confidence"""


@dataclass(frozen=True, eq=False)
class Cut:
    sample: int
    """Everything before this sample is the sentence."""
    confidence: float
    """0 to 1"""
    dummy: DummyState
    method: str
    """`calibrated`, `uncalibrated` or `reference`"""
    decayed: bool
    """The sentence's ending fades out before the cut. False only with a missing dummy: the model stopped too early."""
    evidence: Evidence
