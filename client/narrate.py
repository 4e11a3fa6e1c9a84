"""The run: keep the server fed with the lines that are missing, record each answer, wait out what passes.

Knows no terminal: what happens is told to a Report. Knows no file format: the ProjectFolder writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from client.api import Speech, Voice, VoiceServer
from client.errors import (
    ClientError,
    DiskUnusable,
    LineLost,
    LineRefused,
    NotAServer,
    ServerAway,
    ServerBusy,
    ServerError,
    TakeRejected,
    VoiceChanged,
)
from client.estimate import expected_seconds
from client.manifest import LineRecord
from client.project import PlannedLine, ProjectFolder, line_seed
from server.contract import Code, Health
from server.messages import t

TAKES_PER_LINE = 3
"""Seeds tried before a line that the server could not speak counts as failed."""
FAILURES_THAT_END = 3
"""The first lines of a run at which the server itself breaks, all in the same way: the fault is not theirs."""
OUTAGES_PER_LINE = 20
"""How often the connection may break at one line before it is left out: it may be what kills the server."""
FIRST_PATIENCE_S = 120.0
"""How long a server that never answered is waited for: its address is probably wrong."""
PAUSES_S = (1.0, 2.0, 5.0, 10.0, 15.0)
"""Between attempts to reach a server that is away; the last one repeats."""
LOADING_PAUSE_S = 1.0

Result = TypeVar("Result")


class Report(Protocol):
    """Told what happens, as it happens."""

    def note(self, sentence: str) -> None: ...
    def waiting(self, sentence: str, waited_s: float, limit_s: float) -> None: ...
    def server_back(self) -> None: ...
    def line_started(self, line: PlannedLine) -> None: ...
    def line_made(self, line: PlannedLine, record: LineRecord, eta_s: float, placed: bool) -> None: ...
    def line_failed(self, line: PlannedLine, sentence: str) -> None: ...


@dataclass
class Outcome:
    made: list[LineRecord] = field(default_factory=list)
    failed: list[LineRecord] = field(default_factory=list)
    interrupted: bool = False
    ended_by: ClientError | None = None
    """Why the run stopped before its last line, if not by the reader."""


@dataclass
class Patience:
    """How long to wait for a server that is away, and what is told meanwhile."""

    report: Report
    limit_s: float
    stop: asyncio.Event
    reached: bool = False
    """Whether the server has answered before in this run."""
    gone_for_good: Callable[[], str | None] = lambda: None
    """A sentence when the server cannot come back: the process of --local has ended."""
    asked: int = 0
    """Requests for speech that are under way."""
    _away_since: float | None = None
    """On the monotonic clock: the PC's own may be put forward or back in the night."""
    _told: bool = False

    def limit(self) -> float:
        return self.limit_s if self.reached else min(self.limit_s, FIRST_PATIENCE_S)

    async def after(self, error: ServerAway | ServerBusy, attempt: int) -> None:
        """Waits before the next attempt. Raises the error when it has lasted too long, or the reader stops."""
        clock = time.monotonic()
        if self._away_since is None:
            self._away_since = clock
        waited = clock - self._away_since
        if (sentence := self.gone_for_good()) is not None:
            raise ServerError(sentence)
        if waited >= self.limit() or self.stop.is_set():
            raise error
        # A full queue that clears at once is the server's daily life.
        if not (isinstance(error, ServerBusy) and attempt == 0 and self.reached):
            self._told = True
            self.report.waiting(str(error), waited, self.limit())
        pause = PAUSES_S[min(attempt, len(PAUSES_S) - 1)]
        if isinstance(error, ServerBusy):
            pause = error.retry_after_s
        await _sleep_unless(self.stop, min(pause, max(0.1, self.limit() - waited)))
        if self.stop.is_set():  # one more attempt could hang for as long as a connection takes
            raise error

    def answered(self) -> None:
        self.reached = True
        self._away_since = None
        if self._told:
            self._told = False
            self.report.server_back()


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


