"""The part of a file that is here already. Knows no network."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from server.downloads.answers import PartNote
from server.whole_files import sync_folder, write_whole

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Fetched:
    size: int
    """bytes"""
    sha256: str


class Part:
    """The unfinished file beside its target, the hash of what is in it, and the note that says whose it is."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.note_path = target.with_name(target.name + ".part.json")
        self.note = self._read_note()
        self._file: IO[bytes] = self.path.open("r+b" if self.path.exists() else "w+b", buffering=0)
        self.length = self.path.stat().st_size
        self._synced = 0
        self._digest = hashlib.sha256()
        self._digested = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        if not self.length:
            self.discard()

    @property
    def sha256(self) -> str:
        """Of all that is in the part."""
        self._digest_rest()
        return self._digest.hexdigest()

    def keep(self, length: int) -> None:
        """Drops what stands behind so many bytes."""
        if length != self.length:
            self._file.truncate(length)
            self.length = length
        if self._digested > length:
            self._digest, self._digested = hashlib.sha256(), 0
        self._synced = min(self._synced, length)

    def write(self, piece: bytes, sync_bytes: int) -> None:
        self._digest_rest()
        self._file.seek(self.length)
        view = memoryview(piece)
        while view:  # an unbuffered write may take only the first bytes
            view = view[self._file.write(view) :]
        self._digest.update(piece)
        self.length += len(piece)
        self._digested = self.length
        # At each step's border, so that `safe_length` never counts a byte that was not synced.
        if self.length // sync_bytes > self._synced // sync_bytes:
            os.fsync(self._file.fileno())
            self._synced = self.length

    def write_note(self, note: PartNote) -> None:
        if note != self.note:
            write_whole(self.note_path, json.dumps(dataclasses.asdict(note)).encode())
            self.note = note

    def finish(self) -> Fetched:
        """Gives the file its name."""
        fetched = Fetched(self.length, self.sha256)
        os.fsync(self._file.fileno())
        self._file.close()
        self.path.replace(self.target)
        sync_folder(self.target.parent)
        self.note_path.unlink(missing_ok=True)
        return fetched

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)

    def _digest_rest(self) -> None:
        """Reads what an earlier run left: once, when the hash is first needed."""
        self._file.seek(self._digested)
        while self._digested < self.length:
            piece = self._file.read(min(READ_BYTES, self.length - self._digested))
            if not piece:
                raise OSError(errno.EIO, "the part became shorter while it was read")
            self._digest.update(piece)
            self._digested += len(piece)

    def _read_note(self) -> PartNote | None:
        try:
            return PartNote(**json.loads(self.note_path.read_text("utf-8")))
        except (FileNotFoundError, ValueError, TypeError):  # no note, or not one of ours
            return None
