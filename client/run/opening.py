"""The folder that a run works in: finds, makes or adopts it, and locks it against a second run."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from client.errors import ClientError, DraftRefused, FolderBusy, VoiceChanged
from client.project import files
from client.project.choice import choose_folder, folder_name, script_sha256
from client.project.folder import ProjectFolder, new_project, now
from client.project.manifest import FolderRecords, Manifest, ScriptRecord, read_all_records, read_records
from client.project.plan import Plan, wanted_lines
from client.project.rebuild import adopted, lost_folder, records_lost, whole_wavs
from client.run.narrate import voice_of
from client.run.options import RunOptions
from client.run.report import RunReport
from server.contract.http import Health
from server.script.lines import Script
from server.script.names import safe_project_name
from server.terminal.messages import t

PROGRAM = f"overnight-narrator {version('overnight-narrator')}"


def script_record(script: Script) -> ScriptRecord:
    return ScriptRecord(name=script.name, sha256=script_sha256(script), language=script.language)


def check_voice(plan: Plan, options: RunOptions, folder: Path) -> None:
    """Raises VoiceChanged when finished lines have another voice and neither --revoice nor --mix was given."""
    if plan.other_voice and not options.revoice and not options.mix:
        raise VoiceChanged(
            t(
                "{count} finished lines in {folder} were spoken by another voice than the server has now. Choose: "
                "--revoice makes them all again with the new voice (the old files go to the folder 'old'), --mix "
                "keeps them and makes only the rest, --new begins a new folder. Or start the server with the "
                "earlier voice recording, text and model.",
                count=plan.other_voice,
                folder=folder,
            )
        )


def open_folder(
    output: Path, options: RunOptions, script: Script, health: Health, report: RunReport
) -> tuple[ProjectFolder, FolderRecords | None]:
    """The folder to go on in with its records, or a new one without; tells the report which and why."""
    project = options.project_name
    if options.into is not None:
        return _into(options.into.expanduser().resolve(), options, script, health)
    records = read_all_records(output)
    folders = {name: each.manifest for name, each in records.items()}
    name = None if options.new else choose_folder(script, project, health.draft, folders)
    if name is not None:
        report.note(t("Going on in the folder {name}: it has this script, or an earlier version of it.", name=name))
        return ProjectFolder.of(existing_folder(output, name), records[name]), records[name]
    lost = None if options.new else lost_folder(output, records, project, health.draft, wanted_lines(script))
    if lost is not None:
        return _adopted(lost, options, script, health, folders), None
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
    path: Path, options: RunOptions, script: Script, health: Health, folders: Mapping[str, Manifest]
) -> ProjectFolder:
    """A folder whose records are all lost, its WAVs taken for what their names say.

    Raises RecordsLost unless --adopt was given.
    """
    if not options.adopt:
        raise records_lost(path)
    lines = adopted(wanted_lines(script), script.language, voice_of(health), whole_wavs(path))
    manifest = Manifest(
        program=PROGRAM,
        project=safe_project_name(options.project_name),
        created=now().isoformat(timespec="seconds"),
        serial=1 + max((manifest.serial for manifest in folders.values()), default=0),
        draft=health.draft,
        script=script_record(script),
        lines=lines,
    )
    return ProjectFolder(path, manifest)


def existing_folder(output: Path, name: str) -> Path:
    """The folder whose name in NFC is this one; on the disk, macOS may have it in NFD."""
    return next(path for path in output.iterdir() if unicodedata.normalize("NFC", path.name) == name)


def _into(
    folder: Path, options: RunOptions, script: Script, health: Health
) -> tuple[ProjectFolder, FolderRecords | None]:
    """The folder that --into names, with any script. Raises ClientError."""
    records = read_records(folder)
    if records is None:
        folders = {name: each.manifest for name, each in read_all_records(folder.parent).items()}
        if not folder.exists():
            made = new_project(
                folder.parent,
                folder.name,
                options.project_name,
                health.draft,
                script_record(script),
                PROGRAM,
                folders,
            )
            return made, None
        if whole_wavs(folder):
            return _adopted(folder, options, script, health, folders), None
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
def alone_in(folder: Path) -> Iterator[None]:
    """Holds a lock of the operating system, which no power cut leaves behind.

    Raises FolderBusy when another run has the lock, and DiskUnusable where no lock file can be made.
    """
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