async def patiently(ask: Callable[[], Awaitable[Result]], patience: Patience) -> Result:
    """Asks until there is an answer. Raises what the server said for good, or the last outage."""
    attempt = 0
    while True:
        try:
            result = await ask()
        except (ServerAway, ServerBusy) as error:
            await patience.after(error, attempt)
            attempt += 1
        except ServerError:
            patience.answered()
            raise
        else:
            patience.answered()
            return result


async def ready_server(server: VoiceServer, patience: Patience) -> Health:
    """Its health as soon as it can speak. Raises ServerError when it never does."""

    async def ask() -> Health:
        try:
            health = await server.health()
        except NotAServer:
            # In the middle of the night that is a proxy's error page; at the start a wrong address.
            if patience.reached:
                raise ServerBusy(t("Something else answers in the server's place."), PAUSES_S[-1]) from None
            raise
        if not health.ready:
            patience.reached = True
            if health.status == "error":
                raise ServerBusy(t("The server is there but cannot speak. Its own window says why."), PAUSES_S[-1])
            raise ServerBusy(t("The server is loading its voice; this can take minutes."), LOADING_PAUSE_S)
        return health

    return await patiently(ask, patience)


def is_servers_own(code: str) -> bool:
    """A failure that says nothing of the line. Any other may be three hard sentences at the top of a script."""
    return code == Code.INTERNAL or code.startswith("http_")


def voice_of(health: Health) -> Voice:
    return Voice(health.engine, health.model, health.voice, health.sound)


@dataclass
class Clock:
    """Remaining time, from how long the lines of this run took for each second that they were expected to last."""

    remaining_s: float
    """Expected seconds of speech that are still to be made."""
    started: float = field(default_factory=time.monotonic)
    done_s: float = 0.0

    def done(self, expected_s: float) -> float:
        """A line is finished; returns the seconds left."""
        self.done_s += expected_s
        self.remaining_s = max(0.0, self.remaining_s - expected_s)
        return self.remaining_s * (time.monotonic() - self.started) / max(self.done_s, 1e-6)


