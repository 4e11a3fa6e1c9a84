"""Writes, moves and deletes files, waits for those that another program holds, and says why one cannot be written.

Knows no project and no server.

On Windows a file that a virus scanner, a sync program or an editor has open cannot be renamed, replaced or deleted;
most let go within a second. So every such step is tried for a while (`PAUSES_S`) before FileHeld is raised.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from client.errors import DiskUnusable, FileHeld
from server import whole_files
from server.terminal.messages import t

PART = whole_files.PART
PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Between attempts at a file that another program holds; 3 s in all."""
HELD_WINERRORS = frozenset({5, 32, 33})
"""ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION (winerror.h)."""
HELD_ERRNOS = frozenset({errno.EBUSY, errno.ETXTBSY})
"""Errors of other systems for a held file; NAS shares give EBUSY."""
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})

Result = TypeVar("Result")


def is_held(error: OSError, platform: str = sys.platform) -> bool:
    """Whether another program has the file, so that trying again makes sense."""
    if getattr(error, "winerror", None) in HELD_WINERRORS or error.errno in HELD_ERRNOS:
        return True
    # On Windows open() goes through the C runtime, which gives EACCES for all three.
    return platform == "win32" and error.errno == errno.EACCES


def patiently(step: Callable[[], Result], file: Path) -> Result:
    """Does the step, again and again while another program holds the file.

    Raises FileHeld in the end, and DiskUnusable for what waiting does not help.
    """
    for pause in (*PAUSES_S, None):
        try:
            return step()
        except OSError as error:
            if not is_held(error):
                raise disk_error(error, file) from error
            if pause is None:
                raise FileHeld(held_sentence([file])) from error
            time.sleep(pause)
    raise AssertionError("the last round returned or raised")


def held_sentence(files: Sequence[Path]) -> str:
    return t(
        "Another program holds {files}: an editor, a virus scanner or a sync program. Close the file there, then run "
        "the same command again.",
        files=", ".join(str(file) for file in files),
    )


def disk_error(error: OSError, file: Path) -> DiskUnusable:
    """The sentence for a file that cannot be written."""
    if error.errno in FULL_ERRNOS:
        return DiskUnusable(
            t(
                "The disk is full: {file} could not be written. Everything finished before is saved. Make room, then "
                "run the same command again.",
                file=file,
            )
        )
    return DiskUnusable(
        t(
            "{file} could not be written ({reason}). Is the disk or network drive still there, and may you write in "
            "that folder? What is finished is saved; run the same command again when that is put right.",
            file=file,
            reason=error.strerror or type(error).__name__,
        )
    )


def move(source: Path, target: Path) -> None:
    """Raises FileHeld or DiskUnusable."""
    patiently(lambda: source.replace(target), source if not target.exists() else target)


def remove(file: Path) -> None:
    """Raises FileHeld or DiskUnusable."""
    patiently(lambda: file.unlink(missing_ok=True), file)


def read(file: Path) -> bytes | None:
    """None where there is no such file. Raises FileHeld or DiskUnusable."""

    def step() -> bytes | None:
        try:
            return file.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    return patiently(step, file)


def write_part(target: Path, content: bytes) -> Path:
    """Writes the content, whole and synced, to the target's name with `.part` behind it, and returns that path.

    Raises FileHeld or DiskUnusable, and leaves nothing half-written then.
    """
    part = target.with_name(target.name + PART)

    def step() -> Path:
        whole_files.write_part(part, content)
        return part

    return patiently(step, part)


def write_atomically(target: Path, content: bytes) -> None:
    """Whole or not at all, also through a power cut: written beside, synced, renamed. Raises like write_part."""
    move(write_part(target, content), target)
    sync_folder(target.parent)


def append_line(file: Path, line: bytes) -> None:
    """Adds a line, which is on the disk when this returns. A last line that was cut off keeps a line of its own.

    Raises FileHeld or DiskUnusable.
    """

    def step() -> None:
        with file.open("ab+") as out:
            if out.seek(0, os.SEEK_END) > 0:
                out.seek(-1, os.SEEK_END)
                if out.read(1) != b"\n":
                    out.write(b"\n")
            out.write(line + b"\n")
            out.flush()
            os.fsync(out.fileno())

    patiently(step, file)


def sync_folder(folder: Path) -> None:
    """See whole_files.sync_folder. Raises DiskUnusable."""
    try:
        whole_files.sync_folder(folder)
    except OSError as error:
        raise disk_error(error, folder) from error
