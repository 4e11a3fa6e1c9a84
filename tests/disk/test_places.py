"""Where things lie: the rules by table, for the paths of each system, and what a look at the disk finds."""

from __future__ import annotations

import os
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pytest

from client.run import unfinished
from client.settings import load_client_settings
from server.places import (
    KEEPER,
    Places,
    UserFolders,
    base_folder,
    below,
    earlier_runs_folder,
    env_candidates,
    find_env_file,
    look_at,
    models_folder,
    named_place,
    of_a_new_set_up,
    older_set_up,
    output_folder,
    runs_folder,
    user_folders,
)
from server.settings import load_settings

Win, Posix = PureWindowsPath, PurePosixPath


# ---- The .env in use ----


@pytest.mark.parametrize("kind", [Win, Posix])
@pytest.mark.parametrize(("is_checkout", "expected"), [(True, ["here/.env", "project/.env"]), (False, ["here/.env"])])
def test_the_env_of_the_current_folder_comes_before_that_of_the_checkout(
    kind: type[PurePath], is_checkout: bool, expected: list[str]
) -> None:
    found = env_candidates(kind("here"), kind("project"), is_checkout)
    assert list(found) == [kind(each) for each in expected]


def test_the_env_in_use_is_the_first_that_is_there(tmp_path: Path) -> None:
    here, project = tmp_path / "here", tmp_path / "project"
    here.mkdir()
    project.mkdir()
    (project / "pyproject.toml").touch()
    assert find_env_file(here, project) is None
    (project / ".env").touch()
    assert find_env_file(here, project) == project / ".env"
    (here / ".env").touch()
    assert find_env_file(here, project) == here / ".env"


def test_an_installed_package_does_not_read_the_env_of_site_packages(tmp_path: Path) -> None:
    (tmp_path / ".env").touch()
    assert find_env_file(tmp_path / "elsewhere", tmp_path) is None


# ---- What no setting names, and what one does: as version 0.1 finds it ----


@pytest.mark.parametrize(
    ("env_file", "current", "expected"),
    [
        (Win(r"C:\on\.env"), Win(r"D:\scripts"), r"C:\on"),
        (Win(r"D:\scripts\.env"), Win(r"D:\scripts"), r"D:\scripts"),
        (None, Win(r"D:\scripts"), r"D:\scripts"),
        (Posix("/home/u/on/.env"), Posix("/home/u/scripts"), "/home/u/on"),
        (None, Posix("/Users/u/대본"), "/Users/u/대본"),
    ],
)
def test_without_a_setting_everything_lies_beside_the_env_in_use_else_in_the_current_folder(
    env_file: PurePath | None, current: PurePath, expected: str
) -> None:
    base = type(current)(expected)
    assert base_folder(env_file, current) == base
    assert below(base) == Places(base / "output", base / "voices", base / "models", base / "logs" / "server.log")


@pytest.mark.parametrize(
    ("option", "variable", "in_file", "expected"),
    [
        ("", "", "", "base/output"),
        ("", "", "wavs", "base/wavs"),
        ("", "", "../wavs", "base/../wavs"),
        ("", "", "/drive/wavs", "/drive/wavs"),
        ("", "typed", "wavs", "current/typed"),
        ("option", "typed", "wavs", "current/option"),
        ("/drive/option", "typed", "wavs", "/drive/option"),
        ("~/wavs", "", "", "~/wavs"),
        ("", "", "~/wavs", "~/wavs"),
    ],
)
@pytest.mark.parametrize("kind", [Win, Posix])
def test_the_output_folder_is_what_was_typed_then_what_env_says_then_the_default(
    kind: type[PurePath], option: str, variable: str, in_file: str, expected: str
) -> None:
    found = output_folder(option, variable, in_file, kind("current"), kind("base"))
    assert found == kind(os.path.expanduser(expected))  # noqa: PTH111 the path may be another system's


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("voices", r"C:\on\voices"),
        (r"D:\voices", r"D:\voices"),
        (r"\voices", r"C:\voices"),
        (r"\\nas\share\voices", r"\\nas\share\voices"),
    ],
)
def test_a_windows_setting_may_be_relative_or_name_a_drive_or_a_share(named: str, expected: str) -> None:
    assert named_place(named, Win(r"C:\on")) == Win(expected)


def test_an_unknown_users_home_is_a_folder_of_that_name() -> None:
    assert named_place("~nobody-of-this-name/voices", Posix("/on")) == Posix("/on/~nobody-of-this-name/voices")