@dataclass
class Run:
    server: VoiceServer
    folder: ProjectFolder
    language: str
    voice: Voice
    mix: bool
    report: Report
    patience: Patience
    stop: asyncio.Event
    """Set: lines in flight are finished and no other is begun."""
    outcome: Outcome = field(default_factory=Outcome)
    _faults: list[str] = field(default_factory=list)
    """How the lines failed before the first one was made."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def make(self, lines: Sequence[PlannedLine], in_flight: int) -> Outcome:
        """Speaks the lines, several at a time. One failed line does not stop the others."""
        waiting = list(reversed(lines))
        clock = Clock(sum(expected_seconds(line.wanted.text, self.language) for line in lines))

        async def work() -> None:
            while waiting and not self.stop.is_set() and self.outcome.ended_by is None:
                await self._make_line(waiting.pop(), clock)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(max(1, min(in_flight, len(lines)))):
                    self._tasks.append(group.create_task(work()))
        except ExceptionGroup as faults:  # of ours: the first says more than the group does
            raise faults.exceptions[0] from faults
        self.outcome.interrupted = self.stop.is_set() and len(self.outcome.made + self.outcome.failed) < len(lines)
        return self.outcome

    async def _make_line(self, line: PlannedLine, clock: Clock) -> None:
        self.report.line_started(line)
        try:
            try:
                speech, attempts = await self._speak(line)
            except (LineRefused, LineLost, TakeRejected) as error:
                self._failed(line, error, clock)
            else:
                self._spoken(line, speech, attempts, clock)
        except DiskUnusable as error:
            self._end(error)
            # What is being spoken could not be saved either.
            for task in self._tasks:
                if task is not asyncio.current_task():
                    task.cancel()
        except (ServerError, VoiceChanged) as error:
            if not self.stop.is_set():
                self._end(error)

    def _end(self, error: ClientError) -> None:
        self.outcome.ended_by = self.outcome.ended_by or error

    def _spoken(self, line: PlannedLine, speech: Speech, attempts: int, clock: Clock) -> None:
        record = self.folder.save_line(line.wanted.number, speech, self.language, attempts)
        first = not self.outcome.made
        self.outcome.made.append(record)
        placed = record.file not in self.folder.unplaced
        self.report.line_made(line, record, clock.done(expected_seconds(line.wanted.text, self.language)), placed)
        if first and placed and clock.remaining_s:
            self.report.note(t("The first sentence is made and saved: server, voice and disk work."))

    def _failed(self, line: PlannedLine, error: LineRefused | LineLost | TakeRejected, clock: Clock) -> None:
        attempts = line.attempts + (TAKES_PER_LINE if isinstance(error, TakeRejected) else 0)
        self.outcome.failed.append(self.folder.save_failure(line.wanted.number, str(error), attempts))
        clock.done(expected_seconds(line.wanted.text, self.language))
        self.report.line_failed(line, str(error))
        if isinstance(error, TakeRejected) and is_servers_own(error.code) and not self.outcome.made:
            self._faults.append(error.code)
            if self._faults.count(error.code) >= FAILURES_THAT_END:
                self._end(
                    ServerError(
                        t(
                            "The first {count} lines all failed in the same way, so the fault is the server's and not "
                            "theirs: {sentence} Look at the server's window or log, then run the same command again.",
                            count=FAILURES_THAT_END,
                            sentence=error,
                        )
                    )
                )

    async def _speak(self, line: PlannedLine) -> tuple[Speech, int]:
        """The line's speech and how many takes it has had now. A bad take is followed by one with another seed."""
        attempt = line.attempts
        while True:
            seed = line_seed(line.wanted.text, self.language, attempt, line.occurrence)
            attempt += 1
            try:
                speech = await self._take(line.wanted.text, seed)
            except TakeRejected:
                if attempt - line.attempts >= TAKES_PER_LINE:
                    raise
                # In the middle of the night that may be a proxy's page in the server's place.
                await ready_server(self.server, self.patience)
                continue
            self._same_voice(speech.voice)
            return speech, attempt

    async def _take(self, text: str, seed: int) -> Speech:
        """One take, however often the connection breaks. Raises LineLost when it breaks at this line too often."""
        outages = refusals = 0
        while True:
            try:
                speech = await self._ask(text, seed)
            except ServerBusy as error:
                await self.patience.after(error, refusals)
                refusals += 1
            except ServerAway as error:
                outages += 1
                if outages >= OUTAGES_PER_LINE:
                    raise LineLost(
                        t("The connection broke {count} times at this line, so it was left out.", count=outages)
                    ) from error
                await self.patience.after(error, 0)
                await ready_server(self.server, self.patience)
            except ServerError:
                self.patience.answered()
                raise
            else:
                self.patience.answered()
                return speech

    async def _ask(self, text: str, seed: int) -> Speech:
        self.patience.asked += 1
        try:
            return await self.server.speak(text, self.language, seed)
        except ClientError:
            raise
        except Exception as error:  # whatever an odd answer broke in its reader costs this take, not the night
            raise TakeRejected(
                t(
                    "The server's answer is not understood ({kind}: {error}). Are server and narrate of one version?",
                    kind=type(error).__name__,
                    error=error,
                ),
                "answer_unreadable",
            ) from error
        finally:
            self.patience.asked -= 1

    def _same_voice(self, voice: Voice) -> None:
        """Raises VoiceChanged when the server was restarted with another voice in the middle of the run."""
        if voice == self.voice or (self.mix and (voice.engine == self.voice.engine)):
            return
        raise VoiceChanged(
            t(
                "The server speaks with another voice or other sound settings than when this run began; the run has "
                "stopped so that the folder does not become a mixture. What is finished is saved. Run the same "
                "command again: it tells what can be done."
            )
        )
