"""The unfinished runs of this user, for `narrate resume`: one small JSON file each, in the user's own folder.

Each file holds where the script and the project folder are and which options were given; never the key, which resume
reads again from the environment or from .env, as seen from the folder in which the command was typed.

`narrate resume --all` may be called by the system at logon, so that a night survives an update's restart:

    Windows   schtasks /create /tn narrate-resume /sc onlogon /tr "C:\\path\\to\\narrate.exe resume --all"
    Linux     a .desktop file in ~/.config/autostart with the line  Exec=/path/to/narrate resume --all
    macOS     a launch agent with RunAtLoad and the same two words
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from client.errors import DiskUnusable
from client.project import files
from client.run.options import RunOptions
from server import places


@dataclass(frozen=True, kw_only=True)
class UnfinishedRun(RunOptions):
    """The run's options and where it was; all paths are absolute."""

    folder: Path
    """The project folder."""
    typed_in: Path
    """The folder in which the command was typed: its .env holds address and key."""


_FILE = TypeAdapter(UnfinishedRun)


def unfinished_run(options: RunOptions, folder: Path, project: str, typed_in: Path) -> UnfinishedRun:
    """The run in the form that needs no current folder. project: the name that the project folder records."""
    values = {
        **asdict(options),
        "folder": folder,
        "typed_in": typed_in,
        "script": options.script.absolute(),
        "output": str(folder.parent),
        "project": project,
    }
    return UnfinishedRun(**values)


def runs_folder(environ: Mapping[str, str], platform: str, home: Path) -> Path:
    earlier = places.earlier_runs_folder(environ, platform, home)
    return places.runs_folder(earlier, earlier.is_dir(), places.user_folders())


def file_of(runs: Path, folder: Path) -> Path:
    """One file for each project folder, so that two runs never write the same."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return runs / f"{name}.json"


def remember(runs: Path, run: UnfinishedRun) -> bool:
    """False where this user's folder cannot be written; the run itself needs nothing of it."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        files.write_atomically(file_of(runs, run.folder), _FILE.dump_json(run, indent=1))
    except (OSError, ValueError, DiskUnusable):  # ValueError: a file name that is not UTF-8
        return False
    return True


def forget(runs: Path, folder: Path) -> None:
    try:
        files.remove(file_of(runs, folder))
    except DiskUnusable:
        return  # the next resume finds the run finished and forgets it


def unfinished(runs: Path) -> list[UnfinishedRun]:
    """Sorted by folder name, so by date. Files that cannot be read are passed over."""
    found = []
    for path in sorted(runs.glob("*.json")):
        try:
            found.append(_FILE.validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            continue
    return sorted(found, key=lambda run: (run.folder.name, str(run.folder)))
