"""Progress, speed and remaining time of a download, and a line about them every ten seconds. Knows no network."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from server.terminal.messages import t

WINDOW_S = 30.0
"""The speed is that of the last half minute."""
MIN_WINDOW_S = 1.0
"""A shorter window gives no usable speed."""
LINE_EVERY_S = 10.0


@dataclass(frozen=True)
class Progress:
    done: int
    """bytes"""
    total: int | None
    """bytes"""
    per_s: float | None
    """bytes a second; None while nothing can be said yet"""

    @property
    def left_s(self) -> float | None:
        if self.total is None or not self.per_s:
            return None
        return max(0, self.total - self.done) / self.per_s


@dataclass
class Meter:
    """Readings of the last half minute."""

    _readings: deque[tuple[float, int]] = field(default_factory=deque)

    def read(self, now: float, done: int, total: int | None) -> Progress:
        """now: seconds of any clock that never goes back. done: bytes, fewer than before when a file is begun again."""
        if self._readings and done < self._readings[-1][1]:
            self._readings.clear()
        self._readings.append((now, done))
        while now - self._readings[0][0] > WINDOW_S:
            self._readings.popleft()
        first_s, first = self._readings[0]
        per_s = (done - first) / (now - first_s) if now - first_s >= MIN_WINDOW_S else None
        return Progress(done, total, per_s)


@dataclass
class ProgressLines:
    """Says how far a download is, at most every so many seconds, and not at its first byte."""

    say: Callable[[str], None]
    every_s: float = LINE_EVERY_S
    clock: Callable[[], float] = time.monotonic
    _meter: Meter = field(default_factory=Meter)
    _read_s: float = -math.inf
    _said_s: float | None = None

    def __call__(self, done: int, total: int | None) -> None:
        now = self.clock()
        if self._said_s is None:
            self._said_s = now
        # One reading a second is enough: a large file comes in 70,000 pieces.
        if now - self._read_s < min(1.0, self.every_s / 10):
            return
        self._read_s = now
        progress = self._meter.read(now, done, total)
        if now - self._said_s >= self.every_s:
            self._said_s = now
            self.say(line(progress))


def line(progress: Progress) -> str:
    done, speed = megabytes(progress.done), f"{(progress.per_s or 0) / 1e6:.1f}"
    if not progress.total:
        return t("downloading: {done} MB so far, {speed} MB/s", done=done, speed=speed)
    percent = progress.done * 100 // progress.total  # 100 only when all is there
    if progress.left_s is None:
        return t(
            "downloading: {percent} % of {total} MB, {speed} MB/s",
            percent=percent,
            total=megabytes(progress.total),
            speed=speed,
        )
    return t(
        "downloading: {percent} % of {total} MB, {speed} MB/s, about {minutes} min left",
        percent=percent,
        total=megabytes(progress.total),
        speed=speed,
        minutes=max(1, math.ceil(progress.left_s / 60)),
    )


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f}" if size >= 10_000_000 else f"{size / 1e6:.1f}"
