"""A project folder: what is recorded, what is stale, which file belongs to which line.

A recording is known by the hash of its whole file and never by its name, so reading the folder is enough to notice a
rename that was killed half-way, a line that was inserted above, or a file that was edited by hand. What is pure is
decided in plan.py and choice.py; `ProjectFolder` is the only writer. Knows no server.

A file that another program holds stops nothing: it stays under a name that says so (`.part`, `.moving`), the records
know its hash, and `finish` or the next run puts it in its place.
"""

from __future__ import annotations

import hashlib
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from client.errors import DiskUnusable, FileHeld
from client.project import files
from client.project.files import PART
from client.project.manifest import (
    JOURNAL,
    MANIFEST,
    PREVIOUS,
    FolderRecords,
    JournalEntry,
    LineRecord,
    Manifest,
    ScriptRecord,
    comparison_key,
    read_journal,
    read_records,
)
from client.project.plan import Plan, PlannedLine, WantedLine, plan_lines, whole_recordings
from client.voice_server.api import Speech, Voice
from server.script.names import safe_project_name
from server.terminal.messages import t
from server.whole_files import sha256_of

OLD_FOLDER = "old"
"""Where replaced recordings go: nothing is ever deleted."""

MOVING = ".moving"

RECORDING_SUFFIXES = (".wav", ".wav" + MOVING, ".wav" + PART)

PREVIOUS_EVERY_S = 60.0
"""How old the previous copy of project.json becomes while a run works. The journal is as new as the last line."""


def now() -> datetime:
    return datetime.now().astimezone()


