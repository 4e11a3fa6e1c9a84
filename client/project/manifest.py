"""project.json: its shape, and the three places where a folder keeps it. Writes nothing.

    project.json            what programs and people read
    .project.json.previous  the copy before it, at most a minute older
    .recordings             a journal: every state of the script and every finished recording, one JSON object a line

Losing any two of them loses nothing. A file is judged by reading it: zeros, half a file or edits by hand that are no
project.json any more count as lost.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from client.project import files
from client.voice_server.api import Voice

MANIFEST = "project.json"
PREVIOUS = ".project.json.previous"
JOURNAL = ".recordings"
FORMAT = 1


class LineRecord(BaseModel):
    """One line of project.json."""

    model_config = ConfigDict(extra="ignore")

    number: int
    text: str
    label: str = ""
    heading: str = ""
    paragraph: int = 0
    file: str
    status: Literal["made", "missing", "failed"] = "missing"
    language: str = ""
    duration: float = 0.0
    """Seconds"""
    sample_rate: int = 0
    """Hertz"""
    seed: int = 0
    engine: str = ""
    model: str = ""
    voice: str = ""
    sound: str = ""
    attempts: int = 0
    """Takes that this line has had from the client's side; decides the next seed."""
    takes: int = 0
    """Takes that the server spoke for the one delivered."""
    confidence: float = 0.0
    """0 to 1: how sure the cut of the dummy sentence is."""
    doubtful: bool = False
    """The cut was not sure in any take: listen to this line."""
    sha256: str = ""
    """Of the whole file."""
    made: str = ""
    """When, with time zone."""
    error: str = ""

    @field_validator("file")
    @classmethod
    def _stays_in_the_folder(cls, value: str) -> str:
        """project.json may come from anywhere; a name in it must not lead out of the folder."""
        pure = PurePosixPath(value.replace("\\", "/"))
        if len(pure.parts) != 1 or pure.name in ("", ".", "..") or ":" in value:
            raise ValueError(value)
        return unicodedata.normalize("NFC", value)

    @property
    def spoken_by(self) -> Voice:
        return Voice(self.engine, self.model, self.voice, self.sound)


class ScriptRecord(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    sha256: str
    language: str


class Manifest(BaseModel):
    """The whole of project.json."""

    model_config = ConfigDict(extra="ignore")

    format: int = FORMAT
    program: str = ""
    project: str
    created: str
    updated: str = ""
    serial: int = 0
    """Counts the folders of one output folder: which is newer, also after the PC's clock was put back."""
    draft: bool = False
    script: ScriptRecord
    lines: list[LineRecord] = Field(default_factory=list)


class JournalEntry(BaseModel):
    """One line of the journal: the whole project, or one line of it."""

    model_config = ConfigDict(extra="ignore")

    project: Manifest | None = None
    line: LineRecord | None = None


class ManifestSource(StrEnum):
    CURRENT = "current"
    JOURNAL = "journal"
    PREVIOUS = "previous"


@dataclass(frozen=True)
class FolderRecords:
    """What the three files of a folder say together."""

    manifest: Manifest
    source: ManifestSource
    """Where the manifest was found."""
    earlier: tuple[LineRecord, ...]
    """Recordings that the journal or the previous copy has and the manifest has not."""
    journal_is_behind: bool
    """Replaying the journal alone would not give this manifest."""


def read_records(folder: Path) -> FolderRecords | None:
    """None where nothing readable is left. Raises FileHeld or DiskUnusable for what is there and cannot be opened."""
    entries = read_journal(folder)
    previous = read_manifest(folder, PREVIOUS)
    journalled = replayed(entries)
    everything = [JournalEntry(project=previous), *entries]
    found = [(ManifestSource.JOURNAL, journalled), (ManifestSource.PREVIOUS, previous)]
    # Journal and previous copy may be cut off too: the one with more recordings is taken, `earlier` holds the rest.
    found.sort(key=lambda each: -_made(each[1]))
    for source, manifest in [(ManifestSource.CURRENT, read_manifest(folder)), *found]:
        if manifest is not None:
            behind = journalled is None or comparison_key(journalled) != comparison_key(manifest)
            return FolderRecords(manifest, source, missing_from(manifest, everything), behind)
    return None


def _made(manifest: Manifest | None) -> int:
    return sum(line.status == "made" for line in manifest.lines) if manifest else 0


def read_manifest(folder: Path, name: str = MANIFEST) -> Manifest | None:
    """None where there is none or it is damaged (the recordings themselves are never touched for that)."""
    content = files.read(folder / name)
    try:
        return None if content is None else Manifest.model_validate_json(content)
    except ValidationError:
        return None


def read_journal(folder: Path) -> list[JournalEntry]:
    """In the order in which they were written; a line that a power cut left half-written is passed over."""
    entries = []
    for line in (files.read(folder / JOURNAL) or b"").split(b"\n"):
        try:
            entries.append(JournalEntry.model_validate_json(line))
        except ValidationError:
            continue
    return entries


def replayed(entries: Sequence[JournalEntry]) -> Manifest | None:
    """The manifest that the journal gives; None where no entry holds the project."""
    manifest: Manifest | None = None
    lines: dict[int, LineRecord] = {}
    for entry in entries:
        if entry.project is not None:
            manifest = entry.project
            lines = {record.number: record for record in manifest.lines}
        elif entry.line is not None and _same_line(lines.get(entry.line.number), entry.line):
            lines[entry.line.number] = entry.line
    return manifest and manifest.model_copy(update={"lines": [lines[number] for number in sorted(lines)]})


def _same_line(known: LineRecord | None, line: LineRecord) -> bool:
    """Another text under this number means that the project's own entry between them was lost."""
    return known is not None and known.text == line.text


def missing_from(manifest: Manifest, entries: Iterable[JournalEntry]) -> tuple[LineRecord, ...]:
    """Finished recordings that the manifest does not hold, the latest first."""
    known = {record.sha256 for record in manifest.lines if record.status == "made"}
    found: dict[str, LineRecord] = {}
    for entry in entries:
        for record in [entry.line] if entry.line else entry.project.lines if entry.project else []:
            if record.status == "made" and record.sha256 and record.sha256 not in known:
                found.pop(record.sha256, None)
                found[record.sha256] = record
    return tuple(reversed(found.values()))


def comparison_key(manifest: Manifest) -> tuple[object, ...]:
    """What must be equal in two manifests for one to stand in for the other."""
    lines = tuple((line.number, line.text, line.file, line.status, line.sha256) for line in manifest.lines)
    return manifest.project, manifest.created, manifest.serial, manifest.draft, manifest.script.sha256, lines


def age_key(manifest: Manifest) -> tuple[int, datetime]:
    """Greater for a newer folder. The serial decides, since a clock can be put back; early folders have serial 0."""
    try:
        created = datetime.fromisoformat(manifest.created)
    except ValueError:
        created = datetime.min.replace(tzinfo=UTC)
    return manifest.serial, created if created.tzinfo else created.replace(tzinfo=UTC)


def read_all_records(output: Path) -> dict[str, FolderRecords]:
    """Folder name (composed) to records, for every project folder in the output folder."""
    found = {}
    for path in sorted(output.iterdir()) if output.is_dir() else []:
        if path.is_dir() and not path.name.startswith("."):
            records = read_records(path)
            if records is not None:
                found[unicodedata.normalize("NFC", path.name)] = records
    return found
