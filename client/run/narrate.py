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
from server.terminal.troubleshooting import see_sentence
from server.text.pace import expected_seconds

TAKES_PER_LINE = 3
"""Seeds that are tried before a line counts as failed that the server could not speak."""

FAILURES_THAT_END = 3
"""Lines that fail by the same fault of the server before any is made; then the run ends."""

OUTAGES_PER_LINE = 20
"""Broken connections at one line before it is left out: the line may be what kills the server."""


@dataclass
class Outcome:
    made: list[LineRecord] = field(default_factory=list)
    failed: list[LineRecord] = field(default_factory=list)
    see: list[str] = field(default_factory=list)
    """Where to read what to do about the failed lines."""
    interrupted: bool = False
    ended_by: ClientError | None = None
    """Why the run stopped before its last line; None where a person stopped it."""


def is_servers_own(code: str) -> bool:
    """True for faults of the server. Other failures may be the sentence's own fault, so they do not end the run."""
    return code == ErrorCode.INTERNAL or code.startswith("http_")


def voice_of(health: Health) -> Voice:
    return Voice(health.engine, health.model, health.voice, health.sound)


@dataclass
class Eta:
    """The remaining time: seconds of work for each expected second of speech, as measured in this run."""

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
    """Its `stop` set: lines in flight are finished and no other is begun."""
    outcome: Outcome = field(default_factory=Outcome)
    _faults: list[str] = field(default_factory=list)
    """Error codes of the lines that failed before the first line was made."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def make(self, lines: Sequence[PlannedLine], in_flight: int) -> Outcome:
        """Speaks the lines, several at a time. One failed line does not stop the others."""
        waiting = list(reversed(lines))
        eta = Eta(sum(expected_seconds(line.wanted.text, self.language) for line in lines))

        async def work() -> None:
            while waiting and not self.patience.stop.is_set() and self.outcome.ended_by is None:
                await self._make_line(waiting.pop(), eta)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(max(1, min(in_flight, len(lines)))):
                    self._tasks.append(group.create_task(work()))
        except ExceptionGroup as faults:  # faults of ours: the first says more than the group
            raise faults.exceptions[0] from faults
        ended = len(self.outcome.made) + len(self.outcome.failed)
        self.outcome.interrupted = self.patience.stop.is_set() and ended < len(lines)
        return self.outcome

    async def _make_line(self, line: PlannedLine, eta: Eta) -> None:
        self.report.line_started(line)
        try:
            try:
                speech, attempts = await self._speak(line)
            except (LineRefused, LineLost, TakeRejected) as error:
                self._failed(line, error, eta)
            else:
                self._made(line, speech, attempts, eta)
        except DiskUnusable as error:
            self._end(error)
            # The lines in flight could not be saved either.
            for task in self._tasks:
                if task is not asyncio.current_task():
                    task.cancel()
        except (ServerError, VoiceChanged) as error:
            if not self.patience.stop.is_set():
                self._end(error)

    def _end(self, error: ClientError) -> None:
        self.outcome.ended_by = self.outcome.ended_by or error

    def _made(self, line: PlannedLine, speech: Speech, attempts: int, eta: Eta) -> None:
        record = self.folder.save_line(line.wanted.number, speech, self.language, attempts)
        first = not self.outcome.made
        self.outcome.made.append(record)
        placed = record.file not in self.folder.unplaced
        self.report.line_made(line, record, eta.done(expected_seconds(line.wanted.text, self.language)), placed)
        if first and placed and eta.remaining_s:
            self.report.note(t("The first sentence is made and saved: server, voice and disk work."))

    def _failed(self, line: PlannedLine, error: LineRefused | LineLost | TakeRejected, eta: Eta) -> None:
        attempts = line.attempts + (TAKES_PER_LINE if isinstance(error, TakeRejected) else 0)
        self.outcome.failed.append(self.folder.save_failure(line.wanted.number, str(error), attempts))
        eta.done(expected_seconds(line.wanted.text, self.language))
        self.report.line_failed(line, str(error))
        if (see := see_sentence(error)) and see not in self.outcome.see:
            self.outcome.see.append(see)
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
        """The line's speech and the number of takes that it has had. After a bad take, another seed is tried."""
        attempt = line.attempts
        while True:
            seed = line_seed(line.wanted.text, self.language, attempt, line.occurrence)
            attempt += 1
            try:
                speech = await self._take(line.wanted.text, seed)
            except TakeRejected:
                if attempt - line.attempts >= TAKES_PER_LINE:
                    raise
                # In the middle of the night the answer may be a proxy's page: go on when the server itself answers.
                await ready_server(self.server, self.patience)
                continue
            self._same_voice(speech.voice)
            return speech, attempt

    async def _take(self, text: str, seed: int) -> Speech:
        """One take; a broken connection is waited out. Raises LineLost when it breaks OUTAGES_PER_LINE times."""
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
        except Exception as error:  # an answer that broke its own reader costs this take, not the night
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