@dataclass
class ProjectFolder:
    """The one writer of a project folder."""

    path: Path
    manifest: Manifest
    earlier: tuple[LineRecord, ...] = ()
    """Finished recordings that the manifest has lost and the journal or the previous copy still has."""
    journal_is_behind: bool = True
    held: list[Path] = field(default_factory=list)
    """Files that another program did not let go of in this run."""
    unplaced: set[str] = field(default_factory=set)
    """Names of files whose audio is made and lies beside them under another name."""
    _occupied: set[str] = field(default_factory=set)
    """Names under which the held recording of another line still lies."""
    _not_retired: set[str] = field(default_factory=set)
    """Names of held files that belong into old/."""
    _by_number: dict[int, LineRecord] = field(default_factory=dict)
    _saved: bytes | None = None
    """The content of project.json."""
    _previous_saved: float | None = None
    """When the previous copy was written, on the monotonic clock."""

    def __post_init__(self) -> None:
        self._index()
        self._saved = self._content() if self.manifest.lines else None

    @classmethod
    def of(cls, path: Path, records: FolderRecords) -> ProjectFolder:
        return cls(path, records.manifest, records.earlier, records.journal_is_behind)

    def reload(self) -> None:
        """Reads the records again: another run may have ended just now. Raises FileHeld or DiskUnusable."""
        records = read_records(self.path)
        if records is not None:
            self.manifest, self.earlier = records.manifest, records.earlier
            self.journal_is_behind = records.journal_is_behind
            self.__post_init__()

    def _index(self) -> None:
        self._by_number = {record.number: record for record in self.manifest.lines}

    def record(self, number: int) -> LineRecord:
        return self._by_number[number]

    def plan(self, wanted: Sequence[WantedLine], language: str, voice: Voice, mix: bool) -> Plan:
        """What is recorded and what is to be made, by what lies in the folder now. Raises FileHeld or DiskUnusable."""
        known = [*self.manifest.lines, *self.earlier]
        return plan_lines(wanted, language, voice, known, self.files_by_sha256(), mix)

    def files_by_sha256(self) -> dict[str, list[str]]:
        """Every recording in the folder, those too whose writing or renaming was interrupted.

        Raises FileHeld or DiskUnusable.
        """
        found: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self.path.iterdir()):
            if path.name.endswith(RECORDING_SUFFIXES) and path.is_file():
                digest = files.patiently(lambda path=path: sha256_of(path), path)  # type: ignore[misc]
                found[digest].append(unicodedata.normalize("NFC", path.name))
        return found

    def apply(self, plan: Plan, language: str, script: ScriptRecord) -> None:
        """Gives every kept recording its line's name, moves the others to old/, writes the new manifest.

        May be killed anywhere: recordings are found again by their hash. Raises DiskUnusable.
        """
        before = comparison_key(self.manifest)
        kept = {line.current_name: line.wanted.file for line in plan.lines if line.kept is not None}
        self._tidy(kept)
        for name in plan.stale:
            self._retire(name)
        self._place(kept)
        for line in plan.to_make:
            if line.wanted.file not in self._occupied:
                self._retire(line.wanted.file)
        self.manifest.lines = [_new_record(line, language) for line in plan.lines]
        self.manifest.script = script
        self._index()
        self.journal_is_behind |= comparison_key(self.manifest) != before
        self._journal_project()
        self._save()

    def _tidy(self, kept: Mapping[str, str]) -> None:
        """Deletes half-written leftovers that no line knows; whole ones, whose renaming was interrupted, go to old/."""
        for leftover in [*self.path.glob("*" + PART), *self.path.glob("*.wav" + MOVING)]:
            name = unicodedata.normalize("NFC", leftover.name)
            if name in kept:
                continue
            if name.endswith(PART):
                self._unless_held(leftover, lambda leftover=leftover: files.remove(leftover))  # type: ignore[misc]
            else:
                self._retire(name)

    def _place(self, kept: Mapping[str, str]) -> None:
        """Renames each file to its target, by way of a temporary name: the names may form a ring.

        kept: name now to name wanted.
        """
        self._occupied, self.unplaced = set(), set()
        ready = {}
        for name, target in kept.items():
            if name == target:
                continue
            temporary = name if name.endswith(MOVING) else self._free_name(target)
            if name == temporary or self._move(name, temporary):
                ready[temporary] = target
            else:
                self._occupied.add(name)
                self.unplaced.add(target)
        for temporary, target in ready.items():
            self._put_in_place(temporary, target)

    def _free_name(self, target: str) -> str:
        name, count = target + MOVING, 1
        while (self.path / name).exists():
            count += 1
            name = f"{target.removesuffix('.wav')}~{count}.wav{MOVING}"
        return name

    def _put_in_place(self, name: str, target: str) -> None:
        # A file of unknown origin under our name moves to old/; the recording of another line never does.
        if target in self._occupied or not self._retire(target) or not self._move(name, target):
            self.unplaced.add(target)
        else:
            self.unplaced.discard(target)

    def _move(self, name: str, target: str) -> bool:
        source = self.path / name
        return self._unless_held(source, lambda: files.move(source, self.path / target))

    def _retire(self, name: str) -> bool:
        """Moves the file to old/; true when nothing of that name is left here."""
        source = self.path / name
        self._not_retired.discard(name)
        if not source.exists():
            return True
        old = self.path / OLD_FOLDER
        files.patiently(lambda: old.mkdir(exist_ok=True), old)
        stem = name.removesuffix(MOVING).removesuffix(PART).removesuffix(".wav")
        stamp, count = now().strftime("%Y%m%d-%H%M%S"), 1
        target = old / f"{stem}.{stamp}.wav"
        while target.exists():
            count += 1
            target = old / f"{stem}.{stamp}-{count}.wav"
        if self._unless_held(source, lambda: files.move(source, target)):
            return True
        self._not_retired.add(name)
        return False

    def _unless_held(self, file: Path, step: Callable[[], None]) -> bool:
        try:
            step()
        except FileHeld:
            if file not in self.held:
                self.held.append(file)
            return False
        return True

    def save_line(self, number: int, speech: Speech, language: str, attempts: int) -> LineRecord:
        """Writes the whole WAV as `.part`, then its hash into the records, then renames it.

        Killed between any two of these steps, the recording is either unknown and unfinished or found by its hash.
        Where another program holds a file of that name, the audio waits beside it (`unplaced`). Raises DiskUnusable
        where the audio cannot be written; nothing of the line is left then.
        """
        record = self.record(number)
        part = files.write_part(self.path / record.file, speech.wav)
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
        try:
            recorded = self._put(updated)
        except DiskUnusable:
            if self._known_to_journal(updated):
                self.unplaced.add(record.file)
            else:
                self._set(record)
                self._unless_held(part, lambda: files.remove(part))
            raise
        if recorded:
            self._put_in_place(part.name, record.file)
        else:  # no recording gets its name before the records know its hash
            self.unplaced.add(record.file)
        return updated

    def save_failure(self, number: int, sentence: str, attempts: int) -> LineRecord:
        """Raises DiskUnusable."""
        updated = self.record(number).model_copy(update={"status": "failed", "error": sentence, "attempts": attempts})
        self._put(updated)
        return updated

    def _set(self, record: LineRecord) -> None:
        self._by_number[record.number] = record
        self.manifest.lines = [self._by_number[number] for number in sorted(self._by_number)]

    def _put(self, record: LineRecord) -> bool:
        """False when neither the journal nor project.json could take it, because both are held."""
        self._set(record)
        journalled = self._journal(JournalEntry(line=record))
        self.journal_is_behind |= not journalled
        return self._save() or journalled

    def _known_to_journal(self, record: LineRecord) -> bool:
        return any(entry.line and entry.line.sha256 == record.sha256 for entry in read_journal(self.path))

    def _journal_project(self) -> None:
        if self.journal_is_behind:
            self.journal_is_behind = not self._journal(JournalEntry(project=self.manifest))

    def _journal(self, entry: JournalEntry) -> bool:
        file, line = self.path / JOURNAL, entry.model_dump_json(exclude_defaults=True).encode()
        return self._unless_held(file, lambda: files.append_line(file, line))

    def _content(self) -> bytes:
        return (self.manifest.model_dump_json(indent=1) + "\n").encode()

    def _save(self, previous_too: bool = False) -> bool:
        self.manifest.updated = now().isoformat(timespec="seconds")
        content = self._content()
        now_s = time.monotonic()
        if previous_too or self._previous_saved is None or now_s - self._previous_saved >= PREVIOUS_EVERY_S:
            # Content that is known to be whole, never a copy of what lies on the disk.
            older = content if previous_too or self._saved is None else self._saved
            previous = self.path / PREVIOUS
            if self._unless_held(previous, lambda: files.write_atomically(previous, older)):
                self._previous_saved = now_s
        file = self.path / MANIFEST
        saved = self._unless_held(file, lambda: files.write_atomically(file, content))
        if saved:
            self._saved = content
        return saved

    def finish(self) -> None:
        """At the end of a run: brings all records up to date and places the files that are no longer held.

        Afterwards `held` and `unplaced` name what is still held. Raises DiskUnusable.
        """
        self.held = []
        self._journal_project()
        self._save(previous_too=True)
        for name in sorted(self._not_retired - {record.file for record in self.manifest.lines}):
            self._retire(name)
        if self.unplaced:
            whole = whole_recordings(self.manifest.lines, self.files_by_sha256())
            self._place({name: record.file for record, name in whole})


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
    output: Path,
    name: str,
    project: str,
    draft: bool,
    script: ScriptRecord,
    program: str,
    folders: Mapping[str, Manifest] | None = None,
) -> ProjectFolder:
    """Makes the folder; folders: those that are there already. Raises DiskUnusable when that is not allowed there."""
    path = output / name
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise DiskUnusable(
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
        serial=1 + max((manifest.serial for manifest in (folders or {}).values()), default=0),
        draft=draft,
        script=script,
    )
    return ProjectFolder(path, manifest)
