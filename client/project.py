"""A project folder and its project.json: what is recorded, what is stale, which file belongs to which line.

Audio is known by the hash of its whole file and never by its name, so a rename that was killed half-way, a line
inserted above or a file that somebody edited are all found out by looking. Deciding (`plan_lines`, `choose_folder`)
is pure; `ProjectFolder` is the only place that writes. Knows no server.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from client.api import Speech, Voice
from client.errors import ClientError
from client.names import line_file_names, safe_project_name
from client.script import Script
from server.contract import MAX_SEED
from server.messages import t

MANIFEST = "project.json"
FORMAT = 1
OLD_FOLDER = "old"
"""Where replaced recordings go: nothing is ever deleted."""
PART = ".part"
MOVING = ".moving"
SAME_SCRIPT_SHARE = 0.5
"""A script is a new version of a folder's script when at least this share of its sentences is there already."""


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
    draft: bool = False
    script: ScriptRecord
    lines: list[LineRecord] = Field(default_factory=list)


@dataclass(frozen=True)
class WantedLine:
    """A line as the script of now wants it."""

    number: int
    text: str
    label: str
    heading: str
    paragraph: int
    file: str


@dataclass(frozen=True)
class PlannedLine:
    wanted: WantedLine
    kept: LineRecord | None
    """The finished recording that serves this line; None: it must be made."""
    current_name: str
    """Name that the recording's file has now; empty when there is none."""
    attempts: int
    """Takes that a line with this text has had before."""


@dataclass(frozen=True)
class Plan:
    lines: tuple[PlannedLine, ...]
    stale: tuple[str, ...]
    """Files of earlier lines that no line wants any more."""
    other_voice: int
    """Whole recordings of these very sentences by another voice."""

    @property
    def to_make(self) -> tuple[PlannedLine, ...]:
        return tuple(line for line in self.lines if line.kept is None)


def wanted_lines(script: Script) -> tuple[WantedLine, ...]:
    names = line_file_names([line.label_source for line in script.lines], [line.text for line in script.lines])
    return tuple(
        WantedLine(number, line.text, line.label_source, line.heading, line.paragraph, name)
        for number, (line, name) in enumerate(zip(script.lines, names, strict=True), start=1)
    )


def script_sha256(script: Script) -> str:
    """Of what is spoken, not of the file: a comment or an empty line more is still the same script."""
    return hashlib.sha256("\n".join(line.text for line in script.lines).encode()).hexdigest()


def similarity(script: Script, manifest: Manifest) -> float:
    """Share of the script's sentences that the folder's script has too, each counted as often as it stands there."""
    ours = Counter(line.text for line in script.lines)
    theirs = Counter(line.text for line in manifest.lines)
    return (ours & theirs).total() / max(1, ours.total())


def is_same_script(script: Script, manifest: Manifest) -> bool:
    return script_sha256(script) == manifest.script.sha256 or similarity(script, manifest) >= SAME_SCRIPT_SHARE


def folder_name(project: str, day: date, draft: bool, taken: Iterable[str]) -> str:
    """`2026-02-19_유튜브인트로`; `_draft` for draft speech; `_2`, `_3`, ... where the name is taken."""
    base = f"{day.isoformat()}_{safe_project_name(project)}" + ("_draft" if draft else "")
    used = {unicodedata.normalize("NFC", name).casefold() for name in taken}
    name, count = base, 1
    while name.casefold() in used:
        count += 1
        name = f"{base}_{count}"
    return name


def choose_folder(script: Script, project: str, draft: bool, folders: Mapping[str, Manifest]) -> str | None:
    """The newest folder of this project that this script continues; None: a new one is to be made."""
    key = safe_project_name(project).casefold()
    candidates = [
        (manifest.created, name)
        for name, manifest in folders.items()
        if _project_key(manifest.project) == key and manifest.draft == draft and is_same_script(script, manifest)
    ]
    return max(candidates)[1] if candidates else None


def _project_key(project: str) -> str:
    return unicodedata.normalize("NFC", project).casefold()


