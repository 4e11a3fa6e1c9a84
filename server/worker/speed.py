"""How long lines take on this machine, measured while it speaks; budgets and Retry-After from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.worker.timing import Timing


@dataclass
class Speed:
    """Seconds that this machine takes for one unit of text (server/text/length.py)."""

    timing: Timing = field(default_factory=Timing)
    seconds_per_unit: float | None = None
    """None until the first line is answered."""

    def learn(self, weight: float, seconds: float) -> None:
        """A line of this weight was answered in this time, retakes included."""
        measured = seconds / max(weight, 1.0)
        old = self.seconds_per_unit
        # The first line of a process is slow (kernels are loaded): later ones count for more than it.
        self.seconds_per_unit = measured if old is None else old + 0.2 * (measured - old)

    def expected_s(self, weight: float) -> float:
        return weight * (self.seconds_per_unit or self.timing.first_guess_s_per_unit)

    def budget_s(self, weight: float) -> float:
        """Longest time that the engine may take for a line before it counts as hung."""
        if self.seconds_per_unit is None:
            return self.timing.unmeasured_budget_s
        return max(self.timing.budget_floor_s, self.timing.budget_factor * self.expected_s(weight))


MAX_RETRY_AFTER_S = 120


def retry_after_s(waiting_s: float) -> int:
    """Whole seconds until half of what waits is done, 1 to 120."""
    return int(min(MAX_RETRY_AFTER_S, max(1.0, waiting_s / 2)))
