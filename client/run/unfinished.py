"""The unfinished runs of this user, for `narrate resume`: one small JSON file each, in the user's own folder.

Held: where the script and the project folder are and which options were given. Never the key: it comes from .env or
the environment again, read from the folder in which the command was typed.

`narrate resume --all` may be called by the system at logon, so that a night survives an update's restart:

    Windows   schtasks /create /tn narrate-resume /sc onlogon /tr "C:\\path\\to\\narrate.exe resume --all"
    Linux     a .desktop file in ~/.config/autostart with the line  Exec=/path/to/narrate resume --all
    macOS     a launch agent with RunAtLoad and the same two words
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from client.errors import DiskUnusable
from client.project import files

FOLDER = "overnight-narrator"


class UnfinishedRun(BaseModel):
    """What is needed to go on."""

    model_config = ConfigDict(extra="ignore")

    folder: Path
    """The project folder."""
    script: Path
    """Absolute, like the other paths."""
    typed_in: Path
    """The folder in which the command was typed: its .env holds address and key."""
    output: Path
    server: str = ""
    """The address, if it was given with --server."""
    project: str = ""
    language: str = ""
    draft: bool = False
    local: bool = False
    mix: bool = False
    wait_hours: float = 10.0


def runs_folder(environ: Mapping[str, str], platform: str, home: Path) -> Path:
    """Where this system keeps what programs remember for a user."""
    if platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    return base / FOLDER / "runs"


def file_of(runs: Path, folder: Path) -> Path:
    """One file for each project folder, so that two runs never write the same."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return runs / f"{name}.json"


def remember(runs: Path, run: UnfinishedRun) -> bool:
    """False where this user's folder cannot be written; the run itself needs nothing of it."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        files.write_atomically(file_of(runs, run.folder), run.model_dump_json(indent=1).encode())
    except (OSError, ValueError, DiskUnusable):  # ValueError: a path that is no text
        return False
    return True


def forget(runs: Path, folder: Path) -> None:
    try:
        files.remove(file_of(runs, folder))
    except DiskUnusable:
        return  # it will be found finished, and forgotten then


def unfinished(runs: Path) -> list[UnfinishedRun]:
    """By folder name: in the order of their dates."""
    found = []
    for path in sorted(runs.glob("*.json")):
        try:
            found.append(UnfinishedRun.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            continue
    return sorted(found, key=lambda run: (run.folder.name, str(run.folder)))
