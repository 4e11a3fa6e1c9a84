"""What was downloaded into a folder, one small JSON beside the files, and whether the files are still that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from server.terminal.messages import t
from server.whole_files import sha256_of, write_whole

RECORD = "downloaded.json"
SLOW_BYTES = 500_000_000
"""Hashing so much takes a second and more, and is announced."""


class FileNote(BaseModel):
    model_config = ConfigDict(frozen=True)

    size: int
    """bytes"""
    sha256: str | None = None
    """Published by the hub, else noted when the file was downloaded first; None before."""
    published: bool = False
    mtime_ns: int | None = None
    """The file's time when its hash was last right; None until the file is downloaded."""


class Record(BaseModel):
    model_config = ConfigDict(frozen=True)

    model: str
    revision: str
    """The commit, 40 hex digits."""
    files: dict[str, FileNote]

    def with_file(self, name: str, note: FileNote) -> Record:
        return self.model_copy(update={"files": self.files | {name: note}})


class Look(Enum):
    GONE = "gone"
    SAME = "same"
    OTHER = "other"
    """Another size, or another hash."""
    UNSURE = "unsure"
    """Only the hash can tell."""


@dataclass(frozen=True)
class Kept:
    """What a look at a folder found. Names are those in the record."""

    record: Record | None
    """None: nothing was downloaded into this folder by this program."""
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    """Not the published files."""
    changed: tuple[str, ...] = ()
    """Other than at the first download; the hub publishes no hash of these."""


def look(note: FileNote, size: int | None, mtime_ns: int | None) -> Look:
    """size, mtime_ns: the file's now, None when it is not there. A file whose size and time are those of the day when
    its hash was right is taken for the same: reading 4 GB takes ten seconds of every start."""
    if size is None or note.mtime_ns is None:
        return Look.GONE
    if size != note.size:
        return Look.OTHER
    return Look.SAME if mtime_ns == note.mtime_ns else Look.UNSURE


def read_record(folder: Path) -> Record | None:
    """None where there is none, or none that can be read."""
    try:
        return Record.model_validate_json((folder / RECORD).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def write_record(folder: Path, record: Record) -> None:
    """Raises OSError."""
    write_whole(folder / RECORD, (record.model_dump_json(indent=1) + "\n").encode())


def check_kept(folder: Path, say: Callable[[str], None]) -> Kept:
    """Looks at what was downloaded into this folder, hashing only what its size and time leave open.

    Raises OSError when a file cannot be read.
    """
    record = read_record(folder)
    if record is None:
        return Kept(None)
    found = {name: _look_at(folder / name, note, say) for name, note in record.files.items()}
    renewed = record
    for name, (state, mtime_ns) in found.items():
        if state is Look.SAME and mtime_ns != record.files[name].mtime_ns:
            renewed = renewed.with_file(name, record.files[name].model_copy(update={"mtime_ns": mtime_ns}))
    if renewed != record:
        _write_if_allowed(folder, renewed)
    missing = tuple(name for name, (state, _) in found.items() if state is Look.GONE)
    other = [name for name, (state, _) in found.items() if state is Look.OTHER]
    return Kept(
        renewed,
        missing,
        tuple(name for name in other if record.files[name].published),
        tuple(name for name in other if not record.files[name].published),
    )


def _look_at(path: Path, note: FileNote, say: Callable[[str], None]) -> tuple[Look, int | None]:
    """GONE, SAME or OTHER, and the file's time."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Look.GONE, None
    state = look(note, stat.st_size, stat.st_mtime_ns)
    if state is Look.UNSURE:
        if stat.st_size >= SLOW_BYTES:
            say(t("checking {file}", file=path.name))
        state = Look.SAME if sha256_of(path) == note.sha256 else Look.OTHER
    return state, stat.st_mtime_ns


def _write_if_allowed(folder: Path, record: Record) -> None:
    try:
        write_record(folder, record)
    except OSError:
        # A model on a read-only drive: its files are hashed again at the next start.
        return
