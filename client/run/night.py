"""One night of `narrate run`: the server is waited for, the folder opened and locked, the missing lines made.

Knows no command line: what was typed comes in RunOptions and Invocation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from client.errors import ClientError, DiskUnusable, ServerAway, ServerBusy
from client.project.folder import ProjectFolder
from client.project.plan import Plan, wanted_lines
from client.project.rebuild import source_sentence
from client.run import unfinished as runs
from client.run.awake import kept_awake, power_warnings, read_power
from client.run.ctrl_c import ctrl_c
from client.run.log import RunLog
from client.run.narrate import Outcome, Run, voice_of
from client.run.opening import PROGRAM, alone_in, check_voice, open_folder, script_record
from client.run.options import RunOptions, check_draft
from client.run.patience import Patience, ServerDied, ready_server
from client.run.preflight import check_folder
from client.run.report import RunReport, Summary
from client.run.resplit import as_recorded
from client.run.screen import LoggedReport, PlainReport, choose_report
from client.settings import ClientSettings
from client.voice_server.api import Voice, VoiceServer
from client.voice_server.transport import WatchedTransport
from server.contract.http import Health
from server.script.lines import Script
from server.terminal.console import complain
from server.terminal.exit_codes import ExitCode
from server.terminal.messages import t
from server.terminal.troubleshooting import with_entry


@dataclass(frozen=True)
class Invocation:
    """How the run was started, beside its options."""

    command: str
    """The exact command that goes on from here."""
    typed_in: Path | None = None
    """The folder in which the command was typed; None: the run is not remembered for `narrate resume`."""
    server_was_there: bool = False
    """An earlier run reached this server: its address is right, so the whole of --wait holds from the start."""


async def run_night(
    settings: ClientSettings,
    options: RunOptions,
    invocation: Invocation,
    script: Script,
    server_died: ServerDied,
) -> ExitCode:
    """From the first word with the server to the exit code. Raises ClientError when the run cannot begin."""
    log = RunLog(settings.key)
    report = LoggedReport(choose_report(options.as_json, sys.stdout.isatty()), PlainReport(log))
    stop = asyncio.Event()
    patience = Patience(
        report, options.wait_hours * 3600, stop, reached=invocation.server_was_there, server_died=server_died
    )
    with ctrl_c(stop, report, lambda: patience.asked > 0):
        async with VoiceServer(settings.server, settings.key, WatchedTransport()) as server:
            print(f"{PROGRAM}, {sys.platform}: {script.name}, {settings.server.rpartition('@')[2]}", file=log)
            try:
                health = await ready_server(server, patience)
            except (ServerAway, ServerBusy, asyncio.CancelledError):
                if not stop.is_set():
                    raise
                return ExitCode.INTERRUPTED  # ctrl_c has told so
            check_draft(health, options.draft)
            folder, records = open_folder(settings.output, options, script, health, report)
            with alone_in(folder.path), _logged_in(folder, records is not None, log):
                folder.reload()  # now under the lock: another run may have ended a moment ago
                if records and (sentence := source_sentence(records.source)):
                    report.note(sentence)
                night = Night(folder, server, health, script, options, invocation, report, log, patience)
                return await night.make()


@contextmanager
def _logged_in(folder: ProjectFolder, is_old: bool, log: RunLog) -> Iterator[None]:
    """Writes the error that ends the run into run.log too. Takes a new folder away again where the run never began."""
    if is_old:
        log.begin_in(folder.path)
    try:
        yield
    except ClientError as error:
        print(error, file=log)
        if log.folder is None:
            with contextlib.suppress(OSError):  # the folder is not empty
                folder.path.rmdir()
        raise


@dataclass
class Night:
    """A run in its folder, which is open and locked, with a server that is ready."""

    folder: ProjectFolder
    server: VoiceServer
    health: Health
    script: Script
    options: RunOptions
    invocation: Invocation
    report: RunReport
    log: RunLog
    patience: Patience
    started: float = field(default_factory=time.monotonic)
    """On the monotonic clock."""
    runs_folder: Path = field(default_factory=lambda: runs.runs_folder(os.environ, sys.platform, Path.home()))
    """Where the unfinished runs of this user are remembered."""

    @property
    def voice(self) -> Voice:
        return voice_of(self.health)

    async def make(self) -> ExitCode:
        """Makes the lines that are missing and returns the exit code. Raises ClientError when that cannot begin."""
        self.script, split_notes = as_recorded(self.script, self.folder, self.voice, self.options)
        plan = self.folder.plan(wanted_lines(self.script), self.script.language, self.voice, self.options.mix)
        check_voice(plan, self.options, self.folder.path)
        warnings = check_folder(self.folder.path, plan, self.script.language, self.health.sample_rate, sys.platform)
        self._begin(plan, [*split_notes, *warnings])
        with self._kept_awake(plan):
            outcome = await self._speak(plan)
            self._finish(outcome)
            self.report.end(self._summary(plan, outcome))
        return self._exit_code(outcome)

    def _begin(self, plan: Plan, notes: list[str]) -> None:
        self.log.begin_in(self.folder.path)
        self.folder.apply(plan, self.script.language, script_record(self.script))
        self.report.note(t("Folder: {folder}", folder=self.folder.path))
        if self.health.draft:
            self.report.note(t("This is DRAFT speech, a robot voice: not for publication."))
        for note in notes:
            self.report.note(note)
        if plan.to_make and not self._is_remembered():
            self.report.note(
                t("'narrate resume' will not know of this run: {folder} cannot be written.", folder=self.runs_folder)
            )

    def _is_remembered(self) -> bool:
        """Remembers this run for `narrate resume`; true also where it is not to be remembered."""
        typed_in = self.invocation.typed_in
        if typed_in is None:
            return True
        run = runs.unfinished_run(self.options, self.folder.path, self.folder.manifest.project, typed_in)
        return runs.remember(self.runs_folder, run)

    def _kept_awake(self, plan: Plan) -> contextlib.AbstractContextManager[object]:
        if not plan.to_make:
            return contextlib.nullcontext()
        for warning in power_warnings(read_power()):
            self.report.note(warning)
        return kept_awake(self.report.note)

    async def _speak(self, plan: Plan) -> Outcome:
        run = Run(
            self.server,
            self.folder,
            self.script.language,
            self.voice,
            self.options.mix,
            self.report,
            self.patience,
        )
        self.report.begin(len(plan.lines), len(plan.to_make))
        try:
            return await run.make(plan.to_make, self.health.in_flight)
        except asyncio.CancelledError:  # Ctrl-C twice
            run.outcome.interrupted = True
            return run.outcome

    def _finish(self, outcome: Outcome) -> None:
        try:
            self.folder.finish()
        except DiskUnusable as error:
            outcome.ended_by = outcome.ended_by or error

    def _summary(self, plan: Plan, outcome: Outcome) -> Summary:
        finished = [record for record in self.folder.manifest.lines if record.status == "made"]
        return Summary(
            folder=self.folder.path,
            lines=len(plan.lines),
            kept=len(plan.lines) - len(plan.to_make),
            made=len(outcome.made),
            failed=sorted(outcome.failed, key=lambda record: record.number),
            see=outcome.see,
            left=len(plan.to_make) - len(outcome.made) - len(outcome.failed),
            unplaced=sorted(self.folder.unplaced),
            held=self.folder.held,
            doubtful=[record for record in finished if record.doubtful],
            audio_seconds=sum(record.duration for record in finished),
            wall_seconds=time.monotonic() - self.started,
            draft=self.health.draft,
            command=self.invocation.command,
        )

    def _exit_code(self, outcome: Outcome) -> ExitCode:
        if outcome.ended_by is not None:
            complain(with_entry(outcome.ended_by))
            print(outcome.ended_by, file=self.log)
            return outcome.ended_by.exit_code
        if outcome.interrupted:
            return ExitCode.INTERRUPTED
        if outcome.failed or self.folder.unplaced:
            return ExitCode.PARTIAL
        runs.forget(self.runs_folder, self.folder.path)
        return ExitCode.OK
