"""narrate status: what a project folder holds."""

from __future__ import annotations

import json
from pathlib import Path

from client.errors import ClientError
from client.project.folder import ProjectFolder
from client.project.manifest import MANIFEST, Manifest, ManifestSource, age_key, read_all_records, read_records
from client.run.opening import existing_folder
from client.run.screen import duration
from client.settings import ClientSettings
from client.voice_server.api import Voice
from server.terminal.console import say as say_line
from server.terminal.exit_codes import ExitCode
from server.terminal.messages import t


def show_status(settings: ClientSettings, folder: Path | None, as_json: bool) -> ExitCode:
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
        return ExitCode.OK if len(done) == len(states) else ExitCode.PARTIAL
    say_line(t("Folder: {folder}", folder=path))
    if records.source is not ManifestSource.CURRENT:
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
        return ExitCode.PARTIAL
    return ExitCode.OK


def _show_voice(manifest: Manifest) -> None:
    voices = {Voice(r.engine, r.model, r.voice, "") for r in manifest.lines if r.status == "made"}
    for voice in sorted(voices, key=lambda voice: voice.voice):
        say_line(t("Voice: {engine}, {model}, {voice}", engine=voice.engine, model=voice.model, voice=voice.voice))
    if manifest.draft:
        say_line(t("This is DRAFT speech, a robot voice: not for publication."))


def line_state(recorded: str, whole: bool, there: bool) -> str:
    """`made`, `missing`, `failed`, or `changed` for a file that is not the one that was recorded.

    whole: the recorded file itself has the name of the line. there: some file has it.
    """
    if recorded == "made" and not whole:
        return "changed" if there else "missing"
    return recorded


def _newest(output: Path) -> Path:
    folders = read_all_records(output)
    if not folders:
        raise ClientError(t("There is no project folder in {folder} yet. 'narrate run' makes one.", folder=output))
    return existing_folder(output, max(folders, key=lambda name: age_key(folders[name].manifest)))
