"""A worker process and its three threads: frames in, frames out, what it prints. Decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from server.worker.frames import PipeClosed, read_frame, write_headers

worker_log = logging.getLogger("server.worker")

WORKER_COMMAND = (sys.executable, "-m", "server.worker")

STOP_PATIENCE_S = 5.0


@dataclass
class Worker:
    process: subprocess.Popen[bytes]
    inbox: asyncio.Queue[tuple[dict[str, Any], bytes] | None]
    """Frames from the worker; None once it has gone."""
    outbox: queue.SimpleQueue[dict[str, Any] | None]
    """Frames to the worker; None closes its standard input."""
    job: Any = None
    """Windows: what ends the worker with us"""

    def send(self, header: dict[str, Any] | None) -> None:
        """Never blocks: a worker that is stuck and reads nothing must not stop the parent that is to kill it."""
        self.outbox.put(header)


def read_frames(stream: IO[bytes], tell: Callable[[tuple[dict[str, Any], bytes] | None], None]) -> None:
    with stream:
        try:
            while True:
                tell(read_frame(stream))
        except PipeClosed:
            tell(None)


def write_frames(stream: IO[bytes], outbox: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    # Closing flushes, which fails on a pipe whose reader has gone; its death arrives in the inbox.
    with contextlib.suppress(PipeClosed, OSError), stream:
        ending = False
        while not ending:
            headers = _all_in(outbox)
            ending = None in headers
            # Lines handed over together reach the worker together, or its engine begins with the first one alone.
            write_headers(stream, [header for header in headers if header is not None])


def _all_in(outbox: queue.SimpleQueue[dict[str, Any] | None]) -> list[dict[str, Any] | None]:
    """At least one."""
    found = [outbox.get()]
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(outbox.get_nowait())
    return found


def log_lines(stream: IO[bytes]) -> None:
    """What the worker and its libraries print: drained always, or a full pipe would stop it."""
    with stream:
        for line in stream:
            worker_log.info("%s", line.decode("utf-8", "replace").rstrip())
