"""A file that is written whole or not at all, also through a power cut: beside its place, synced, renamed.

A reader never meets half a file, and whoever is killed while writing leaves the old one. Knows nothing of what is
written; whoever must wait for files that another program holds (client/project/files.py) takes the steps one by one.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import threading
import time
from pathlib import Path
from typing import IO

PART = ".part"
ABANDONED_S = 24 * 3600.0
"""No writer of ours takes so long."""
NOT_FOR_FOLDERS = frozenset({errno.EINVAL, errno.ENOTSUP})
"""What a network drive answers that knows no fsync of a folder."""


def write_whole(target: Path, content: bytes, *, private: bool = False) -> None:
    """Makes the target's folder where it is missing.

    Several processes and threads may write the same file at once: the last one that finishes wins. Windows refuses to
    replace a file that somebody reads at that moment.
    private: nobody but this user may read the file, from its first byte on, where the system knows that.

    Raises OSError. The old file is then as it was, unless only its folder could not be synced: in that case the new
    file is in place, and a power cut may still undo it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _drop_abandoned(target)
    # The process and the thread: two that write at once must not write into one another's part.
    part = target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident()}{PART}")
    try:
        write_part(part, content, private=private)
        part.replace(target)
    finally:
        _drop(part)
    sync_folder(target.parent)


def write_part(part: Path, content: bytes, *, private: bool = False) -> None:
    """The content, on the disk when this returns. Raises OSError, and leaves nothing half-written then."""
    try:
        with _open_new(part) if private else part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # Ctrl-C too
        _drop(part)
        raise


def sha256_of(path: Path) -> str:
    """64 hex digits of what is in the file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """A rename is on the disk only when its folder is. Windows and some network drives know no such step.

    Raises OSError.
    """
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def _open_new(part: Path) -> IO[bytes]:
    # A file that is there already keeps its rights, and may be a link that somebody laid.
    part.unlink(missing_ok=True)
    return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "wb")


def _drop(part: Path) -> None:
    # The error that led here is the one to tell.
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)


def _drop_abandoned(target: Path) -> None:
    """Parts of writers that were killed. A part that another process may still be writing is younger than a day."""
    for part in target.parent.glob(f"{glob.escape(target.name)}.*{PART}"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED_S:
                part.unlink(missing_ok=True)
