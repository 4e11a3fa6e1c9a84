"""What each command of narrate does, from settings to exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout
from rich.console import Console
from rich.table import Table

from client import files, play, runs
from client.api import Speech, Voice, VoiceServer
from client.awake import kept_awake, power_warnings, read_power
from client.errors import (
    EXIT_PARTIAL,
    ClientError,
    DiskUnusable,
    DraftRefused,
    FolderBusy,
    LineRefused,
    ScriptReplaced,
    ServerAway,
    ServerBusy,
    VoiceChanged,
)
from client.estimate import expected_seconds
from client.manifest import MANIFEST, Manifest, Records, ScriptRecord, Source, age_key, read_all_records, read_records
from client.names import safe_project_name
from client.narrate import Outcome, Patience, Run, patiently, ready_server, voice_of
from client.preflight import check_folder
from client.project import (
    Plan,
    ProjectFolder,
    choose_folder,
    folder_name,
    is_same_script,
    new_project,
    now,
    script_sha256,
    wanted_lines,
)
from client.rebuild import adopted, lost_folder, records_lost, source_sentence, whole_wavs
from client.report import LoggedReport, PlainReport, RunReport, Summary, choose_report, duration
from client.runlog import RunLog
from client.script import Script, read_script
from client.sentences import detect_language
from client.settings import ClientSettings
from client.transport import WatchedTransport
from server.console import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, complain
from server.console import say as say_line
from server.contract import LANGUAGES, MAX_TEXT_CHARS, Health, language_name
from server.messages import t

PROGRAM = f"overnight-narrator {version('overnight-narrator')}"

Gone = Callable[[], str | None]
"""A sentence when the server of --local has ended."""


@dataclass(frozen=True)
class RunOptions:
    script: Path
    project: str
    language: str
    draft: bool
    new: bool
    into: Path | None
    revoice: bool
    mix: bool
    wait_s: float
    json: bool
    again: str
    adopt: bool = False
    """Take recordings whose records are lost for what their names say."""
    server_was_there: bool = False
    """This run spoke with the server before, so it is waited for from the start."""
    typed_in: Path | None = None
    """The folder of the command, for `narrate resume`; None: this run is not to be remembered."""
    server: str = ""
    local: bool = False


@dataclass(frozen=True)
class SayOptions:
    text: str
    language: str
    draft: bool
    seed: int | None
    out: Path | None


def given_language(language: str) -> str | None:
    """The language that --language names; None where it was left out. Raises ClientError."""
    if not language:
        return None
    try:
        return language_name(language)
    except ValueError as error:
        raise ClientError(
            t(
                "The language {language} is not one of the ten: {languages}.",
                language=language,
                languages=", ".join(f"{code} ({name})" for code, name in LANGUAGES.items()),
            )
        ) from error


def run(settings: ClientSettings, options: RunOptions, gone: Gone = lambda: None) -> int:
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


def need_key(settings: ClientSettings) -> None:
    if not settings.key:
        raise ClientError(
            t(
                "There is no key for the server. Write NARRATE_KEY=... into .env (the same as API_KEY on the "
                "server's PC), or use --local for a server on this PC."
            )
        )
    strange = next((character for character in settings.key if not " " <= character <= "~"), None)
    if strange is not None:  # no header can carry it
        raise ClientError(
            t(
                "The key for the server holds the character {character}, which no key can have. Copy API_KEY from the "
                "server's .env once more (NARRATE_KEY in .env, or --key).",
                character=repr(strange),
            )
        )


async def _run(
    settings: ClientSettings,
    options: RunOptions,
    script: Script,
    project: str,
    report: RunReport,
    log: RunLog,
    gone: Gone,
) -> int:
    stop = asyncio.Event()
    patience = Patience(report, options.wait_s, stop, reached=options.server_was_there, gone_for_good=gone)
    with _ctrl_c(stop, report, lambda: patience.asked > 0):
        async with VoiceServer(settings.server, settings.key, WatchedTransport()) as server:
            print(f"{PROGRAM}, {sys.platform}: {script.name}, {settings.server.rpartition('@')[2]}", file=log)
            try:
                health = await ready_server(server, patience)
            except (ServerAway, ServerBusy, asyncio.CancelledError):
                if not stop.is_set():
                    raise
                return EXIT_INTERRUPTED  # Ctrl-C while nothing was begun; it is said already
            check_draft(health, options.draft)
            folder, records = _open_folder(settings.output, options, script, project, health, report)
            with _alone_in(folder.path), _logged_in(folder, records is not None, log):
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


def resume_options(run: runs.UnfinishedRun, json_too: bool, again: str) -> RunOptions:
    """The same run again, in exactly its folder."""
    return RunOptions(
        script=run.script,
        project=run.project,
        language=run.language,
        draft=run.draft,
        new=False,
        into=run.folder,
        revoice=False,
        mix=run.mix,
        wait_s=run.wait_hours * 3600,
        json=json_too,
        again=again,
        server_was_there=not run.local,
        typed_in=run.typed_in,
        server=run.server,
        local=run.local,
    )


def resume(again: Callable[[runs.UnfinishedRun], int], known: tuple[type[Exception], ...], everything: bool) -> int:
    """Goes on with each unfinished run of this user, or lists them; again: makes one run and returns its exit code.

    Exit code 0 when all are finished, else that of the last one that is not. One that cannot go on stops no other.
    """
    folder = runs.runs_folder(os.environ, sys.platform, Path.home())
    found = runs.unfinished(folder)
    if not found:
        say_line(t("No run of yours is unfinished."))
        return EXIT_OK
    if not everything:
        for run in found:
            say_line(f"{run.folder}  ({run.script})")
        say_line(t("'narrate resume --all' finishes them."))
        return EXIT_PARTIAL
    code = EXIT_OK
    for run in found:
        say_line(t("Going on: {folder}", folder=run.folder))
        if not run.folder.is_dir() and run.folder.parent.is_dir():  # else a drive that is not there today
            say_line(t("This folder is gone; the run is forgotten."))
            runs.forget(folder, run.folder)
            continue
        try:
            check_same_script(run)
            ended = again(run)
        except FolderBusy as error:  # somebody is finishing it already
            say_line(str(error))
            continue
        except ScriptReplaced as error:
            complain(str(error))
            runs.forget(folder, run.folder)
            ended = EXIT_PARTIAL
        except known as error:
            complain(str(error))
            ended = int(getattr(error, "exit_code", EXIT_ERROR))
        if ended == EXIT_INTERRUPTED:
            return ended
        code = ended or code
    return code


def check_same_script(run: runs.UnfinishedRun) -> None:
    """Raises ScriptReplaced when going on would put the recordings of another script into the folder."""
    records = read_records(run.folder)
    if records is None:
        return
    if not is_same_script(read_script(run.script, given_language(run.language)), records.manifest):
        raise ScriptReplaced(
            t(
                "{script} holds another script now than {folder} was made from, so nothing was made, and this run is "
                "forgotten. To go on in that folder all the same, use 'narrate run' with --into and this folder.",
                script=run.script,
                folder=run.folder,
            )
        )


def script_record(script: Script) -> ScriptRecord:
    return ScriptRecord(name=script.name, sha256=script_sha256(script), language=script.language)


def check_draft(health: Health, allowed: bool) -> None:
    """Nobody is to wake up to a night of robot voice. Raises DraftRefused."""
    if health.draft and not allowed:
        raise DraftRefused(
            t(
                "This server speaks only DRAFT: a robot voice, not yours. For your own voice set REF_AUDIO and "
                "REF_TEXT on the server ('voice-server init' asks for them). To try things out with the robot "
                "voice, add --draft."
            )
        )


def check_voice(plan: Plan, options: RunOptions, folder: Path) -> None:
    """Raises VoiceChanged when finished lines were spoken by another voice and nobody said what to do."""
    if plan.other_voice and not options.revoice and not options.mix:
        raise VoiceChanged(
            t(
                "{count} finished lines in {folder} were spoken by another voice than the server has now. Choose: "
                "--revoice makes them all again with the new voice (the old files go to the folder 'old'), --mix "
                "keeps them and makes only the rest, --new begins a new folder. Or start the server with the "
                "earlier reference audio, text and model.",
                count=plan.other_voice,
                folder=folder,
            )
        )


def _open_folder(
    output: Path, options: RunOptions, script: Script, project: str, health: Health, report: RunReport
) -> tuple[ProjectFolder, Records | None]:
    """The folder to go on in and what is known of it, or a new one; says which and why."""
    if options.into is not None:
        return _into(options, script, project, health)
    records = read_all_records(output)
    folders = {name: each.manifest for name, each in records.items()}
    name = None if options.new else choose_folder(script, project, health.draft, folders)
    if name is not None:
        report.note(t("Going on in the folder {name}: it has this script, or an earlier version of it.", name=name))
        return ProjectFolder.of(_existing(output, name), records[name]), records[name]
    lost = None if options.new else lost_folder(output, records, project, health.draft, wanted_lines(script))
    if lost is not None:
        return _adopted(lost, options, script, project, health, folders), None
    taken = [path.name for path in output.iterdir()] if output.is_dir() else []
    name = folder_name(project, now().date(), health.draft, taken)
    if (
        folders
        and not options.new
        and any(unicodedata.normalize("NFC", m.project) == safe_project_name(project) for m in folders.values())
    ):
        report.note(
            t(
                "Beginning a new folder: the folders of this project that are there hold another script. "
                "(--into FOLDER goes on in one of them all the same.)"
            )
        )
    return new_project(output, name, project, health.draft, script_record(script), PROGRAM, folders), None


def _adopted(
    path: Path, options: RunOptions, script: Script, project: str, health: Health, folders: Mapping[str, Manifest]
) -> ProjectFolder:
    """A folder without any record, on the narrator's word. Raises RecordsLost without it."""
    if not options.adopt:
        raise records_lost(path)
    lines = adopted(wanted_lines(script), script.language, voice_of(health), whole_wavs(path))
    manifest = Manifest(
        program=PROGRAM,
        project=safe_project_name(project),
        created=now().isoformat(timespec="seconds"),
        serial=1 + max((manifest.serial for manifest in folders.values()), default=0),
        draft=health.draft,
        script=script_record(script),
        lines=lines,
    )
    return ProjectFolder(path, manifest)


