"""Where things lie on the disk: settings, recordings, prepared voices, models, logs, what a program remembers.

A place that a setting names wins. Without one, everything stays where version 0.1 put it: below the folder of the
`.env` in use, else below the current folder. What belongs to the user and to no project lies where the system keeps
such things (`user_folders`), and so does all of a set-up that begins from nothing (`of_a_new_set_up`).

The rules are pure and take paths of any system. `find_env_file`, `user_folders` and `look_at` ask the disk. Knows no
setting by name, and opens no file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Generic, TypeVar

from platformdirs import PlatformDirs

APP = "overnight-narrator"
ENV_NAME = ".env"
OUTPUT, VOICES, MODELS = "output", "voices", "models"
LOG = ("logs", "server.log")
RUNS = "runs"
KEEPER = ".gitkeep"
"""Lies in the `output` folder of every copy of this project."""
PROJECT_ROOT = Path(__file__).resolve().parents[1]

P = TypeVar("P", bound=PurePath)


# ---- The .env in use, and what is relative to it ----


def env_candidates(current: P, project_root: P, is_checkout: bool) -> Iterator[P]:
    """Where .env may lie, the first that is there being the one in use.

    is_checkout: whether pyproject.toml lies in `project_root`. An installed package has none, and a .env in
    site-packages is not the user's.
    """
    yield current / ENV_NAME
    if is_checkout:
        yield project_root / ENV_NAME


def find_env_file(current: Path, project_root: Path = PROJECT_ROOT) -> Path | None:
    is_checkout = (project_root / "pyproject.toml").is_file()
    return next((path for path in env_candidates(current, project_root, is_checkout) if path.is_file()), None)


def base_folder(env_file: P | None, current: P) -> P:
    """What relative paths in .env start from, so that they mean the same wherever a command is typed."""
    return env_file.parent if env_file else current


def named_place(named: str, start: P) -> P:
    """The place that a setting names. A relative name starts from `start`; `~` is the user's home."""
    return start / type(start)(os.path.expanduser(named))  # noqa: PTH111 Path.expanduser raises for an unknown user


@dataclass(frozen=True)
class Places(Generic[P]):
    """Where each thing lies that no setting names."""

    output: P
    """Project folders are made in it."""
    voices: P
    models: P
    log: P
    """A file."""


def below(base: P) -> Places[P]:
    """Version 0.1's places, which are those of every set-up that is there."""
    return Places(base / OUTPUT, base / VOICES, base / MODELS, base.joinpath(*LOG))


def output_folder(option: str, variable: str, in_file: str, current: P, base: P) -> P:
    """option, variable: typed at the keyboard, so they start from the current folder; in_file: the value in .env."""
    if typed := option or variable:
        return named_place(typed, current)
    return named_place(in_file, base) if in_file else below(base).output


def models_folder(voices: str) -> Path:
    """Where models are downloaded to: beside the prepared voices, on the drive that has room for them.

    voices: empty where no voice is kept; the current folder stands for its base then.
    """
    return named_place(voices, Path.cwd()).resolve().parent / MODELS if voices else below(Path.cwd()).models


# ---- What is the user's own ----


@dataclass(frozen=True)
class UserFolders(Generic[P]):
    """This program's own folders, as the system wants them; none of them has to exist."""

    settings: P
    data: P
    state: P
    """What a program remembers between two starts."""
    recordings: P


def user_folders() -> UserFolders[Path]:
    system = PlatformDirs(APP, appauthor=False)
    return UserFolders(
        settings=system.user_config_path,
        data=system.user_data_path,
        state=system.user_state_path,
        # Not Documents: OneDrive copies that folder, and holds files while it does.
        recordings=system.user_music_path / APP,
    )


def earlier_runs_folder(environ: Mapping[str, str], platform: str, home: P) -> P:
    """Where version 0.1 remembers unfinished runs. platform: as sys.platform has it."""
    kind = type(home)
    if platform == "win32":
        base = kind(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = kind(environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    return base / APP / RUNS


def runs_folder(earlier: P, earlier_is_there: bool, user: UserFolders[P]) -> P:
    """Where unfinished runs are remembered. The two differ where a user has moved the system's folder."""
    return earlier if earlier_is_there else user.state / RUNS


# ---- For a set-up to come ----


@dataclass(frozen=True)
class Look:
    """What lies in a folder that may be an older set-up."""

    folder: Path
    has_settings: bool
    has_voices: bool
    has_models: bool
    has_recordings: bool

    @property
    def is_in_use(self) -> bool:
        return self.has_settings or self.has_voices or self.has_models or self.has_recordings


def look_at(folder: Path) -> Look:
    """An empty folder proves nothing: `output` comes with every copy of this project.

    Raises OSError where a folder is there and cannot be read.
    """
    places = below(folder)
    return Look(
        folder,
        has_settings=(folder / ENV_NAME).is_file(),
        has_voices=_holds_something(places.voices),
        has_models=_holds_something(places.models),
        has_recordings=_holds_something(places.output),
    )


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(each.name != KEEPER for each in folder.iterdir())


def older_set_up(looks: Sequence[Look]) -> Look | None:
    """The set-up to go on with: the first that has settings, else the first in use."""
    return next((look for look in looks if look.has_settings), None) or next(
        (look for look in looks if look.is_in_use), None
    )


def of_a_new_set_up(user: UserFolders[P]) -> Places[P]:
    """Outside the program's folder, so that a newer copy of the program finds them."""
    own = below(user.data)
    return Places(user.recordings, own.voices, own.models, user.state.joinpath(*LOG))
