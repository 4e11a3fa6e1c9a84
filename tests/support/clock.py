"""How slow this machine is now, in parts of one measured piece of work, and deadlines that grow with it.

A deadline in a test is written as it holds on a quiet PC: `seconds(30)`. On a machine that other programs use as well,
the same work takes a multiple of its time; the deadline is then the same multiple. Knows nothing of what is waited for.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

QUIET_WORK_S = 0.2
"""What `the_work` takes on two quiet cores of a server of 2023 (docs/dev/log.md, 2026-11-28)."""

ROUNDS = 500_000
"""Of a loop in Python: long enough that the share of a core counts, and not the first time slice, which is free."""

MAX_FACTOR = 60.0
"""Eighteen processes on two cores made 25. A test that hangs must end on a machine that is slower still, too."""

FRESH_S = 30.0
"""A measurement serves this long; the next test after that begins with a new one."""

REMEMBERED_S = 120.0
"""Of the measurements of so many seconds the slowest counts: what a test waited for began earlier than its deadline."""


class Measurement(NamedTuple):
    at_s: float
    """Of the monotonic clock."""
    work_s: float


def factor_of(work_s: float) -> float:
    """How many times slower than quiet: never under 1, so that a fast machine does not make deadlines tight."""
    return min(max(work_s / QUIET_WORK_S, 1.0), MAX_FACTOR)


def allowed_s(quiet_s: float, measurements: Sequence[Measurement], now_s: float) -> float:
    """The deadline in seconds: the slowest of the newer measurements decides, and the last one however old it is."""
    if not measurements:
        return quiet_s
    newer = [each.work_s for each in measurements if now_s - each.at_s <= REMEMBERED_S]
    return quiet_s * factor_of(max([*newer, measurements[-1].work_s]))


def the_work() -> float:
    """Seconds that a loop and the start of a Python process take now: what tests wait for is made of both."""
    started = time.monotonic()
    total = 0
    for number in range(ROUNDS):
        total += number * number % 7
    subprocess.run([sys.executable, "-c", "import asyncio, json, subprocess"], check=True)
    return time.monotonic() - started


@dataclass
class Clock:
    work: Callable[[], float] = the_work
    now: Callable[[], float] = time.monotonic
    measurements: list[Measurement] = field(default_factory=list)

    def measure(self) -> None:
        work_s = self.work()
        self.measurements.append(Measurement(self.now(), work_s))

    def refresh(self) -> None:
        """At the start of a test, where a measurement disturbs nothing."""
        if not self.measurements or self.now() - self.measurements[-1].at_s > FRESH_S:
            self.measure()

    def seconds(self, quiet_s: float) -> float:
        """The deadline on this machine at this time, in seconds."""
        return allowed_s(quiet_s, self.measurements, self.now())

    def over(self, waited_s: float, quiet_s: float) -> bool:
        """Whether a wait has lasted too long. Measured anew before yes is said: the load may have come meanwhile."""
        if waited_s < self.seconds(quiet_s):
            return False
        self.measure()
        return waited_s >= self.seconds(quiet_s)


CLOCK = Clock()
"""Of this test process."""


def seconds(quiet_s: float) -> float:
    """The deadline for what takes at most `quiet_s` on a quiet PC."""
    return CLOCK.seconds(quiet_s)


def in_time(taken_s: float, quiet_s: float) -> bool:
    """Whether what took `taken_s` would have taken at most `quiet_s` on a quiet PC."""
    return not CLOCK.over(taken_s, quiet_s)


def wait_until(happened: Callable[[], T], within_s: float = 60.0, what: str = "it", every_s: float = 0.01) -> T:
    """The first true value of `happened()`. Raises AssertionError after `within_s` seconds of a quiet PC."""
    started = time.monotonic()
    while not (value := happened()):
        if CLOCK.over(time.monotonic() - started, within_s):
            raise AssertionError(f"{what} did not happen in {time.monotonic() - started:.0f} s")
        time.sleep(every_s)
    return value


def exit_code_of(process: subprocess.Popen[Any], within_s: float) -> int:
    """The exit code. Raises AssertionError if the process still runs after `within_s` seconds of a quiet PC."""
    wait_until(lambda: process.poll() is not None, within_s, f"the end of {process.args!r}")
    return int(process.returncode)


def output_of(process: subprocess.Popen[T], within_s: float) -> T:
    """All of its standard output, once the process has ended. Killed, with an AssertionError, after `within_s`."""
    started = time.monotonic()
    while True:
        try:
            output: T = process.communicate(timeout=seconds(within_s))[0]
            return output
        except subprocess.TimeoutExpired:  # the output read so far is kept for the next call
            if CLOCK.over(time.monotonic() - started, within_s):
                process.kill()
                process.communicate()
                raise AssertionError(f"{process.args!r} runs for ever") from None


def least_cpu_s(work: Callable[[], object], tries: int = 3) -> float:
    """CPU seconds of this process for `work()`, the least of a few tries. For ratios of two sizes, never for a limit.

    The garbage collector rests meanwhile: a full pass looks at everything that the tests before have left in memory,
    which made eight times the lines cost 45 times as much once.
    """

    def once() -> float:
        begun = time.process_time()
        work()
        return time.process_time() - begun

    was_on = gc.isenabled()
    gc.disable()
    try:
        return min(once() for _ in range(tries))
    finally:
        if was_on:
            gc.enable()
