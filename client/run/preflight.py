"""Checks before a run begins, so that it does not fail at two in the morning: room, permissions, path lengths.

The server is not checked here: the first missing line is its test (see narrate.py).
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from client.errors import DiskUnusable, FileHeld
from client.project import files
from client.project.folder import MOVING
from client.project.plan import Plan, PlannedLine
from server.terminal.messages import t
from server.text.pace import expected_seconds

BYTES_PER_SAMPLE = 2
DEFAULT_SAMPLE_RATE = 24_000
LENGTH_MARGIN = 1.5
"""A slow voice makes all sentences longer than expected."""
SPACE_MARGIN_BYTES = 50_000_000
"""For the records, for replaced takes in old/, and for the system itself, which suffers on a full disk."""
MAX_WINDOWS_PATH = 240
"""Windows' limit is 259; cloud folders and editors add to a path."""
PROBE = ".narrate-writes"
"""Probe file. Where it cannot be deleted, the next run removes it with the other `.part` files."""


def space_needed_bytes(lines: Sequence[PlannedLine], language: str, sample_rate: int) -> int:
    """Bytes for the lines that are to be made. sample_rate: Hertz; 0 where the server does not say."""
    seconds = sum(expected_seconds(line.wanted.text, language) for line in lines)
    rate = sample_rate or DEFAULT_SAMPLE_RATE
    return round(seconds * rate * BYTES_PER_SAMPLE * LENGTH_MARGIN) + SPACE_MARGIN_BYTES


def check_space(folder: Path, needed_bytes: int, free_bytes: int) -> None:
    """Raises DiskUnusable when there is too little room."""
    if free_bytes < needed_bytes:
        raise DiskUnusable(
            t(
                "There is too little room for this script in {folder}: about {needed} MB are needed, {free} MB are "
                "free. Make room, or choose another disk with --output.",
                folder=folder,
                needed=-(-needed_bytes // 1_000_000),
                free=free_bytes // 1_000_000,
            )
        )


def check_writable(folder: Path) -> None:
    """Really writes, renames and deletes. Raises DiskUnusable."""
    renamed = folder / f"{PROBE}-renamed{files.PART}"
    try:
        files.move(files.write_part(folder / PROBE, b"x"), renamed)
        files.remove(renamed)
    except FileHeld as error:
        # No other program holds a new file: on Windows, missing permissions look like a held file.
        raise files.disk_error(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), folder) from error


def long_paths(folder: str, names: Sequence[str], platform: str) -> list[str]:
    """The names whose whole path some Windows programs will not open; elsewhere none."""
    if platform != "win32":
        return []
    return [name for name in names if len(folder) + 1 + len(name + MOVING) > MAX_WINDOWS_PATH]


def long_path_warning(folder: Path, names: Sequence[str]) -> str:
    return t(
        "{count} files will have paths of more than {limit} characters, which some editors cannot open ({name}). "
        "A shorter folder for --output helps, for example {example}.",
        count=len(names),
        limit=MAX_WINDOWS_PATH,
        name=names[0],
        example=f"{folder.drive or 'C:'}\\narrations",
    )


def check_folder(folder: Path, plan: Plan, language: str, sample_rate: int, platform: str) -> list[str]:
    """Returns warnings. Raises DiskUnusable for what would stop the run later."""
    check_writable(folder)
    if plan.to_make:
        needed = space_needed_bytes(plan.to_make, language, sample_rate)
        check_space(folder, needed, shutil.disk_usage(folder).free)
    long = long_paths(str(folder), [line.wanted.file for line in plan.lines], platform)
    return [long_path_warning(folder, long)] if long else []