def plan_lines(
    wanted: Sequence[WantedLine],
    language: str,
    voice: Voice,
    old: Sequence[LineRecord],
    files: Mapping[str, Sequence[str]],
    mix: bool,
) -> Plan:
    """Which recordings serve which lines, and what is left to make.

    old: the folder's records. files: SHA-256 to the names of the files that have it now. mix: recordings of another
    voice serve too.
    """
    whole = _whole_recordings(old, files)
    attempts: dict[str, int] = defaultdict(int)
    for record in old:
        attempts[record.text] = max(attempts[record.text], record.attempts)

    def serves(record: LineRecord, line: WantedLine) -> bool:
        return record.text == line.text and record.language == language and (mix or record.spoken_by == voice)

    taken: dict[int, tuple[LineRecord, str]] = {}  # line number to recording
    free = list(whole)
    # A line that stands where it stood keeps its own recording, also where the same sentence stands twice.
    for same_number in (True, False):
        for line in wanted:
            if line.number in taken:
                continue
            for i, (record, _) in enumerate(free):
                if serves(record, line) and (not same_number or record.number == line.number):
                    taken[line.number] = free.pop(i)
                    break
    texts = {line.text for line in wanted}
    other_voice = sum(
        1
        for record, _ in free
        if record.text in texts
        and (record.engine, record.model, record.voice) != (voice.engine, voice.model, voice.voice)
    )
    lines = []
    for line in wanted:
        kept, name = taken.get(line.number, (None, ""))
        lines.append(PlannedLine(line, kept, name, attempts[line.text]))
    kept_names = {name for _, name in taken.values()}
    known = {record.file for record in old} | {name for _, name in whole}
    present = {name for names in files.values() for name in names}
    return Plan(tuple(lines), tuple(sorted((known & present) - kept_names)), other_voice)


def _whole_recordings(old: Sequence[LineRecord], files: Mapping[str, Sequence[str]]) -> list[tuple[LineRecord, str]]:
    """Finished records whose very file is still there, whatever its name; each file once."""
    used: set[str] = set()
    whole = []
    for record in old:
        if record.status != "made" or not record.sha256:
            continue
        names = [name for name in files.get(record.sha256, ()) if name not in used]
        if names:
            name = record.file if record.file in names else names[0]
            used.add(name)
            whole.append((record, name))
    return whole


