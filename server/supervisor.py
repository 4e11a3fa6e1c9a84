"""The worker process: start, feed, replace when it dies, stop. Never imports torch; knows no HTTP.

One line is with the worker at a time; the others wait here, so that a worker's death costs the others nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, Any

from server.contract import Code
from server.engines import EngineFacts, EngineSettings
from server.errors import NarratorError, Unavailable
from server.pipe import PipeClosed, read_frame, write_frame
from server.take import Line, TakeSettings

log = logging.getLogger("server.supervisor")
worker_log = logging.getLogger("server.worker")

WORKER_COMMAND = (sys.executable, "-m", "server.worker")
MAX_ATTEMPTS = 2
"""Workers that one line may see die before it is answered with an error."""
RESTART_DELAYS_S = (0.0, 2.0, 5.0, 15.0, 60.0)
"""Pause before the n-th new worker in a row that never became ready; the last one repeats."""
STOP_PATIENCE_S = 5.0
RETRY_AFTER_S = 5


class Phase(StrEnum):
    LOADING = "loading"
    READY = "ready"
    UNUSABLE = "unusable"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Spoken:
    wav: bytes
    seed: int
    takes: int
    confidence: float
    doubtful: bool
    generation_seconds: float
    audio_seconds: float
    text_sha256: str
    facts: EngineFacts
    """Of the worker that spoke it."""


@dataclass
class _Job:
    line: Line
    answer: asyncio.Future[Spoken]
    attempts: int = 0


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    inbox: asyncio.Queue[tuple[dict[str, Any], bytes] | None]
    """Frames from the worker; None once it has gone."""

    def send(self, header: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(PipeClosed):  # its death arrives in the inbox
            write_frame(self.process.stdin, header)


def restart_delay_s(failures: int) -> float:
    """failures: workers in a row that ended before they were ready."""
    return RESTART_DELAYS_S[min(failures, len(RESTART_DELAYS_S) - 1)]


@dataclass
class Supervisor:
    engine: EngineSettings
    take: TakeSettings
    reader: str = "en"
    """Language of what the worker says to people."""
    queue_limit: int = 64
    command: Sequence[str] = WORKER_COMMAND
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to this process's own for the worker."""
    on_step: Callable[[str], None] = lambda step: None
    on_ready: Callable[[EngineFacts], None] = lambda facts: None
    on_unusable: Callable[[str], None] = lambda sentence: None
    """Told once when the first worker cannot work here at all: the parent is to stop."""

    phase: Phase = Phase.STOPPED
    step: str = ""
    facts: EngineFacts | None = None
    restarts: int = 0

    def __post_init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Lines spoken, failed and doubtful; retakes; dummies that were not simply found."""
        self._waiting: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._worker: _Worker | None = None

    @property
    def ready(self) -> bool:
        return self.phase is Phase.READY

    @property
    def queue_depth(self) -> int:
        return len(self._waiting)

    async def start(self) -> None:
        self.phase = Phase.LOADING
        self._life = asyncio.create_task(self._keep_alive(), name="worker's life")
        self._life.add_done_callback(self._life_ended)

    def _life_ended(self, life: asyncio.Task[None]) -> None:
        """A fault of ours must not leave a server that is alive and never speaks."""
        if not life.cancelled() and (error := life.exception()) is not None:
            log.error("the supervisor failed", exc_info=error)
            self._give_up(f"{type(error).__name__}: {error}")

    async def stop(self) -> None:
        """Answers what waits with 503 and ends the worker, kindly at first."""
        self.phase = Phase.STOPPED
        if self._life:
            self._life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._life
        while self._waiting:
            self._fail(self._waiting.popleft(), Unavailable(Code.SHUTTING_DOWN, RETRY_AFTER_S))
        if self._worker:
            await self._end_worker(self._worker)

    async def speak(self, line: Line) -> Spoken:
        """Raises TextRefused and the like as NarratorError, Unavailable when the server cannot take it now."""
        if self.phase in (Phase.STOPPED, Phase.UNUSABLE):
            raise Unavailable(Code.SHUTTING_DOWN, RETRY_AFTER_S)
        if self.phase is Phase.LOADING and self.facts is None:
            raise Unavailable(Code.ENGINE_LOADING, RETRY_AFTER_S)
        if len(self._waiting) >= self.queue_limit:
            raise Unavailable(Code.QUEUE_FULL, RETRY_AFTER_S, waiting=len(self._waiting), retry_after=RETRY_AFTER_S)
        job = _Job(line, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._wake.set()
        return await job.answer

    async def _keep_alive(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(restart_delay_s(failures))
            self.phase = Phase.LOADING
            worker = self._worker = self._spawn()
            worker.send(
                {
                    "do": "open",
                    "engine": dataclasses.asdict(self.engine),
                    "take": dataclasses.asdict(self.take),
                    "reader": self.reader,
                }
            )
            was_ready = await self._until_ready(worker)
            if was_ready:
                await self._serve(worker)
            if self.phase is Phase.UNUSABLE:
                return
            code = await self._end_worker(worker)
            self.restarts += 1
            failures = 0 if was_ready else failures + 1
            log.warning("worker ended with exit code %s; starting a new one (restart %d)", code, self.restarts)

    async def _until_ready(self, worker: _Worker) -> bool:
        """False when the worker ended first."""
        while frame := await worker.inbox.get():
            header, _ = frame
            if header["is"] == "step":
                self.step = header["text"]
                self.on_step(self.step)
            elif header["is"] == "ready":
                self.facts = EngineFacts(**header["facts"])
                self.phase = Phase.READY
                self.step = ""
                self.on_ready(self.facts)
                return True
            elif header["is"] == "unusable":
                self._give_up(header["sentence"])
                return False
        return False

    def _give_up(self, sentence: str) -> None:
        self.phase = Phase.UNUSABLE
        self.step = sentence
        while self._waiting:
            self._fail(self._waiting.popleft(), Unavailable(Code.SHUTTING_DOWN, RETRY_AFTER_S))
        self.on_unusable(sentence)

    async def _serve(self, worker: _Worker) -> None:
        """One line after the other, until the worker's end."""
        number = 0
        while True:
            if not await self._work_or_death(worker):
                return
            job = self._waiting.popleft()
            if job.answer.done():  # its request was cancelled
                continue
            number += 1
            job.attempts += 1
            worker.send({"do": "speak", "id": number, **dataclasses.asdict(job.line)})
            try:
                frame = await worker.inbox.get()
            except asyncio.CancelledError:
                self._fail(job, Unavailable(Code.SHUTTING_DOWN, RETRY_AFTER_S))
                raise
            if frame is not None and frame[0].get("id") != number:
                log.error("the worker answered request %s instead of %d; it is replaced", frame[0].get("id"), number)
                worker.process.kill()
                frame = None
            if frame is None:
                self._after_death(job)
                return
            self._deliver(job, *frame)

    async def _work_or_death(self, worker: _Worker) -> bool:
        """True when a job waits, False when the worker has ended while idle."""
        while not self._waiting:
            self._wake.clear()
            news = asyncio.create_task(worker.inbox.get())
            work = asyncio.create_task(self._wake.wait())
            try:
                await asyncio.wait({news, work}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                work.cancel()
                if not news.done():
                    news.cancel()
            if news.done() and not news.cancelled():
                return False  # an idle worker says nothing: this is its end
        return True

    def _after_death(self, job: _Job) -> None:
        if job.attempts < MAX_ATTEMPTS:
            self._waiting.appendleft(job)
        else:
            self._fail(job, Unavailable(Code.WORKER_DIED, RETRY_AFTER_S))

    def _deliver(self, job: _Job, header: dict[str, Any], body: bytes) -> None:
        self._count(header)
        if job.answer.done():
            return
        if header["is"] == "failed":
            job.answer.set_exception(NarratorError(Code(header["code"]), **header["params"]))
            return
        assert self.facts is not None
        job.answer.set_result(
            Spoken(
                wav=body,
                seed=header["seed"],
                takes=header["takes"],
                confidence=header["confidence"],
                doubtful=header["doubtful"],
                generation_seconds=header["generation_seconds"],
                audio_seconds=header["audio_seconds"],
                text_sha256=header["text_sha256"],
                facts=self.facts,
            )
        )

    def _count(self, header: dict[str, Any]) -> None:
        if header["is"] == "failed":
            self.counts["failed"] += 1
            return
        self.counts["spoken"] += 1
        self.counts["retakes"] += header["takes"] - 1
        self.counts["doubtful"] += header["doubtful"]
        if header["dummy"] != "found":
            self.counts[f"dummy_{header['dummy']}"] += 1

    def _fail(self, job: _Job, error: NarratorError) -> None:
        if not job.answer.done():
            job.answer.set_exception(error)

    def _spawn(self) -> _Worker:
        process = subprocess.Popen(
            list(self.command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUTF8": "1", **self.environment},
        )
        inbox: asyncio.Queue[tuple[dict[str, Any], bytes] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(frame: tuple[dict[str, Any], bytes] | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                loop.call_soon_threadsafe(inbox.put_nowait, frame)

        assert process.stdout is not None
        assert process.stderr is not None
        # Threads and not asyncio's pipes: those need one kind of event loop on Windows and another elsewhere.
        threading.Thread(target=_read_frames, args=(process.stdout, tell), daemon=True).start()
        threading.Thread(target=_log_lines, args=(process.stderr,), daemon=True).start()
        log.info("worker %d started", process.pid)
        return _Worker(process, inbox)

    async def _end_worker(self, worker: _Worker) -> int:
        """Its exit code. Waits a little, then kills."""
        assert worker.process.stdin is not None
        with contextlib.suppress(OSError):
            worker.process.stdin.close()  # tells the worker to end
        try:
            return await asyncio.to_thread(worker.process.wait, STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            return await asyncio.to_thread(worker.process.wait)


def _read_frames(stream: IO[bytes], tell: Callable[[tuple[dict[str, Any], bytes] | None], None]) -> None:
    with stream:
        try:
            while True:
                tell(read_frame(stream))
        except PipeClosed:
            tell(None)


def _log_lines(stream: IO[bytes]) -> None:
    """What the worker and its libraries print: drained always, or a full pipe would stop it."""
    with stream:
        for line in stream:
            worker_log.info("%s", line.decode("utf-8", "replace").rstrip())