def _existing(output: Path, name: str) -> Path:
    """The folder whose name is this one in NFC; macOS may have it otherwise."""
    return next(path for path in output.iterdir() if unicodedata.normalize("NFC", path.name) == name)


def _into(options: RunOptions, script: Script, project: str, health: Health) -> tuple[ProjectFolder, Records | None]:
    assert options.into is not None
    folder = options.into.expanduser().resolve()
    records = read_records(folder)
    if records is None:
        folders = {name: each.manifest for name, each in read_all_records(folder.parent).items()}
        if not folder.exists():
            made = new_project(
                folder.parent, folder.name, project, health.draft, script_record(script), PROGRAM, folders
            )
            return made, None
        if whole_wavs(folder):
            return _adopted(folder, options, script, project, health, folders), None
        raise ClientError(
            t(
                "{folder} has no project.json that can be read, so it is no project folder. Give another folder "
                "to --into, or leave it out.",
                folder=folder,
            )
        )
    if records.manifest.draft != health.draft:
        raise DraftRefused(
            t(
                "{folder} and the server do not fit together: only one of them is draft speech. Give another folder to "
                "--into, or leave it out.",
                folder=folder,
            )
        )
    return ProjectFolder.of(folder, records), records


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """The operating system's lock, so a power cut leaves none behind. Raises FolderBusy when another run has it,
    and DiskUnusable where none may be made."""
    locks = folder.parent / ".locks"
    files.patiently(lambda: locks.mkdir(exist_ok=True), locks)
    lock = FileLock(locks / f"{folder.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise FolderBusy(
            t("Another narrate is at work in {folder}. Wait for it, or stop it first.", folder=folder)
        ) from error
    except OSError as error:
        raise files.disk_error(error, Path(lock.lock_file)) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _ctrl_c(stop: asyncio.Event, report: RunReport, in_flight: Callable[[], bool]) -> Iterator[None]:
    """Ctrl-C once finishes the lines in flight, twice stops at once. SIGTERM is like the first."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def first_or_second() -> None:
        if stop.is_set():
            if task is not None:
                task.cancel()
            return
        stop.set()
        if not in_flight():
            report.note(t("Stopped."))
            return
        report.note(
            t("Finishing the lines in flight; Ctrl-C once more stops at once. Finished files are kept either way.")
        )

    def handler(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(first_or_second)

    # Not loop.add_signal_handler: Windows does not have it.
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


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


def split(path: Path, language: str, as_json: bool) -> int:
    """Shows what `run` would make."""
    script = read_script(path, given_language(language))
    rows = [(line, expected_seconds(line.text, script.language)) for line in wanted_lines(script)]
    total = sum(seconds for _, seconds in rows)
    if as_json:
        for line, seconds in rows:
            say_line(json.dumps({**asdict(line), "expected_seconds": round(seconds, 1)}, ensure_ascii=False))
        return EXIT_OK
    if sys.stdout.isatty():
        table = Table(box=None, pad_edge=False)
        table.add_column(t("No."), justify="right")
        table.add_column(t("File"), overflow="fold")
        table.add_column(t("Characters"), justify="right", no_wrap=True)
        table.add_column(t("Expected"), justify="right", no_wrap=True)
        table.add_column(t("Sentence"), overflow="fold", ratio=1)
        for line, seconds in rows:
            table.add_row(
                f"{line.number:03}", line.file, str(len(line.text)), f"{seconds:.1f} s", line.text, style=None
            )
        Console(highlight=False, markup=False).print(table, markup=False)
    else:
        for line, seconds in rows:
            say_line(f"{line.number:03}  {line.file}  {len(line.text)}  {seconds:.1f} s  {line.text}")
    say_line(
        t(
            "{count} sentences in {language}, about {time} of speech.",
            count=len(rows),
            language=script.language,
            time=duration(total),
        )
    )
    if too_long := [line for line, _ in rows if len(line.text) > MAX_TEXT_CHARS]:
        say_line(
            t(
                "Too long for one request, which takes at most {limit} characters: {numbers}. Break these sentences "
                "up, with a full stop or a new line.",
                limit=MAX_TEXT_CHARS,
                numbers=", ".join(f"{line.number:03}" for line in too_long),
            )
        )
    return EXIT_OK


def check_out(file: Path) -> None:
    """Raises ClientError where no file of this name can be written: better before a minute of speaking than after."""
    if file.is_dir():
        raise ClientError(
            t(
                "{file} is a folder. Give --out the name of a file, such as {example}.",
                file=file,
                example=file / "say.wav",
            )
        )
    if not file.parent.is_dir():
        raise ClientError(
            t("There is no folder {folder}. Make it first, or give another name to --out.", folder=file.parent)
        )


def say(settings: ClientSettings, options: SayOptions, gone: Gone = lambda: None) -> int:
    need_key(settings)
    if options.out is not None:
        check_out(options.out)
    language = given_language(options.language) or detect_language(options.text)
    try:
        speech, draft = asyncio.run(_speak_once(settings, options, language, gone))
    except LineRefused as error:  # what was typed is at fault, and not the server
        raise ClientError(str(error)) from error
    if draft:
        say_line(t("This is DRAFT speech, a robot voice: not for publication."))
    say_line(
        t(
            "{seconds} s of speech in {time} s (seed {seed}).",
            seconds=f"{speech.seconds:.1f}",
            time=f"{speech.generation_seconds:.1f}",
            seed=speech.seed,
        )
    )
    if options.out is not None:
        try:
            options.out.write_bytes(speech.wav)
        except OSError as error:
            raise files.disk_error(error, options.out) from error
        say_line(t("Saved: {file}", file=options.out.resolve()))
        return EXIT_OK
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "say.wav"
        file.write_bytes(speech.wav)
        if play.play(file):
            return EXIT_OK
    raise ClientError(not_played(play.players(sys.platform, shutil.which), play.known_players(sys.platform)))


def not_played(tried: Sequence[play.Player], known: Sequence[play.Player]) -> str:
    """Why nothing was heard. known: empty where the system plays by itself."""
    if known and not tried:
        return t(
            "This PC has no program that plays sound (looked for: {players}). Save it with --out FILE.wav.",
            players=", ".join(player[0] for player in known),
        )
    return t(
        "This PC could not play the sound (tried: {players}). Is a loudspeaker connected? Save it with --out FILE.wav.",
        players=", ".join(player[0] for player in tried) or "Windows",
    )


async def _speak_once(settings: ClientSettings, options: SayOptions, language: str, gone: Gone) -> tuple[Speech, bool]:
    patience = Patience(PlainReport(sys.stderr), 0.0 if gone() else 120.0, asyncio.Event(), gone_for_good=gone)
    async with VoiceServer(settings.server, settings.key, WatchedTransport()) as server:
        health = await ready_server(server, patience)
        check_draft(health, options.draft)
        speech = await patiently(lambda: server.speak(options.text, language, options.seed), patience)
        return speech, health.draft


def status(settings: ClientSettings, folder: Path | None, as_json: bool) -> int:
    """Exit code 0 when every line is there and whole, 3 when something is missing."""
    path = folder.expanduser().resolve() if folder else _newest(settings.output)
    records = read_records(path)
    if records is None:
        raise ClientError(t("{folder} has no project.json that can be read, so it is no project folder.", folder=path))
    manifest = records.manifest
    found = ProjectFolder.of(path, records).files_by_sha256()
    there = {name for names in found.values() for name in names}
    states = {
        record.number: line_state(record.status, record.file in found.get(record.sha256, ()), record.file in there)
        for record in manifest.lines
    }
    done = [record for record in manifest.lines if states[record.number] == "made"]
    if as_json:
        say_line(json.dumps({**manifest.model_dump(), "folder": str(path), "states": states}, ensure_ascii=False))
        return EXIT_OK if len(done) == len(states) else EXIT_PARTIAL
    say_line(t("Folder: {folder}", folder=path))
    if records.source is not Source.CURRENT:
        say_line(t("{manifest} is lost or damaged; the next run puts it together again.", manifest=MANIFEST))
    _show_voice(manifest)
    for record in manifest.lines:
        if states[record.number] != "made":
            what = {"failed": t("failed"), "missing": t("missing"), "changed": t("not whole, or changed by hand")}
            reason = f": {record.error}" if record.error else ""
            say_line(f"{record.number:03}  {what[states[record.number]]}{reason}  {record.text}")
    say_line(
        t(
            "{done} of {lines} lines are finished, {audio} of audio.",
            done=len(done),
            lines=len(states),
            audio=duration(sum(record.duration for record in done)),
        )
    )
    if len(done) < len(states):
        say_line(t("'narrate run' with the same script and project makes what is missing."))
        return EXIT_PARTIAL
    return EXIT_OK


def _show_voice(manifest: Manifest) -> None:
    voices = {Voice(r.engine, r.model, r.voice, "") for r in manifest.lines if r.status == "made"}
    for voice in sorted(voices, key=lambda voice: voice.voice):
        say_line(t("Voice: {engine}, {model}, {voice}", engine=voice.engine, model=voice.model, voice=voice.voice))
    if manifest.draft:
        say_line(t("This is DRAFT speech, a robot voice: not for publication."))


def line_state(recorded: str, whole: bool, there: bool) -> str:
    """`made`, `missing`, `failed`, or `changed` for a file that is not the one that was recorded.

    whole: the very file is at its place. there: some file is.
    """
    if recorded == "made" and not whole:
        return "changed" if there else "missing"
    return recorded


def _newest(output: Path) -> Path:
    folders = read_all_records(output)
    if not folders:
        raise ClientError(t("There is no project folder in {folder} yet. 'narrate run' makes one.", folder=output))
    return _existing(output, max(folders, key=lambda name: age_key(folders[name].manifest)))
