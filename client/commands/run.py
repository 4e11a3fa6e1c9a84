"""narrate run: a script in, a folder of numbered WAV files out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from client.errors import EXIT_PARTIAL, ClientError, DiskUnusable, ServerAway, ServerBusy
from client.project.folder import ProjectFolder
from client.project.manifest import Records
from client.project.plan import Plan, wanted_lines
from client.project.rebuild import source_sentence
from client.run import unfinished as runs
from client.run.awake import kept_awake, power_warnings, read_power
from client.run.ctrl_c import ctrl_c
from client.run.log import RunLog
from client.run.narrate import Outcome, Run, voice_of
from client.run.opening import PROGRAM, alone_in, check_voice, open_folder, script_record
from client.run.options import RunOptions, check_draft, given_language, need_key
from client.run.patience import Patience, ready_server
from client.run.preflight import check_folder
from client.run.report import RunReport, Summary
from client.run.screen import LoggedReport, PlainReport, choose_report
from client.settings import ClientSettings
from client.voice_server.api import VoiceServer
from client.voice_server.transport import WatchedTransport
from server.contract.http import Health
from server.script.lines import Script, read_script
from server.script.names import safe_project_name
from server.terminal.console import EXIT_INTERRUPTED, EXIT_OK, complain
from server.terminal.messages import t

ServerDied = Callable[[], str | None]
"""A sentence when the server of --local has ended."""


def run_script(settings: ClientSettings, options: RunOptions, gone: ServerDied = lambda: None) -> int:
    """Raises ClientError, ScriptError or NameRefused when it cannot begin."""
    if options.revoice and options.mix:
        raise ClientError(t("--revoice and --mix say opposite things; give one of them."))
    if options.new and options.into:
        raise ClientError(t("--new and --into say opposite things; give one of them."))
    script = read_script(options.script, given_language(options.language))
    project = options.project or options.script.stem
    safe_project_name(project)
    need_key(settings)
    log = RunLog(settings.key)
    report = LoggedReport(choose_report(options.json, sys.stdout.isatty()), PlainReport(log))
    return asyncio.run(_run(settings, options, script, project, report, log, gone))


async def _run(
    settings: ClientSettings,
    options: RunOptions,
    script: Script,
    project: str,
    report: RunReport,
    log: RunLog,
    gone: ServerDied,
) -> int:
    stop = asyncio.Event()
    patience = Patience(report, options.wait_s, stop, reached=options.server_was_there, gone_for_good=gone)
    with ctrl_c(stop, report, lambda: patience.asked > 0):
        async with VoiceServer(settings.server, settings.key, WatchedTransport()) as server:
            print(f"{PROGRAM}, {sys.platform}: {script.name}, {settings.server.rpartition('@')[2]}", file=log)
            try:
                health = await ready_server(server, patience)
            except (ServerAway, ServerBusy, asyncio.CancelledError):
                if not stop.is_set():
                    raise
                return EXIT_INTERRUPTED  # Ctrl-C while nothing was begun; it is said already
            check_draft(health, options.draft)
            folder, records = open_folder(settings.output, options, script, project, health, report)
            with alone_in(folder.path), _logged_in(folder, records is not None, log):
                # Read again under the lock: another run may have ended just now.
                folder.reload()
                for sentence in _opening_sentences(records):
                    report.note(sentence)
                return await _run_in(folder, server, health, patience, settings, options, script, report, log, stop)


def _opening_sentences(records: Records | None) -> list[str]:
    sentence = source_sentence(records.source) if records else None
    return [sentence] if sentence else []


@contextmanager
def _logged_in(folder: ProjectFolder, is_old: bool, log: RunLog) -> Iterator[None]:
    """What ends the run stands in run.log too. A new folder in which nothing could be begun is taken away again."""
    if is_old:
        log.begin_in(folder.path)
    try:
        yield
    except ClientError as error:
        print(error, file=log)
        if log.folder is None:
            with contextlib.suppress(OSError):  # something is in it after all
                folder.path.rmdir()
        raise


async def _run_in(
    folder: ProjectFolder,
    server: VoiceServer,
    health: Health,
    patience: Patience,
    settings: ClientSettings,
    options: RunOptions,
    script: Script,
    report: RunReport,
    log: RunLog,
    stop: asyncio.Event,
) -> int:
    started = time.monotonic()
    voice = voice_of(health)
    plan = folder.plan(wanted_lines(script), script.language, voice, options.mix)
    check_voice(plan, options, folder.path)
    warnings = check_folder(folder.path, plan, script.language, health.sample_rate, sys.platform)
    log.begin_in(folder.path)
    folder.apply(plan, script.language, script_record(script))
    report.note(t("Folder: {folder}", folder=folder.path))
    if health.draft:
        report.note(t("This is DRAFT speech, a robot voice: not for publication."))
    for warning in warnings:
        report.note(warning)
    remembered = runs.runs_folder(os.environ, sys.platform, Path.home())
    if plan.to_make and options.typed_in is not None and not runs.remember(remembered, _unfinished(folder, options)):
        report.note(t("'narrate resume' will not know of this run: {folder} cannot be written.", folder=remembered))
    job = Run(server, folder, script.language, voice, options.mix, report, patience, stop)
    with _awake_for(plan, report):
        report.begin(len(plan.lines), len(plan.to_make))
        try:
            outcome = await job.make(plan.to_make, health.in_flight)
        except asyncio.CancelledError:  # Ctrl-C twice
            outcome = job.outcome
            outcome.interrupted = True
        _finish(folder, outcome)
        report.end(summary_of(folder, plan, outcome, time.monotonic() - started, health.draft, options.again))
    return _exit_code(folder, plan, outcome, remembered, log)


def _awake_for(plan: Plan, report: RunReport) -> contextlib.AbstractContextManager[object]:
    if not plan.to_make:
        return contextlib.nullcontext()
    for warning in power_warnings(read_power()):
        report.note(warning)
    return kept_awake(report.note)


def _finish(folder: ProjectFolder, outcome: Outcome) -> None:
    try:
        folder.finish()
    except DiskUnusable as error:
        outcome.ended_by = outcome.ended_by or error


def _exit_code(folder: ProjectFolder, plan: Plan, outcome: Outcome, remembered: Path, log: RunLog) -> int:
    if outcome.ended_by is not None:
        complain(str(outcome.ended_by))
        print(outcome.ended_by, file=log)
        return outcome.ended_by.exit_code
    if outcome.interrupted:
        return EXIT_INTERRUPTED
    if outcome.failed or folder.unplaced:
        return EXIT_PARTIAL
    runs.forget(remembered, folder.path)
    return EXIT_OK


def _unfinished(folder: ProjectFolder, options: RunOptions) -> runs.UnfinishedRun:
    assert options.typed_in is not None
    return runs.UnfinishedRun(
        folder=folder.path,
        script=options.script.absolute(),
        typed_in=options.typed_in,
        output=folder.path.parent,
        server=options.server,
        project=folder.manifest.project,
        language=options.language,
        draft=options.draft,
        local=options.local,
        mix=options.mix,
        wait_hours=options.wait_s / 3600,
    )


def summary_of(
    folder: ProjectFolder, plan: Plan, outcome: Outcome, wall_seconds: float, draft: bool, again: str
) -> Summary:
    finished = [record for record in folder.manifest.lines if record.status == "made"]
    return Summary(
        folder=folder.path,
        lines=len(plan.lines),
        kept=len(plan.lines) - len(plan.to_make),
        made=len(outcome.made),
        failed=sorted(outcome.failed, key=lambda record: record.number),
        left=len(plan.to_make) - len(outcome.made) - len(outcome.failed),
        unplaced=sorted(folder.unplaced),
        held=folder.held,
        doubtful=[record for record in finished if record.doubtful],
        audio_seconds=sum(record.duration for record in finished),
        wall_seconds=wall_seconds,
        draft=draft,
        again=again,
    )
