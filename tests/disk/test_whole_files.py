"""Files written whole: what lies on the disk when a writer is killed, refused, or one of several."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from server import whole_files
from server.whole_files import write_part, write_whole

ROOT = Path(__file__).parents[2]
OLD, NEW = b"old\n" * 50_000, b"new\n" * 50_000


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("private", [False, True])
def test_the_new_content_stands_alone_in_its_folder(tmp_path: Path, private: bool) -> None:
    file = tmp_path / "made" / "a.json"
    write_whole(file, OLD, private=private)
    write_whole(file, NEW, private=private)
    assert file.read_bytes() == NEW
    assert names_in(file.parent) == ["a.json"]


KILLED_BEFORE_THE_RENAME = """
import os, sys
from pathlib import Path
Path.replace = lambda self, target: os._exit(9)
from server.whole_files import write_whole
write_whole(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes())
"""


def test_a_writer_that_is_killed_before_the_rename_leaves_the_old_file(tmp_path: Path) -> None:
    file, new = tmp_path / "a.json", tmp_path / "new"
    file.write_bytes(OLD)
    new.write_bytes(NEW)
    ended = subprocess.run([sys.executable, "-c", KILLED_BEFORE_THE_RENAME, str(file), str(new)], cwd=ROOT, check=False)
    assert ended.returncode == 9
    assert file.read_bytes() == OLD
    (part,) = tmp_path.glob("*.part")
    assert part.read_bytes() == NEW, "whole and beside its place: a rename would have been right"


def write_again_and_again(file: Path, content: bytes) -> None:
    for _ in range(30):
        write_whole(file, content)


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses to replace a file that is being read")
@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_of_writers_at_the_same_time_each_file_that_is_read_is_one_writers(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "a.json"
    contents = [bytes([letter]) * 100_000 for letter in b"abc"]
    write_whole(file, contents[0])
    make = multiprocessing.get_context("spawn").Process if kind == "processes" else threading.Thread
    writers = [make(target=write_again_and_again, args=(file, content)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert file.read_bytes() in contents
    for writer in writers:
        writer.join()
        assert getattr(writer, "exitcode", 0) == 0
    assert names_in(tmp_path) == ["a.json"]


def test_a_refused_rename_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OSError, match=r"a\.json"):
        write_whole(tmp_path / "a.json", NEW)
    assert names_in(tmp_path) == ["a.json"]


WRITES_WITHOUT_ROOTS_RIGHTS = """
import os, sys
from pathlib import Path
from server.whole_files import write_whole
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    write_whole(Path(sys.argv[1]), b"new")
except PermissionError:
    sys.exit(13)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission bits")
def test_a_folder_that_may_not_be_written_raises_and_keeps_the_old_file() -> None:
    with tempfile.TemporaryDirectory() as name:  # another user cannot enter tmp_path
        file = Path(name) / "a.json"
        file.write_bytes(OLD)
        file.parent.chmod(0o555)
        command = [sys.executable, "-c", WRITES_WITHOUT_ROOTS_RIGHTS, str(file)]
        ended = subprocess.run(command, cwd=ROOT, check=False)
        file.parent.chmod(0o755)
        assert ended.returncode == 13
        assert file.read_bytes() == OLD
        assert names_in(file.parent) == ["a.json"]


def test_a_folder_that_cannot_be_made_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_whole(tmp_path / "file" / "a.json", NEW)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_leaves_no_half_part(tmp_path: Path) -> None:
    part = tmp_path / "a.part"
    part.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        write_part(part, NEW)
    assert names_in(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission bits")
def test_a_private_file_is_its_users_alone_from_its_first_byte_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    really_sync = os.fsync

    def note_mode(descriptor: int) -> None:
        modes.append(os.fstat(descriptor).st_mode)
        really_sync(descriptor)

    monkeypatch.setattr(whole_files.os, "fsync", note_mode)
    file = tmp_path / ".env"
    file.write_bytes(OLD)
    file.chmod(0o644)
    write_whole(file, NEW, private=True)
    assert stat.S_ISREG(modes[0])
    assert stat.S_IMODE(modes[0]) == stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name == "nt", reason="making links needs rights on Windows")
def test_a_private_part_is_never_written_through_a_link(tmp_path: Path) -> None:
    elsewhere, part = tmp_path / "elsewhere", tmp_path / "a.part"
    part.symlink_to(elsewhere)
    write_part(part, NEW, private=True)
    assert not part.is_symlink()
    assert not elsewhere.exists()


@pytest.mark.skipif(os.name != "posix", reason="only there folders can be synced")
def test_the_file_is_synced_before_its_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    synced = []
    monkeypatch.setattr(
        whole_files.os, "fsync", lambda d: synced.append((stat.S_ISDIR(os.fstat(d).st_mode), file.exists()))
    )
    write_whole(file, NEW)
    assert synced == [(False, False), (True, True)]
