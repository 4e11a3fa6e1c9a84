"""Time and memory of a job: process CPU time, wall time, peak memory, and the bandwidth of the machine.

Knows no model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

PARTS = ("prefill", "talker", "predictor", "codec")
ONCE_A_LINE = ("prefill", "codec")
"""Parts that come once a line: on a card, waiting for them does not slow down the measured job."""

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Clock:
    """Process CPU time and wall time of a job, and of the parts that `timing` wraps."""

    def __init__(self, on_card: bool = False) -> None:
        self.on_card = on_card
        self.cpu_s = self.wall_s = 0.0
        self.parts_s: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def __enter__(self) -> Clock:
        synchronize()
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_error: object) -> None:
        synchronize()
        self.cpu_s, self.wall_s = time.process_time() - self._cpu, time.perf_counter() - self._wall

    @contextmanager
    def timing(self, thing: Any, name: str, part: str | Callable[[dict[str, Any]], str | None]) -> Iterator[None]:
        """Adds the CPU time inside this method to a part.

        On a card the time is wall time. Parts of ONCE_A_LINE are waited for; of the others only the launch is timed,
        and the figure means nothing. part: a name, or a function of the call's keyword arguments.
        """
        stock = getattr(thing, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            key = part if isinstance(part, str) else part(kwargs)
            if key is None:
                return stock(*args, **kwargs)
            started = self._now(key)
            result = stock(*args, **kwargs)
            self.parts_s[key] = self.parts_s.get(key, 0.0) + self._now(key) - started
            self.calls[key] = self.calls.get(key, 0) + 1
            return result

        with patch.object(thing, name, timed):
            yield

    def _now(self, part: str) -> float:
        if not self.on_card:
            return time.process_time()
        if part in ONCE_A_LINE:
            synchronize()
        return time.perf_counter()


class PeakMemory:
    """The peak memory inside the `with` block: torch's allocations on the card, or the whole process's RAM.

    Weights count, and so does the memory of other arms. `bytes` is None where the system does not tell: off Linux, and
    where a container forbids resetting the process's peak.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.before = 0
        self.bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = int(torch.cuda.memory_allocated(self.device))
        elif forget_peak():
            self.before = status_bytes("VmRSS")
        return self

    def __exit__(self, *_error: object) -> None:
        if self.device.startswith("cuda"):
            import torch

            self.bytes = int(torch.cuda.max_memory_allocated(self.device))
        elif self.before:
            self.bytes = status_bytes("VmHWM")


def forget_peak() -> bool:
    """Resets the process's peak to its present memory; returns whether that was possible."""
    try:
        CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def status_bytes(name: str) -> int:
    """A field of Linux's status of this process, which is in kB, in bytes."""
    lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def bandwidth_gb_s(device: str, size: int = 2**28) -> float:
    """Bandwidth of reading where the weights lie: the best of five sums over so many float32 numbers."""
    import torch

    block = torch.ones(size, device=device)
    best = float("inf")
    for _ in range(5):
        synchronize()
        started = time.perf_counter()
        block.sum()
        synchronize()
        best = min(best, time.perf_counter() - started)
    return block.nbytes / best / 1e9
