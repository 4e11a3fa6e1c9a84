"""The worker's life: start, feed, watch, replace after a death, put to sleep, stop. Never imports torch; knows no HTTP.

All lines wait here, and the worker holds only as many as its engine speaks at once: the worker's death costs the
waiting lines nothing. Carries out what is decided in scheduler.py (which lines are next) and in deaths.py (what becomes
of a dead worker's lines).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from server.contract.codes import ErrorCode
from server.engines import EngineFacts, EngineSettings
from server.errors import NarratorError, Unavailable
from server.takes.line import PreparedLine
from server.takes.take import TakeSettings
from server.terminal.messages import t
from server.worker.answers import SpokenLine, read_answer
from server.worker.deaths import Deaths, LineRecord, Verdict
from server.worker.process import WORKER_COMMAND, Frame, WorkerProcess
from server.worker.scheduler import Waiting, hold_s, next_lines, pass_over
from server.worker.speed import Speed, retry_after_s
from server.worker.timing import Timing

log = logging.getLogger("server.supervisor")

RETRY_AFTER_S = 5
"""Told to callers of lines that were refused for another reason than a full queue."""


class Phase(StrEnum):
    LOADING = "loading"
    READY = "ready"
    ASLEEP = "asleep"
    """The worker was ended after idle minutes; the next line starts a new one."""
    DRAINING = "draining"
    UNUSABLE = "unusable"
    STOPPED = "stopped"


@dataclass
class Job:
    """A line that is not answered yet."""

    line: PreparedLine
    answer: asyncio.Future[SpokenLine]
    waiting: Waiting
    record: LineRecord
    deadline: float
    """Monotonic; a line that is not begun by then is refused."""
    started: float = 0.0
    """Monotonic; when the line was handed to the worker, 0 before."""


@dataclass
class Supervisor:
    engine: EngineSettings
    take: TakeSettings
    reader: str = "en"
    """Language of the worker's sentences for people: `en` or `ko`"""
    queue_limit: int = 64
    """Lines that may wait."""
    queue_limit_s: float = 7200.0
    """Expected seconds of work that may wait."""
    idle_minutes: float = 0.0
    """The worker ends after so many minutes without a line, which frees its memory; 0: never."""
    command: Sequence[str] = WORKER_COMMAND
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to this process's own for the worker; may hold HF_TOKEN."""
    timing: Timing = field(default_factory=Timing)
    on_step: Callable[[str], None] = lambda step: None
    on_ready: Callable[[EngineFacts], None] = lambda facts: None
    on_unusable: Callable[[str], None] = lambda sentence: None
    """Called once, when no worker can work here: the server is to stop."""

    phase: Phase = Phase.STOPPED
    step: str = ""
    facts: EngineFacts | None = None
    restarts: int = 0
    load_seconds: float = 0.0
    broken: bool = False
    """The breaker has opened: workers died again and again and answered no line."""

    def __post_init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Lines spoken, failed and doubtful; retakes; dummies that were not simply found; deaths; poison; hung."""
        self.gpu: dict[str, dict[str, float]] = {}
        """Memory that the worker held on each card when it answered last"""
        self.speed = Speed(self.timing)
        self.batch_sizes: Counter[int] = Counter()
        """How many lines were with the worker when one more was handed over."""
        self.seconds_spoken = 0.0
        """Speech that the engine made: every take, dummy sentences included"""
        self.seconds_delivered = 0.0
        """Audio that callers got"""
        self.jobs: dict[int, Job] = {}
        """Every line that is not answered yet, by number."""
        self.worker: WorkerProcess | None = None
        """The newest one, also when it has ended."""
        self._running: dict[int, Job] = {}
        """Lines that are with the worker. A caller that leaves takes its line out of `jobs` only."""
        self._numbers = 0
        self._last_client = ""
        self._deaths = Deaths(self.timing.deaths_within_s)
        self._wake = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """A line sent now would be spoken (after a while, if the worker sleeps)."""
        return self.phase in (Phase.READY, Phase.ASLEEP)

    @property
    def hopeless(self) -> bool:
        return self.phase is Phase.UNUSABLE

    @property
    def queue_depth(self) -> int:
        # Not the difference of two lengths: a caller that left has no job any more while its line still runs.
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
        work = sum(self.speed.expected_s(job.waiting.weight) for job in self.jobs.values())
        return work / max(1, self.facts.rows if self.facts else 1)

    async def start(self) -> None:
        self.phase = Phase.LOADING
        self._life = asyncio.create_task(self._keep_alive(), name="worker's life")
        self._life.add_done_callback(self._life_ended)

    def _life_ended(self, life: asyncio.Task[None]) -> None:
        """A fault of the supervisor must not leave a server that is alive and never speaks."""
        if not life.cancelled() and (error := life.exception()) is not None:
            log.error("the supervisor failed", exc_info=error)
            self._give_up(f"{type(error).__name__}: {error}")

    def drain(self) -> None:
        """Running lines are finished and delivered; waiting lines and new ones are answered with 503."""
        if self.phase in (Phase.STOPPED, Phase.UNUSABLE):
            return
        self.phase = Phase.DRAINING
        for job in self._waiting():
            self._fail(job, Unavailable(ErrorCode.SHUTTING_DOWN, RETRY_AFTER_S))

    async def stop(self) -> None:
        """Answers all lines with 503 and ends the worker: by asking, then by killing."""
        self.phase = Phase.STOPPED
        if self._life:
            self._life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._life
        for job in list(self.jobs.values()):
            self._fail(job, Unavailable(ErrorCode.SHUTTING_DOWN, RETRY_AFTER_S))
        if self.worker:
            await self.worker.end(self.timing.stop_patience_s)

    async def speak(self, line: PreparedLine, client: str = "") -> SpokenLine:
        """Returns once the line is spoken. Cancelling the call takes the line out of the queue or out of the engine.

        client: takes turns with the others (scheduler.py). Raises Unavailable when the line cannot be taken or begun
        now, and NarratorError when it was refused or failed.
        """
        job = self._admit(line, client)
        try:
            return await job.answer
        finally:
            self._forget(job)

    def _admit(self, line: PreparedLine, client: str) -> Job:
        if self.phase in (Phase.STOPPED, Phase.UNUSABLE, Phase.DRAINING):
            raise Unavailable(ErrorCode.SHUTTING_DOWN, RETRY_AFTER_S)
        if self.phase is Phase.LOADING and self.facts is None:
            raise Unavailable(ErrorCode.ENGINE_LOADING, RETRY_AFTER_S)
        waiting_s, depth = self.waiting_s, self.queue_depth
        # Lines that are held for a moment have their places in the engine: they do not count for the queue's limit.
        room = self.queue_limit + (self.free if self.phase is Phase.READY else 0)
        if depth >= room or (depth and waiting_s + self.speed.expected_s(line.weight) > self.queue_limit_s):
            self.counts["queue_full"] += 1
            after = retry_after_s(waiting_s)
            raise Unavailable(ErrorCode.QUEUE_FULL, after, waiting=depth, retry_after=after)
        self._numbers += 1
        now = time.monotonic()
        job = Job(
            line,
            asyncio.get_running_loop().create_future(),
            Waiting(self._numbers, client, line.weight, arrived=now),
            LineRecord(self._numbers, line.text),
            # Three times the expected wait: a worker that is replaced speaks its lines again.
            deadline=now + 3 * waiting_s + self.speed.budget_s(line.weight),
        )
        self.jobs[self._numbers] = job
        self._wake.set()
        return job

    def _forget(self, job: Job) -> None:
        """The line has its answer, or its caller has gone."""
        number = job.waiting.number
        self.jobs.pop(number, None)
        if number in self._running and self.worker:
            # The engine drops the line when it next asks for cancelled ones; an earlier answer is thrown away.
            self.worker.send({"do": "cancel", "id": number})

    async def _keep_alive(self) -> None:
        """One worker after the other, until none can work here."""
        failures = 0
        while True:
            await asyncio.sleep(self.timing.restart_delay_s(failures))
            worker = self._start_worker()
            was_ready = await self._until_ready(worker)
            if was_ready and await self._serve(worker):
                await self._sleep(worker)
                failures = 0
                continue
            if self.hopeless:
                return
            self._after_death(await worker.end(self.timing.stop_patience_s), worker.over_budget)
            if self.hopeless:
                return
            failures = 0 if was_ready else failures + 1

    def _start_worker(self) -> WorkerProcess:
        if self.phase is not Phase.DRAINING:
            self.phase = Phase.LOADING
        worker = self.worker = WorkerProcess.spawn(self.command, self.environment)
        worker.send(
            {
                "do": "open",
                "engine": dataclasses.asdict(self.engine),
                "take": dataclasses.asdict(self.take),
                "reader": self.reader,
            }
        )
        return worker

    async def _sleep(self, worker: WorkerProcess) -> None:
        """Ends the idle worker, which frees its memory; returns when a line waits for a new one."""
        await worker.end(self.timing.stop_patience_s)
        self.phase = Phase.ASLEEP
        log.info("the worker has ended after %s idle minutes; the next line starts a new one", self.idle_minutes)
        while not self.jobs:
            self._wake.clear()
            await self._wake.wait()

    async def _until_ready(self, worker: WorkerProcess) -> bool:
        """False when the worker ended first."""
        began = time.monotonic()
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
                self.load_seconds = time.monotonic() - began
                self.on_ready(self.facts)
                return True
            elif header["is"] == "unusable":
                self._give_up(header["sentence"])
                return False
        return False

    async def _next_while_loading(self, worker: WorkerProcess) -> Frame | None:
        """None when the worker has ended, or has said nothing for so long that it never will."""
        silence_s = self.timing.load_silence_s
        try:
            return await asyncio.wait_for(worker.receive(), silence_s)
        except TimeoutError:
            log.error("the worker said nothing for %d s while loading; it is replaced", silence_s)
            worker.kill(over_budget=True)
            return None

    def _give_up(self, sentence: str) -> None:
        self.phase = Phase.UNUSABLE
        self.step = sentence
        for job in list(self.jobs.values()):
            self._fail(job, Unavailable(ErrorCode.SHUTTING_DOWN, RETRY_AFTER_S))
        self.on_unusable(sentence)

    async def _serve(self, worker: WorkerProcess) -> bool:
        """Hands lines over and takes answers until the worker ends. True: it has been idle for long enough to sleep."""
        receiving = asyncio.create_task(worker.receive())
        idle_since = time.monotonic()
        try:
            while True:
                await self._wait(receiving, self._hand_over(worker))
                while receiving.done():
                    frame = receiving.result()
                    if frame is None or not self._take_answer(worker, *frame):
                        return False
                    receiving = asyncio.create_task(worker.receive())
                    await asyncio.sleep(0)
                self._kill_if_hung(worker)
                if self.jobs:
                    idle_since = time.monotonic()
                elif self.idle_minutes and time.monotonic() - idle_since > self.idle_minutes * 60:
                    return True
        finally:
            receiving.cancel()

    async def _wait(self, receiving: asyncio.Task[Frame | None], timeout_s: float) -> None:
        """Until an answer or a new line is there, timeout_s at most."""
        self._wake.clear()
        waking = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({receiving, waking}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()

    def _hand_over(self, worker: WorkerProcess) -> float:
        """Begins the lines whose turn it is; returns the seconds after which to call this again, if nothing happens."""
        now = time.monotonic()
        self._refuse_late(now)
        waiting = [job.waiting for job in self._waiting()]
        if held_s := hold_s(waiting, self.free, now, self.timing, self.phase is Phase.DRAINING):
            return min(held_s, self.timing.watch_s)
        # Until no place is free: a line of another length than the first must not wait for the next call.
        while chosen := next_lines(waiting, self.free, len(self._running), self._last_client):
            pass_over(waiting, chosen)
            for each in chosen:
                self._begin(worker, self.jobs[each.number], now)
            waiting = [job.waiting for job in self._waiting()]
        return self.timing.watch_s

    def _refuse_late(self, now: float) -> None:
        for job in self._waiting():
            if now > job.deadline:
                self.counts["too_late"] += 1
                seconds = round(now - job.waiting.arrived)
                self._fail(job, Unavailable(ErrorCode.TOO_LATE, RETRY_AFTER_S, seconds=seconds))

    def _waiting(self) -> list[Job]:
        return [job for number, job in self.jobs.items() if number not in self._running]

    def _begin(self, worker: WorkerProcess, job: Job, now: float) -> None:
        number = job.waiting.number
        job.started = now
        self._running[number] = job
        self._last_client = job.waiting.client
        self.batch_sizes[len(self._running)] += 1
        worker.send({"do": "speak", "id": number, **dataclasses.asdict(job.line)})

    def _alone(self) -> bool:
        """Whether a suspect is with the worker: no other line joins it."""
        return any(job.waiting.suspect for job in self._running.values())

    def _take_answer(self, worker: WorkerProcess, header: dict[str, Any], body: bytes) -> bool:
        """False when this worker must not be used any more."""
        job = self._running.pop(header.get("id", 0), None)
        if job is None:
            log.error("the worker answered request %s, which it does not have; it is replaced", header.get("id"))
            worker.kill()
            return False
        if header["is"] != "cancelled":
            self._count(header)
            self._deaths.line_answered(job.line.text)
            if header["is"] == "done":
                self.speed.learn(job.waiting.weight, time.monotonic() - job.started)
            self._deliver(job, header, body)
        return True

    def _deliver(self, job: Job, header: dict[str, Any], body: bytes) -> None:
        if job.answer.done():  # late, or its caller has gone
            return
        assert self.facts is not None
        answer = read_answer(header, body, self.facts)
        if isinstance(answer, NarratorError):
            job.answer.set_exception(answer)
            return
        self.seconds_delivered += answer.audio_seconds
        job.answer.set_result(answer)

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

    def _kill_if_hung(self, worker: WorkerProcess) -> None:
        now = time.monotonic()
        late = [job for job in self._running.values() if now - job.started > self.speed.budget_s(job.waiting.weight)]
        if not late or worker.over_budget:  # the worker is killed already and its end is on the way
            return
        log.error("%d lines are over their budget; the worker is replaced", len(late))
        self.counts["hung"] += len(late)
        for job in late:
            self._fail(job, NarratorError(ErrorCode.DEADLINE, seconds=round(now - job.started)))
        worker.kill(over_budget=True)

    def _after_death(self, exit_code: int, over_budget: bool) -> None:
        unanswered = [job.record for job in self._running.values() if not job.answer.done()]
        alone = len(self._running) == 1
        verdict = self._deaths.judge(exit_code, over_budget, unanswered, alone, time.monotonic())
        self.restarts += 1
        self.counts[f"death_{verdict.death}"] += 1
        log.warning("worker ended with exit code %s (%s); restart %d", exit_code, verdict.death, self.restarts)
        self._carry_out(verdict)
        if verdict.give_up:
            self.broken = True
            self._give_up(
                t(
                    "The engine's process has ended {count} times within {minutes} minutes without speaking a line; "
                    "the server stops instead of trying for ever. 'voice-server doctor' tells what is wrong.",
                    count=verdict.deaths,
                    minutes=round(self.timing.deaths_within_s / 60),
                )
            )

    def _carry_out(self, verdict: Verdict) -> None:
        """The lines that the dead worker had: two kinds are answered, the third goes back into the queue."""
        for number in verdict.poison:
            self.counts["poison"] += 1
            self._fail(self._running[number], NarratorError(ErrorCode.POISON_INPUT))
        for number in verdict.put_off:
            self._fail(self._running[number], Unavailable(ErrorCode.WORKER_DIED, RETRY_AFTER_S))
        for record in verdict.retry:
            job = self._running[record.number]
            job.record = record
            job.waiting.suspect = record.suspect
        self._running.clear()

    def _fail(self, job: Job, error: NarratorError) -> None:
        self.jobs.pop(job.waiting.number, None)
        if not job.answer.done():
            job.answer.set_exception(error)
