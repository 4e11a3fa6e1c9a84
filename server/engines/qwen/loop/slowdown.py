"""Notices when a machine has become much slower than it was: times come in, a warning with figures goes out.

The best times are kept beside the voice clone prompt, so that a worker that starts into a slow night knows it, too.
What this catches is the Windows driver that has moved our memory into RAM, and a card that has been throttled: both
make every step many times longer and tell nobody.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from server.whole_files import write_whole

log = logging.getLogger("server.engines.qwen")

SLOW_FACTOR = 3.0
WINDOW = 48
"""Steps that a verdict is about: some seconds. One slow step, as when a graph is captured, is nothing."""


BETTER = 0.97
"""A new best time is this much better at least: no file is written for noise."""


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
    keep: Callable[[Mapping[int, float]], None] = lambda best_ms: None
    """Told when a best time is new or better by a few percent."""
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
        usual = self.best_ms.get(rows, now)
        if rows not in self.best_ms or now < BETTER * usual:
            self.best_ms[rows] = now
            self.keep(self.best_ms)
        if self.told or now <= SLOW_FACTOR * usual:
            return None
        self.told = True
        return Slowdown(usual, now, rows)


def recorded(file: Path, machine: str) -> dict[int, float]:
    """The best times of this machine and model; empty where there are none, or the file is damaged."""
    try:
        best = json.loads(file.read_text("utf-8")).get(machine, {})
        return {int(rows): float(ms) for rows, ms in best.items() if float(ms) > 0}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        log.warning("the recorded speeds in %s are not usable: %s", file, error)
        return {}


def record(file: Path, machine: str, best_ms: Mapping[int, float]) -> None:
    """Beside those of other machines and models. A folder that cannot be written only costs the record."""
    try:
        machines = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        machines = {}
    if not isinstance(machines, dict):
        machines = {}
    machines[machine] = {str(rows): round(ms, 3) for rows, ms in sorted(best_ms.items())}
    try:
        write_whole(file, json.dumps(machines, indent=1).encode())
    except OSError as error:
        log.warning("could not keep the speed in %s: %s", file, error)


def watch_with_record(file: Path | None, machine: str) -> SpeedWatch:
    """file: None keeps nothing."""
    if file is None:
        return SpeedWatch()
    return SpeedWatch(recorded(file, machine), lambda best_ms: record(file, machine, best_ms))
