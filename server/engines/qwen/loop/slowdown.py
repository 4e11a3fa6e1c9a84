"""Notices when a machine has become much slower than it was: frame times come in, a slowdown with figures goes out.

The best times are kept beside the voice clone prompt, so that a worker that starts on a slow machine knows the baseline
too. Two causes are meant: a Windows driver that has moved our memory into RAM, and a throttled card. Both make every
frame many times longer without an error.
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
"""Times the baseline"""
WINDOW = 48
"""Steps whose median is judged: some seconds. One slow step, as when a graph is captured, does not count."""
BETTER = 0.97
"""A new best time is at most this share of the old one: no file is written for noise."""


@dataclass(frozen=True)
class Slowdown:
    baseline_ms: float
    """per frame of the whole batch"""
    now_ms: float
    """likewise"""
    rows: int


@dataclass
class SlowdownWatch:
    """The baseline, which is the best median per batch size so far, and the steps of the current window."""

    best_ms: dict[int, float] = field(default_factory=dict)
    """Per number of rows"""
    save: Callable[[Mapping[int, float]], None] = lambda best_ms: None
    """Called when a best time is new, or better by a few percent."""
    _steps: dict[int, list[float]] = field(default_factory=dict)
    reported: bool = False

    def note(self, rows: int, step_ms: float) -> Slowdown | None:
        """Called after each step. A Slowdown when a whole window took three times the baseline; once per watch."""
        steps = self._steps.setdefault(rows, [])
        steps.append(step_ms)
        if len(steps) < WINDOW:
            return None
        now = median(steps)
        steps.clear()
        baseline = self.best_ms.get(rows, now)
        if rows not in self.best_ms or now < BETTER * baseline:
            self.best_ms[rows] = now
            self.save(self.best_ms)
        if self.reported or now <= SLOW_FACTOR * baseline:
            return None
        self.reported = True
        return Slowdown(baseline, now, rows)


def read_best_times(file: Path, machine: str) -> dict[int, float]:
    """The best times of this machine and model, ms per number of rows; empty if there are none or the file is damaged.

    machine: names card, model and formats.
    """
    try:
        best = json.loads(file.read_text("utf-8")).get(machine, {})
        return {int(rows): float(ms) for rows, ms in best.items() if float(ms) > 0}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        log.warning("the recorded speeds in %s are not usable: %s", file, error)
        return {}


def write_best_times(file: Path, machine: str, best_ms: Mapping[int, float]) -> None:
    """Keeps the times of other machines and models. A folder that cannot be written costs the record and a log line."""
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


def watch_with_record(file: Path | None, machine: str) -> SlowdownWatch:
    """file: None keeps nothing."""
    if file is None:
        return SlowdownWatch()
    return SlowdownWatch(read_best_times(file, machine), lambda best_ms: write_best_times(file, machine, best_ms))
