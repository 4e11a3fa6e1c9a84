"""How long lines take on this machine, measured while it speaks; budgets and Retry-After from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Speed:
    """How long this machine takes for one unit of text, from what it has done."""

    seconds_per_unit: float | None = None

    def learn(self, weight: float, seconds: float) -> None:
        """A line of this weight was answered in this time, retakes included."""
        measured = seconds / max(weight, 1.0)
        old = self.seconds_per_unit
        # The first line of a process is slow (kernels are loaded): later ones count for more than it.
        self.seconds_per_unit = measured if old is None else old + 0.2 * (measured - old)

    def expected_s(self, weight: float) -> float:
        return weight * (self.seconds_per_unit or FIRST_GUESS_S_PER_UNIT)

    def budget_s(self, weight: float) -> float:
        """Longest time that the engine may take for a line before it counts as hung."""
        if self.seconds_per_unit is None:
            return UNMEASURED_BUDGET_S
        return max(BUDGET_FLOOR_S, BUDGET_FACTOR * self.expected_s(weight))


FIRST_GUESS_S_PER_UNIT = 0.6
"""The user's GTX 1060: 26 s for a sentence that has about 40 units with its dummy."""

UNMEASURED_BUDGET_S = 1800.0
"""A large model on a CPU needs minutes for its first line."""

BUDGET_FLOOR_S = 120.0

BUDGET_FACTOR = 20.0
"""Retakes, a cold cache, a PC that does something else: a hang lasts for ever, so this can be generous."""

MAX_RETRY_AFTER_S = 120


def retry_after_s(waiting_s: float) -> int:
    """Whole seconds until half of what waits is done, 1 to 120."""
    return int(min(MAX_RETRY_AFTER_S, max(1.0, waiting_s / 2)))