def test_the_programs_find_what_the_rules_say(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_KEY=k\n", "utf-8")
    loaded = load_settings({}, tmp_path)
    assert load_client_settings({}, tmp_path).output == below(tmp_path).output
    assert Path(loaded.settings.prompt_dir) == below(tmp_path).voices
    assert loaded.log_file(attached=False) == below(tmp_path).log
    assert models_folder(loaded.settings.prompt_dir) == below(tmp_path).models
    (tmp_path / ".env").write_text("NARRATE_OUTPUT=w\nPROMPT_DIR=a/v\nLOG_FILE=l.log\n", "utf-8")
    loaded = load_settings({"PROMPT_DIR": "b/v"}, tmp_path)
    assert load_client_settings({}, tmp_path).output == tmp_path / "w"
    assert Path(loaded.settings.prompt_dir) == tmp_path / "b" / "v", "of the environment, and still beside .env"
    assert loaded.log_file(attached=True) == tmp_path / "l.log"
    assert models_folder(loaded.settings.prompt_dir) == tmp_path / "b" / "models"


def test_models_go_into_the_current_folder_where_no_voice_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert models_folder("") == tmp_path / "models"


# ---- What is the user's own ----


@pytest.mark.parametrize(
    ("environ", "platform", "home", "expected"),
    [
        ({}, "linux", Posix("/home/u"), "/home/u/.local/state/overnight-narrator/runs"),
        ({"XDG_STATE_HOME": "/s"}, "linux", Posix("/home/u"), "/s/overnight-narrator/runs"),
        ({"LOCALAPPDATA": r"D:\l"}, "win32", Win(r"C:\Users\홍"), r"D:\l\overnight-narrator\runs"),
        ({}, "win32", Win(r"C:\Users\홍"), r"C:\Users\홍\AppData\Local\overnight-narrator\runs"),
        ({"XDG_STATE_HOME": "/s"}, "darwin", Posix("/U/u"), "/U/u/Library/Application Support/overnight-narrator/runs"),
    ],
)
def test_unfinished_runs_are_found_where_version_0_1_remembered_them(
    environ: dict[str, str], platform: str, home: PurePath, expected: str
) -> None:
    kind = type(home)
    earlier = earlier_runs_folder(environ, platform, home)
    elsewhere = UserFolders(kind("settings"), kind("data"), kind("state"), kind("recordings"))
    assert earlier == kind(expected)
    assert runs_folder(earlier, True, elsewhere) == earlier
    assert runs_folder(earlier, False, elsewhere) == kind("state/runs")


def test_the_unfinished_runs_of_version_0_1_stay_when_the_system_names_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = earlier_runs_folder({}, "darwin", tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "moved"))
    monkeypatch.setenv("WIN_PD_OVERRIDE_LOCAL_APPDATA", str(tmp_path / "moved"))
    moved = tmp_path / "moved" / "overnight-narrator" / "runs"
    assert unfinished.runs_folder({}, "darwin", tmp_path) == moved
    earlier.mkdir(parents=True)
    assert unfinished.runs_folder({}, "darwin", tmp_path) == earlier


def test_the_users_own_folders_carry_this_programs_name_and_are_not_made_by_asking() -> None:
    user = user_folders()
    for folder in (user.settings, user.data, user.state, user.recordings):
        assert folder.name == "overnight-narrator"
        assert folder.is_absolute()
        assert not folder.exists()


# ---- For a set-up to come ----


def test_an_empty_output_folder_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    assert not look_at(tmp_path).is_in_use
    (tmp_path / "output" / KEEPER).touch()
    assert not look_at(tmp_path).is_in_use
    (tmp_path / "output" / "2026-11-28_아침").mkdir()
    assert look_at(tmp_path).has_recordings
    assert not look_at(tmp_path / "nowhere").is_in_use


@pytest.mark.parametrize("made", [".env", "voices/a.safetensors", "models/a--b/config.json", "output/a/project.json"])
def test_each_thing_that_a_narrator_would_miss_shows_an_older_set_up(tmp_path: Path, made: str) -> None:
    file = tmp_path / "older" / made
    file.parent.mkdir(parents=True)
    file.touch()
    empty, older = look_at(tmp_path), look_at(tmp_path / "older")
    assert older_set_up([empty, older]) == older
    assert older_set_up([empty]) is None


def test_a_set_up_with_settings_comes_before_one_that_only_holds_recordings(tmp_path: Path) -> None:
    (tmp_path / "a" / "output" / "2026-11-28").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".env").touch()
    found = older_set_up([look_at(tmp_path / "a"), look_at(tmp_path / "b")])
    assert found is not None
    assert found.folder == tmp_path / "b"


def test_a_new_set_up_keeps_everything_in_the_users_folders() -> None:
    user = UserFolders(Win(r"C:\r"), Win(r"C:\l\on"), Win(r"C:\l\on"), Win(r"D:\Music\on"))
    assert of_a_new_set_up(user) == Places(
        Win(r"D:\Music\on"), Win(r"C:\l\on\voices"), Win(r"C:\l\on\models"), Win(r"C:\l\on\logs\server.log")
    )
