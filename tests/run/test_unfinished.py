"""What this user's unfinished runs are remembered by."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.run.unfinished import UnfinishedRun, file_of, forget, remember, runs_folder, unfinished


def run_in(folder: Path) -> UnfinishedRun:
    return UnfinishedRun(folder=folder, script=folder / "s.txt", typed_in=folder, output=folder.parent, draft=True)


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({}, "linux", "home/.local/state/overnight-narrator/runs"),
        ({"XDG_STATE_HOME": "state"}, "linux", "state/overnight-narrator/runs"),
        ({"LOCALAPPDATA": "local"}, "win32", "local/overnight-narrator/runs"),
        ({}, "win32", "home/AppData/Local/overnight-narrator/runs"),
        ({}, "darwin", "home/Library/Application Support/overnight-narrator/runs"),
    ],
)
def test_each_system_has_its_own_place(environ: dict[str, str], platform: str, expected: str) -> None:
    assert runs_folder(environ, platform, Path("home")) == Path(expected)


def test_runs_are_remembered_in_the_order_of_their_folders_and_forgotten(tmp_path: Path) -> None:
    runs = tmp_path / "state" / "runs"
    assert unfinished(runs) == []
    for name in ("2026-02-20_b", "2026-02-19_a", "2026-02-20_b"):
        assert remember(runs, run_in(tmp_path / name))
    assert [run.folder.name for run in unfinished(runs)] == ["2026-02-19_a", "2026-02-20_b"]
    assert unfinished(runs)[0] == run_in(tmp_path / "2026-02-19_a")
    forget(runs, tmp_path / "2026-02-19_a")
    forget(runs, tmp_path / "2026-02-19_a")
    assert [run.folder.name for run in unfinished(runs)] == ["2026-02-20_b"]


def test_a_damaged_entry_hides_no_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        remember(tmp_path, run_in(tmp_path / name))
    file_of(tmp_path, tmp_path / "a").write_bytes(bytes(50))
    assert [run.folder.name for run in unfinished(tmp_path)] == ["b"]


def test_a_home_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not remember(tmp_path / "file" / "runs", run_in(tmp_path))
