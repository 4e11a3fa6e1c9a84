"""Notices when a machine has become much slower than it was. Pure: times come in, a warning with figures goes out.

What this catches is the Windows driver that has moved our memory into RAM, and a card that has been throttled: both
make every step many times longer and tell nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

SLOW_FACTOR = 3.0
WINDOW = 48
"""Steps that a verdict is about: some seconds. One slow step, as when a graph is captured, is nothing."""


@dataclass(frozen=True)
class Slowdown:
    usual_ms: float
    """per frame of the whole batch"""
    now_ms: float
    rows: int


@dataclass
class SpeedWatch:
    """Best median per batch size so far, and the steps of the current window."""

    best_ms: dict[int, float] = field(default_factory=dict)
    _steps: dict[int, list[float]] = field(default_factory=dict)
    told: bool = False

    def note(self, rows: int, step_ms: float) -> Slowdown | None:
        """Called after each step; a Slowdown once per loop, when a whole window took three times its usual time."""
        steps = self._steps.setdefault(rows, [])
        steps.append(step_ms)
        if len(steps) < WINDOW:
            return None
        now = median(steps)
        steps.clear()
        usual = self.best_ms.setdefault(rows, now)
        self.best_ms[rows] = min(usual, now)
        if self.told or now <= SLOW_FACTOR * usual:
            return None
        self.told = True
        return Slowdown(usual, now, rows)
