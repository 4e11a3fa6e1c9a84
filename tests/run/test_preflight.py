"""What a run looks at before it begins."""

from __future__ import annotations

import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from recordings import WENDY, Folder, wanted

from client.errors import DiskUnusable, FileHeld
from client.project import files
from client.project.plan import plan_lines
from client.run.preflight import (
    MAX_WINDOWS_PATH,
    SPACE_MARGIN_BYTES,
    check_folder,
    check_space,
    check_writable,
    long_path_warning,
    long_paths,
    space_needed_bytes,
)
from server.text.pace import expected_seconds

TEXTS = [f"{number}번째 문장을 천천히 읽어 보겠습니다." for number in range(1, 101)]


def test_the_room_needed_is_that_of_the_lines_that_are_missing() -> None:
    everything = plan_lines(wanted(TEXTS), "Korean", WENDY, [], {}, False).to_make
    some = space_needed_bytes(everything[:10], "Korean", 24_000) - SPACE_MARGIN_BYTES
    all_of_it = space_needed_bytes(everything, "Korean", 24_000) - SPACE_MARGIN_BYTES
    spoken = sum(expected_seconds(text, "Korean") for text in TEXTS) * 24_000 * 2
    assert spoken < all_of_it < 2 * spoken
    assert some < all_of_it / 8
    assert space_needed_bytes(everything, "Korean", 48_000) - SPACE_MARGIN_BYTES == pytest.approx(
        2 * all_of_it, rel=1e-6
    )
    assert space_needed_bytes(everything, "Korean", 0) > SPACE_MARGIN_BYTES, "a server that does not say its rate"


def test_too_little_room_is_said_with_both_figures() -> None:
    check_space(Path("out"), 50_000_000, 50_000_000)
    with pytest.raises(DiskUnusable, match=r"about 60 MB are needed, 59 MB are free") as raised:
        check_space(Path("out"), 60_000_000, 59_999_999)
    assert raised.value.exit_code == 7 and "--output" in str(raised.value)


def test_a_disk_without_room_stops_the_run_before_anything_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "p")
    plan = folder.project.plan(wanted(TEXTS), "Korean", WENDY, False)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1_000_000))
    with pytest.raises(DiskUnusable, match="1 MB are free"):
        check_folder(folder.path, plan, "Korean", 24_000, sys.platform)
    assert list(folder.path.iterdir()) == []


def test_a_finished_folder_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path / "p")
    folder.open(["가"])
    folder.make()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 0))
    plan = folder.project.plan(wanted(["가"]), "Korean", WENDY, False)
    assert check_folder(folder.path, plan, "Korean", 24_000, "linux") == []


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_found_by_writing(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    if os.access(locked, os.W_OK):  # root, or Windows: the kernel's own folder takes no file from anybody
        locked = Path("/sys/kernel")
    if not locked.is_dir():
        pytest.skip("no folder here refuses this user")
    with pytest.raises(DiskUnusable, match=r"could not be written \(Permission denied\)"):
        check_writable(locked)


def test_missing_rights_on_windows_are_not_taken_for_another_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(target: Path, content: bytes) -> Path:
        raise FileHeld("Another program holds it.")

    monkeypatch.setattr(files, "write_part", denied)
    with pytest.raises(DiskUnusable, match="may you write in that folder"):
        check_writable(tmp_path)


@pytest.mark.parametrize(
    ("folder_length", "platform", "long"),
    [(200, "win32", True), (100, "win32", False), (200, "linux", False), (200, "darwin", False)],
)
def test_long_paths_are_warned_of_on_windows(folder_length: int, platform: str, long: bool) -> None:
    folder = "C:\\" + "x" * (folder_length - 3)
    name = "001_" + "가" * 30 + ".wav"
    assert bool(long_paths(folder, [name], platform)) is long


def test_the_limit_counts_the_longest_name_that_a_file_has_on_its_way() -> None:
    name = "001.wav"
    at_the_limit = "C:\\" + "x" * (MAX_WINDOWS_PATH - 3 - 1 - len(name) - len(".moving"))
    assert long_paths(at_the_limit, [name], "win32") == []
    assert long_paths(at_the_limit + "x", [name], "win32") == [name]
    assert "001.wav" in long_path_warning(Path("folder"), [name])
