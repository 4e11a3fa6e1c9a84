"""Ctrl-C during a run: once to finish what is being spoken, twice to stop at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from client.run.report import RunReport
from server.terminal.messages import t


@contextmanager
def ctrl_c(stop: asyncio.Event, report: RunReport, in_flight: Callable[[], bool]) -> Iterator[None]:
    """Ctrl-C once finishes the lines in flight, twice stops at once. SIGTERM is like the first."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def first_or_second() -> None:
        if stop.is_set():
            if task is not None:
                task.cancel()
            return
        stop.set()
        if not in_flight():
            report.note(t("Stopped."))
            return
        report.note(
            t("Finishing the lines in flight; Ctrl-C once more stops at once. Finished files are kept either way.")
        )

    def handler(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(first_or_second)

    # Not loop.add_signal_handler: Windows does not have it.
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
