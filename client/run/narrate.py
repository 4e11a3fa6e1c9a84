"""The run: keep the server fed with the lines that are missing, record each answer, wait out what passes.

Knows no terminal: what happens is told to a Report. Knows no file format: the ProjectFolder writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from client.errors import (
    ClientError,
    DiskUnusable,
    LineLost,
    LineRefused,
    ServerAway,
    ServerBusy,
    ServerError,
    TakeRejected,
    VoiceChanged,
)
from client.project.folder import ProjectFolder
from client.project.manifest import LineRecord
from client.project.plan import PlannedLine, line_seed
from client.run.patience import Patience, ready_server
from client.run.report import Report
from client.voice_server.api import Speech, Voice, VoiceServer
from server.contract.codes import ErrorCode
from server.contract.http import Health
from server.terminal.messages import t
from server.text.pace import expected_seconds

TAKES_PER_LINE = 3
"""Seeds tried before a line that the server could not speak counts as failed."""

FAILURES_THAT_END = 3
"""The first lines of a run at which the server itself breaks, all in the same way: the fault is not theirs."""

OUTAGES_PER_LINE = 20
"""How often the connection may break at one line before it is left out: it may be what kills the server."""


@dataclass
class Outcome:
    made: list[LineRecord] = field(default_factory=list)
    failed: list[LineRecord] = field(default_factory=list)
    interrupted: bool = False
    ended_by: ClientError | None = None
    """Why the run stopped before its last line, if not by the reader."""


def is_servers_own(code: str) -> bool:
    """A failure that says nothing of the line. Any other may be three hard sentences at the top of a script."""
    return code == ErrorCode.INTERNAL or code.startswith("http_")


def voice_of(health: Health) -> Voice:
    return Voice(health.engine, health.model, health.voice, health.sound)


@dataclass
class Eta:
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
        clock = Eta(sum(expected_seconds(line.wanted.text, self.language) for line in lines))

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

    async def _make_line(self, line: PlannedLine, clock: Eta) -> None:
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

    def _spoken(self, line: PlannedLine, speech: Speech, attempts: int, clock: Eta) -> None:
        record = self.folder.save_line(line.wanted.number, speech, self.language, attempts)
        first = not self.outcome.made
        self.outcome.made.append(record)
        placed = record.file not in self.folder.unplaced
        self.report.line_made(line, record, clock.done(expected_seconds(line.wanted.text, self.language)), placed)
        if first and placed and clock.remaining_s:
            self.report.note(t("The first sentence is made and saved: server, voice and disk work."))

    def _failed(self, line: PlannedLine, error: LineRefused | LineLost | TakeRejected, clock: Eta) -> None:
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