def line_seed(text: str, language: str, attempt: int) -> int:
    """The same for the same sentence and attempt, so that a line made again after a crash is the same take."""
    digest = hashlib.sha256(f"{language}\0{text}\0{attempt}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4]) % (MAX_SEED + 1)


def now() -> datetime:
    return datetime.now().astimezone()


def read_manifests(output: Path) -> dict[str, Manifest]:
    """Folder name to manifest, for every project folder in the output folder that can be read."""
    found = {}
    if output.is_dir():
        for path in sorted(output.glob(f"*/{MANIFEST}")):
            manifest = read_manifest(path.parent)
            if manifest is not None:
                found[unicodedata.normalize("NFC", path.parent.name)] = manifest
    return found


def read_manifest(folder: Path) -> Manifest | None:
    """None where there is none or it is damaged (the recordings themselves are never touched for that)."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


@dataclass
class ProjectFolder:
    """The one writer of a project folder."""

    path: Path
    manifest: Manifest
    _by_number: dict[int, LineRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._index()

    def _index(self) -> None:
        self._by_number = {record.number: record for record in self.manifest.lines}

    def record(self, number: int) -> LineRecord:
        return self._by_number[number]

    def files_by_sha256(self) -> dict[str, list[str]]:
        """Every recording in the folder, those too whose writing or renaming was interrupted."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self.path.iterdir()):
            if path.is_file() and path.name.endswith((".wav", ".wav" + MOVING, ".wav" + PART)):
                found[hashlib.sha256(path.read_bytes()).hexdigest()].append(unicodedata.normalize("NFC", path.name))
        return found

    def apply(self, plan: Plan, language: str, script: ScriptRecord) -> None:
        """Gives every kept recording its line's name, moves the others to old/, writes the new manifest.

        May be killed anywhere: recordings are found again by their hash.
        """
        kept = {line.current_name: line.wanted.file for line in plan.lines if line.kept is not None}
        for leftover in self.path.glob("*" + PART):
            if unicodedata.normalize("NFC", leftover.name) not in kept:
                leftover.unlink()
        for name in plan.stale:
            self._retire(name)
        moving = {name: target for name, target in kept.items() if name != target}
        for name, target in list(moving.items()):
            # First all out of the way, then all to their places: names may form a ring.
            temporary = target + MOVING
            if name != temporary:
                self._retire(temporary)
                (self.path / name).replace(self.path / temporary)
        for target in moving.values():
            self._retire(target)  # a stranger's file at a place that is ours
            (self.path / (target + MOVING)).replace(self.path / target)
        for line in plan.to_make:
            self._retire(line.wanted.file)
        self.manifest.lines = [_new_record(line, language) for line in plan.lines]
        self.manifest.script = script
        self._index()
        self.save()

    def _retire(self, name: str) -> None:
        source = self.path / name
        if not source.exists():
            return
        old = self.path / OLD_FOLDER
        old.mkdir(exist_ok=True)
        stem, stamp, count = name.removesuffix(MOVING).removesuffix(".wav"), now().strftime("%Y%m%d-%H%M%S"), 1
        target = old / f"{stem}.{stamp}.wav"
        while target.exists():
            count += 1
            target = old / f"{stem}.{stamp}-{count}.wav"
        source.replace(target)

    def save_line(self, number: int, speech: Speech, language: str, attempts: int) -> LineRecord:
        """The WAV whole and on the disk, then the manifest that knows its hash, then the name.

        Killed between any two of these steps, the recording is either unknown and unfinished or found by its hash.
        """
        record = self.record(number)
        part = write_part(self.path / record.file, speech.wav)
        updated = record.model_copy(
            update={
                "status": "made",
                "language": language,
                "duration": round(speech.seconds, 6),
                "sample_rate": speech.sample_rate,
                "seed": speech.seed,
                "engine": speech.voice.engine,
                "model": speech.voice.model,
                "voice": speech.voice.voice,
                "sound": speech.voice.sound,
                "attempts": attempts,
                "takes": speech.takes,
                "confidence": speech.confidence,
                "doubtful": speech.doubtful,
                "sha256": hashlib.sha256(speech.wav).hexdigest(),
                "made": now().isoformat(timespec="seconds"),
                "error": "",
            }
        )
        self._put(updated)
        part.replace(self.path / record.file)
        return updated

    def save_failure(self, number: int, sentence: str, attempts: int) -> LineRecord:
        updated = self.record(number).model_copy(update={"status": "failed", "error": sentence, "attempts": attempts})
        self._put(updated)
        return updated

    def _put(self, record: LineRecord) -> None:
        self._by_number[record.number] = record
        self.manifest.lines = [self._by_number[number] for number in sorted(self._by_number)]
        self.save()

    def save(self) -> None:
        self.manifest.updated = now().isoformat(timespec="seconds")
        text = self.manifest.model_dump_json(indent=1) + "\n"
        write_atomically(self.path / MANIFEST, text.encode())


def _new_record(line: PlannedLine, language: str) -> LineRecord:
    wanted = line.wanted
    place = {
        "number": wanted.number,
        "label": wanted.label,
        "heading": wanted.heading,
        "paragraph": wanted.paragraph,
        "file": wanted.file,
    }
    if line.kept is not None:
        return line.kept.model_copy(update=place)
    return LineRecord.model_validate({**place, "text": wanted.text, "language": language, "attempts": line.attempts})


def new_project(
    output: Path, name: str, project: str, draft: bool, script: ScriptRecord, program: str
) -> ProjectFolder:
    """Makes the folder. Raises ClientError when that is not allowed there."""
    path = output / name
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise ClientError(
            t(
                "The folder {folder} cannot be made ({reason}). Choose another place with NARRATE_OUTPUT or --output.",
                folder=path,
                reason=error.strerror or error,
            )
        ) from error
    manifest = Manifest(
        program=program,
        project=safe_project_name(project),
        created=now().isoformat(timespec="seconds"),
        draft=draft,
        script=script,
    )
    return ProjectFolder(path, manifest)


def write_part(target: Path, content: bytes) -> Path:
    """The content, whole and on the disk, under the target's name with `.part` behind it."""
    part = target.with_name(target.name + PART)
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return part


def write_atomically(target: Path, content: bytes) -> None:
    """Whole or not at all, also through a power cut: written beside, synced, renamed."""
    write_part(target, content).replace(target)
    if os.name == "posix":  # the rename itself is on the disk only when the folder is
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
