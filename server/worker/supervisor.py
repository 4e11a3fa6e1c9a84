"""The worker process: start, feed, watch, replace when it dies, put to sleep, stop. Never imports torch; knows no HTTP.

Every line waits here and only as many as the engine speaks at once are with the worker, so that its death costs the
others nothing. Who goes next is decided in scheduler.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import queue
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from server.contract.codes import ErrorCode
from server.engines import EngineFacts, EngineSettings
from server.errors import NarratorError, Unavailable
from server.takes.take import Line, TakeSettings
from server.terminal.messages import t
from server.text.length import spoken_weight
from server.worker.deaths import (
    DEATHS_WITHIN_S,
    MAX_DEATHS_FROM_OUTSIDE,
    MAX_DEATHS_SEEN,
    MAX_DEATHS_WITHOUT_SPEECH,
    Death,
    kind_of_death,
    restart_delay_s,
)
from server.worker.exits import PARENT, kill_with_us
from server.worker.process import STOP_PATIENCE_S, WORKER_COMMAND, Worker, log_lines, read_frames, write_frames
from server.worker.scheduler import Waiting, hold_s, next_lines, pass_over
from server.worker.speed import Speed, retry_after_s

log = logging.getLogger("server.supervisor")

RETRY_AFTER_S = 5

LOAD_SILENCE_S = 4 * 3600.0
"""Longest step of a load: 5 GB over a slow line."""

WATCH_S = 0.5
"""How often running lines are looked at for their budget."""


class Phase(StrEnum):
    LOADING = "loading"
    READY = "ready"
    ASLEEP = "asleep"
    """The worker has ended after idle minutes; the next line wakes a new one."""
    DRAINING = "draining"
    UNUSABLE = "unusable"
    STOPPED = "stopped"


@dataclass(frozen=True)
class SpokenLine:
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
    answer: asyncio.Future[SpokenLine]
    waiting: Waiting
    deadline: float
    """Monotonic; not begun later than this."""
    deaths_by_engine: int = 0
    deaths_from_outside: int = 0
    started: float = 0.0


@dataclass
class Supervisor:
    engine: EngineSettings
    take: TakeSettings
    reader: str = "en"
    """Language of what the worker says to people."""
    queue_limit: int = 64
    """Lines that may wait."""
    queue_limit_s: float = 7200.0
    """Expected seconds of work that may wait."""
    idle_minutes: float = 0.0
    """Without a line for so long, the worker ends and gives its memory back; 0: never."""
    command: Sequence[str] = WORKER_COMMAND
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to this process's own for the worker."""
    on_step: Callable[[str], None] = lambda step: None
    on_ready: Callable[[EngineFacts], None] = lambda facts: None
    on_unusable: Callable[[str], None] = lambda sentence: None
    """Told once when no worker can work here: the parent is to stop."""

    phase: Phase = Phase.STOPPED
    step: str = ""
    facts: EngineFacts | None = None
    restarts: int = 0
    load_seconds: float = 0.0
    broken: bool = False
    """The breaker has opened: workers died again and again without speaking a line."""

    def __post_init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Lines spoken, failed and doubtful; retakes; dummies that were not simply found; deaths; poison; hung."""
        self.gpu: dict[str, dict[str, float]] = {}
        """What the worker held of each card at its last line."""
        self.speed = Speed()
        self.batch_sizes: Counter[int] = Counter()
        """How many lines were with the worker when one more was handed over."""
        self.seconds_spoken = 0.0
        """Of speech that the engine made: every take, dummy sentences included."""
        self.seconds_delivered = 0.0
        """Of audio that callers got."""
        self._jobs: dict[int, _Job] = {}
        """Every line that is not answered yet, by number."""
        self._running: dict[int, _Job] = {}
        """Those of them that are with the worker."""
        self._numbers = 0
        self._last_client = ""
        self._deaths: deque[float] = deque()
        self._killed_with: Counter[str] = Counter()
        """Deaths from outside by text; a text that is spoken is forgotten."""
        self._over_budget = False
        self._wake = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._worker: Worker | None = None

    @property
    def ready(self) -> bool:
        """A line sent now would be spoken (after a while, if the worker sleeps)."""
        return self.phase in (Phase.READY, Phase.ASLEEP)

    @property
    def hopeless(self) -> bool:
        return self.phase is Phase.UNUSABLE

    @property
    def queue_depth(self) -> int:
        # Not a difference of lengths: a caller that left is no job any more while its row still runs.
        return len(self._waiting())

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def free(self) -> int:
        """Places in the engine that no line has."""
        rows = self.facts.rows if self.facts else 1
        return 0 if self._alone() else rows - len(self._running)

    @property
    def waiting_s(self) -> float:
        """Expected seconds until all that is here now is spoken."""
        work = sum(self.speed.expected_s(job.waiting.weight) for job in self._jobs.values())
        return work / max(1, self.facts.rows if self.facts else 1)

    async def start(self) -> None:
        self.phase = Phase.LOADING
        self._life = asyncio.create_task(self._keep_alive(), name="worker's life")
        self._life.add_done_callback(self._life_ended)

    def _life_ended(self, life: asyncio.Task[None]) -> None:
        """A fault of ours must not leave a server that is alive and never speaks."""
        if not life.cancelled() and (error := life.exception()) is not None:
            log.error("the supervisor failed", exc_info=error)
            self._give_up(f"{type(error).__name__}: {error}")

    def drain(self) -> None:
        """What runs is finished and delivered; what waits, and what comes now, is answered with 503."""
        if self.phase in (Phase.STOPPED, Phase.UNUSABLE):
            return
        self.phase = Phase.DRAINING
        for job in self._waiting():
            self._fail(job, Unavailable(ErrorCode.SHUTTING_DOWN, RETRY_AFTER_S))

    async def stop(self) -> None:
        """Answers what is left with 503 and ends the worker, kindly at first."""
        self.phase = Phase.STOPPED
        if self._life:
            self._life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._life
        for job in list(self._jobs.values()):
            self._fail(job, Unavailable(ErrorCode.SHUTTING_DOWN, RETRY_AFTER_S))
        if self._worker:
            await self._end_worker(self._worker)

    async def speak(self, line: Line, client: str = "") -> SpokenLine:
        """Cancelling this takes the line out of the queue, or stops the engine's work on it.

        Raises TextRefused and the like as NarratorError, Unavailable when the server cannot take it now.
        """
        job = self._admit(line, client)
        try:
            return await job.answer
        finally:
            self._forget(job)

    def _admit(self, line: Line, client: str) -> _Job:
        if self.phase in (Phase.STOPPED, Phase.UNUSABLE, Phase.DRAINING):
            raise Unavailable(ErrorCode.SHUTTING_DOWN, RETRY_AFTER_S)
        if self.phase is Phase.LOADING and self.facts is None:
            raise Unavailable(ErrorCode.ENGINE_LOADING, RETRY_AFTER_S)
        weight = spoken_weight(line.text, line.language) + DUMMY_WEIGHT
        waiting_s, depth = self.waiting_s, self.queue_depth
        # Lines that are held for a moment have their places in the engine and take none of the queue.
        room = self.queue_limit + (self.free if self.phase is Phase.READY else 0)
        if depth >= room or (depth and waiting_s + self.speed.expected_s(weight) > self.queue_limit_s):
            self.counts["queue_full"] += 1
            after = retry_after_s(waiting_s)
            raise Unavailable(ErrorCode.QUEUE_FULL, after, waiting=depth, retry_after=after)
        self._numbers += 1
        now = time.monotonic()
        job = _Job(
            line,
            asyncio.get_running_loop().create_future(),
            Waiting(self._numbers, client, weight, arrived=now),
            # A line may wait for all that is before it, several times over if a worker has to be replaced.
            deadline=now + 3 * waiting_s + self.speed.budget_s(weight),
        )
        self._jobs[self._numbers] = job
        self._wake.set()
        return job

    def _forget(self, job: _Job) -> None:
        """Its request has been answered, or has gone away."""
        number = job.waiting.number
        self._jobs.pop(number, None)
        if number in self._running and self._worker:
            # Its row is dropped at the engine's next look; the answer that may come all the same is thrown away.
            self._worker.send({"do": "cancel", "id": number})

    async def _keep_alive(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(restart_delay_s(failures))
            if self.phase is not Phase.DRAINING:
                self.phase = Phase.LOADING
            started = time.monotonic()
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
                self.load_seconds = time.monotonic() - started
                if await self._serve(worker):
                    await self._sleep(worker)
                    failures = 0
                    continue
            if self.hopeless:
                return
            self._after_death(await self._end_worker(worker))
            if self.hopeless:
                return
            failures = 0 if was_ready else failures + 1

    async def _sleep(self, worker: Worker) -> None:
        """Idle for long enough: all memory goes back, and the next line brings a new worker."""
        await self._end_worker(worker)
        self.phase = Phase.ASLEEP
        log.info("the worker has ended after %s idle minutes; the next line starts a new one", self.idle_minutes)
        while not self._jobs:
            self._wake.clear()
            await self._wake.wait()

    async def _until_ready(self, worker: Worker) -> bool:
        """False when the worker ended first."""
        while frame := await self._next_while_loading(worker):
            header, _ = frame
            if header["is"] == "step":
                self.step = header["text"]
                self.on_step(self.step)
            elif header["is"] == "ready":
                self.facts = EngineFacts(**header["facts"])
                if self.phase is not Phase.DRAINING:
                    self.phase = Phase.READY
                self.step = ""
                self.on_ready(self.facts)
                return True
            elif header["is"] == "unusable":
                self._give_up(header["sentence"])
                return False
        return False

    async def _next_while_loading(self, worker: Worker) -> tuple[dict[str, Any], bytes] | None:
        """None when the worker has ended, or has said nothing for so long that it never will."""
        try:
            return await asyncio.wait_for(worker.inbox.get(), LOAD_SILENCE_S)
        except TimeoutError:
            log.error("the worker said nothing for %d s while loading; it is replaced", LOAD_SILENCE_S)
            self._over_budget = True
            worker.process.kill()
            return None

    def _give_up(self, sentence: str) -> None:
        self.phase = Phase.UNUSABLE
        self.step = sentence
        for job in list(self._jobs.values()):
            self._fail(job, Unavailable(ErrorCode.SHUTTING_DOWN, RETRY_AFTER_S))
        self.on_unusable(sentence)

    async def _serve(self, worker: Worker) -> bool:
        """Feeds and hears the worker until its end. True when it has been idle for long enough to sleep."""
        hearing = asyncio.create_task(worker.inbox.get())
        idle_since = time.monotonic()
        try:
            while True:
                look_again_s = self._hand_over(worker)
                self._wake.clear()
                waking = asyncio.create_task(self._wake.wait())
                try:
                    await asyncio.wait({hearing, waking}, timeout=look_again_s, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waking.cancel()
                while hearing.done():
                    frame = hearing.result()
                    if frame is None or not self._hear(worker, *frame):
                        return False
                    hearing = asyncio.create_task(worker.inbox.get())
                    await asyncio.sleep(0)
                self._kill_if_hung(worker)
                if self._jobs:
                    idle_since = time.monotonic()
                elif self.idle_minutes and time.monotonic() - idle_since > self.idle_minutes * 60:
                    return True
        finally:
            hearing.cancel()

    def _hand_over(self, worker: Worker) -> float:
        """The lines that go to the worker now; returns the seconds after which to look again, if nothing happens."""
        now = time.monotonic()
        for job in self._waiting():
            if now > job.deadline:
                self.counts["too_late"] += 1
                self._fail(
                    job, Unavailable(ErrorCode.TOO_LATE, RETRY_AFTER_S, seconds=round(now - job.waiting.arrived))
                )
        waiting = [job.waiting for job in self._waiting()]
        if held_s := hold_s(waiting, self.free, now, self.phase is Phase.DRAINING):
            return min(held_s, WATCH_S)
        # Until no place is free: what is of another length than the first must not wait for the next look.
        while chosen := next_lines(waiting, self.free, len(self._running), self._last_client):
            pass_over(waiting, chosen)
            for each in chosen:
                self._begin(worker, self._jobs[each.number], now)
            waiting = [job.waiting for job in self._waiting()]
        return WATCH_S

    def _waiting(self) -> list[_Job]:
        return [job for number, job in self._jobs.items() if number not in self._running]

    def _begin(self, worker: Worker, job: _Job, now: float) -> None:
        number = job.waiting.number
        job.started = now
        self._running[number] = job
        self._last_client = job.waiting.client
        self.batch_sizes[len(self._running)] += 1
        worker.send({"do": "speak", "id": number, **dataclasses.asdict(job.line)})

    def _alone(self) -> bool:
        """A line under suspicion is with the worker: nothing joins it."""
        return any(job.waiting.suspect for job in self._running.values())

    def _hear(self, worker: Worker, header: dict[str, Any], body: bytes) -> bool:
        """One answer. False when this worker must not be used any more."""
        job = self._running.pop(header.get("id", 0), None)
        if job is None:
            log.error("the worker answered request %s, which it does not have; it is replaced", header.get("id"))
            worker.process.kill()
            return False
        if header["is"] != "cancelled":
            self._count(header)
            self._deaths.clear()
            self._killed_with.pop(job.line.text, None)
            if header["is"] == "done":
                self.speed.learn(job.waiting.weight, time.monotonic() - job.started)
            self._deliver(job, header, body)
        return True

    def _deliver(self, job: _Job, header: dict[str, Any], body: bytes) -> None:
        if job.answer.done():
            return
        if header["is"] == "failed":
            job.answer.set_exception(NarratorError(ErrorCode(header["code"]), **header["params"]))
            return
        assert self.facts is not None
        self.seconds_delivered += header["audio_seconds"]
        job.answer.set_result(
            SpokenLine(
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
        self.seconds_spoken += header.get("spoken_seconds", 0.0)
        if header["is"] == "failed":
            self.counts["failed"] += 1
            return
        self.gpu = {device: {"memory_bytes": held} for device, held in header["memory_bytes"].items()}
        self.counts["spoken"] += 1
        self.counts["retakes"] += header["takes"] - 1
        self.counts["doubtful"] += header["doubtful"]
        if header["dummy"] != "found":
            self.counts[f"dummy_{header['dummy']}"] += 1

    def _kill_if_hung(self, worker: Worker) -> None:
        now = time.monotonic()
        late = [job for job in self._running.values() if now - job.started > self.speed.budget_s(job.waiting.weight)]
        if not late or self._over_budget:  # its end is on the way
            return
        log.error("%d lines are over their budget; the worker is replaced", len(late))
        self.counts["hung"] += len(late)
        self._over_budget = True
        for job in late:
            self._fail(job, NarratorError(ErrorCode.DEADLINE, seconds=round(now - job.started)))
        worker.process.kill()  # its end arrives in the inbox

    def _after_death(self, exit_code: int) -> None:
        """What it had is tried again, with suspicion where the engine itself died."""
        death = kind_of_death(exit_code, self._over_budget)
        self._over_budget = False
        self.restarts += 1
        self.counts[f"death_{death}"] += 1
        log.warning("worker ended with exit code %s (%s); restart %d", exit_code, death, self.restarts)
        alone = len(self._running) == 1
        for job in self._running.values():
            self._judge(job, death, alone)
        self._running.clear()
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths and now - self._deaths[0] > DEATHS_WITHIN_S:
            self._deaths.popleft()
        if len(self._deaths) >= MAX_DEATHS_WITHOUT_SPEECH:
            self.broken = True
            self._give_up(
                t(
                    "The engine's process has ended {count} times within {minutes} minutes without speaking a line; "
                    "the server stops instead of trying for ever. 'voice-server doctor' tells what is wrong.",
                    count=len(self._deaths),
                    minutes=round(DEATHS_WITHIN_S / 60),
                )
            )

    def _judge(self, job: _Job, death: Death, alone: bool) -> None:
        if job.answer.done():
            return
        if death is Death.ENGINE:
            job.deaths_by_engine += 1
            job.waiting.suspect = True
            # With others beside it, it may have been any of them: only what dies alone is known.
            if job.deaths_by_engine >= MAX_DEATHS_SEEN and alone:
                self.counts["poison"] += 1
                self._fail(job, NarratorError(ErrorCode.POISON_INPUT))
        elif death is Death.OUTSIDE:
            job.deaths_from_outside += 1
            self._killed_with[job.line.text] += 1
            if self._killed_with[job.line.text] >= MAX_DEATHS_FROM_OUTSIDE:
                self.counts["poison"] += 1
                self._fail(job, NarratorError(ErrorCode.POISON_INPUT))
            elif job.deaths_from_outside >= MAX_DEATHS_SEEN:
                self._fail(job, Unavailable(ErrorCode.WORKER_DIED, RETRY_AFTER_S))

    def _fail(self, job: _Job, error: NarratorError) -> None:
        self._jobs.pop(job.waiting.number, None)
        if not job.answer.done():
            job.answer.set_exception(error)

    def _spawn(self) -> Worker:
        process = subprocess.Popen(
            list(self.command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUTF8": "1", PARENT: str(os.getpid()), **self.environment},
        )
        inbox: asyncio.Queue[tuple[dict[str, Any], bytes] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(frame: tuple[dict[str, Any], bytes] | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                loop.call_soon_threadsafe(inbox.put_nowait, frame)

        assert process.stdout is not None
        assert process.stderr is not None
        # Threads and not asyncio's pipes: those need one kind of event loop on Windows and another elsewhere.
        threading.Thread(target=read_frames, args=(process.stdout, tell), daemon=True).start()
        threading.Thread(target=log_lines, args=(process.stderr,), daemon=True).start()
        outbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        assert process.stdin is not None
        threading.Thread(target=write_frames, args=(process.stdin, outbox), daemon=True).start()
        log.info("worker %d started", process.pid)
        return Worker(process, inbox, outbox, kill_with_us(process))

    async def _end_worker(self, worker: Worker) -> int:
        """Its exit code. Waits a little, then kills."""
        worker.send(None)  # tells the worker to end
        try:
            return await asyncio.to_thread(worker.process.wait, STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            return await asyncio.to_thread(worker.process.wait)


DUMMY_WEIGHT = 14.0
"""About the dummies' length, in the units of spoken_weight."""
