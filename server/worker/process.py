"""One worker process and its three threads: frames in, frames out, what it prints. Decides nothing.

Threads and not asyncio's pipes: those need one kind of event loop on Windows and another elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from server.worker.exits import PARENT, kill_with_us
from server.worker.frames import PipeClosed, read_frame, write_headers

log = logging.getLogger("server.supervisor")

worker_log = logging.getLogger("server.worker")

WORKER_COMMAND = (sys.executable, "-m", "server.worker")

Frame = tuple[dict[str, Any], bytes]
"""Header and body"""

Outbox = queue.SimpleQueue[dict[str, Any] | None]
"""Headers for the worker; None closes its standard input."""


@dataclass
class WorkerProcess:
    popen: subprocess.Popen[bytes]
    inbox: asyncio.Queue[Frame | None]
    """Frames from the worker; None once it has ended."""
    outbox: Outbox
    job: Any = None
    """Windows: the handle of the Job Object that ends the worker with its parent, see exits.py"""
    over_budget: bool = False
    """The worker was killed because it took too long."""

    @classmethod
    def spawn(cls, command: Sequence[str], environment: Mapping[str, str]) -> WorkerProcess:
        """Starts a worker; call it where an event loop runs. environment: added to this process's own.

        Raises OSError when the command cannot be run.
        """
        popen = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUTF8": "1", PARENT: str(os.getpid()), **environment},
        )
        worker = cls(popen, asyncio.Queue(), queue.SimpleQueue(), kill_with_us(popen))
        worker._start_threads(asyncio.get_running_loop())
        log.info("worker %d started", popen.pid)
        return worker

    def _start_threads(self, loop: asyncio.AbstractEventLoop) -> None:
        def tell(frame: Frame | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                loop.call_soon_threadsafe(self.inbox.put_nowait, frame)

        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        threading.Thread(target=read_frames, args=(self.popen.stdout, tell), daemon=True).start()
        threading.Thread(target=log_lines, args=(self.popen.stderr,), daemon=True).start()
        threading.Thread(target=write_frames, args=(self.popen.stdin, self.outbox), daemon=True).start()

    @property
    def ended(self) -> bool:
        return self.popen.poll() is not None

    def send(self, header: dict[str, Any]) -> None:
        """Never blocks: a worker that is stuck and reads nothing must not stop the parent that is to kill it."""
        self.outbox.put(header)

    async def receive(self) -> Frame | None:
        """The worker's next frame; None once it has ended."""
        return await self.inbox.get()

    def kill(self, over_budget: bool = False) -> None:
        """Returns at once; the worker's end arrives as None from `receive`."""
        self.over_budget = self.over_budget or over_budget
        self.popen.kill()

    async def end(self, patience_s: float) -> int:
        """The exit code. Asks the worker to end, waits patience_s seconds at most, then kills."""
        self.outbox.put(None)
        try:
            return await asyncio.to_thread(self.popen.wait, patience_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return await asyncio.to_thread(self.popen.wait)


def read_frames(stream: IO[bytes], tell: Callable[[Frame | None], None]) -> None:
    """Until the worker has ended."""
    with stream:
        try:
            while True:
                tell(read_frame(stream))
        except PipeClosed:
            tell(None)


def write_frames(stream: IO[bytes], outbox: Outbox) -> None:
    """Until the outbox holds None or the worker has ended."""
    # Closing flushes, which fails once the worker has ended; its end arrives in the inbox.
    with contextlib.suppress(PipeClosed, OSError), stream:
        ending = False
        while not ending:
            headers = _all_in(outbox)
            ending = None in headers
            # Lines handed over together reach the worker together, or its engine begins with the first one alone.
            write_headers(stream, [header for header in headers if header is not None])


def _all_in(outbox: Outbox) -> list[dict[str, Any] | None]:
    """All headers that are there now; waits for the first."""
    found = [outbox.get()]
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(outbox.get_nowait())
    return found


def log_lines(stream: IO[bytes]) -> None:
    """What the worker and its libraries print: drained always, or a full pipe would stop the worker."""
    with stream:
        for line in stream:
            worker_log.info("%s", line.decode("utf-8", "replace").rstrip())
