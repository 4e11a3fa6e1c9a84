"""Every time that the worker's life depends on, in one value: a test hands in short ones. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds, except where a field says otherwise."""

    settle_s: float = 0.008
    """After a pause this long, no further line of the same burst is expected: twelve requests sent at once over open
    connections came 3 to 6 ms apart, all within 20 to 50 ms (two busy cores, client and server on them)."""

    max_held_s: float = 0.05
    """Longest wait of the first line of a burst, however many lines follow it."""

    watch_s: float = 0.5
    """Time between two checks of the running lines against their budget."""

    load_silence_s: float = 4 * 3600.0
    """Longest step of a load: 5 GB over a slow line."""

    stop_patience_s: float = 5.0
    """Time that a worker gets to end by itself before it is killed."""

    restart_delays_s: tuple[float, ...] = (0.0, 2.0, 5.0, 15.0, 60.0)
    """Pause before the n-th new worker in a row that never became ready; the last one repeats."""

    deaths_within_s: float = 600.0
    """Window of the breaker: see MAX_DEATHS_WITHOUT_ANSWER in deaths.py."""

    first_guess_s_per_unit: float = 0.6
    """The user's GTX 1060: 26 s for a sentence that has about 40 units with its dummy."""

    unmeasured_budget_s: float = 1800.0
    """Budget until the first line is answered: a large model on a CPU needs minutes for its first line."""

    budget_floor_s: float = 120.0

    budget_factor: float = 20.0
    """Budget as a multiple of the expected time. Generous, since a hang lasts for ever; it covers retakes, a cold cache
    and a PC that does something else."""

    def restart_delay_s(self, failures: int) -> float:
        """failures: workers in a row that ended before they were ready."""
        return self.restart_delays_s[min(failures, len(self.restart_delays_s) - 1)]
