"""What a folder holds and what is stale. Recordings here are small files; each one's bytes are its identity."""

from __future__ import annotations

import contextlib
import errno
import json
import random
from collections import Counter
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pytest
from recordings import WENDY, Folder, speech, wanted

from client.errors import DiskUnusable, FileHeld
from client.project import files
from client.project import folder as project
from client.project.choice import choose_folder, folder_name, script_sha256
from client.project.folder import new_project
from client.project.manifest import JOURNAL, MANIFEST, PREVIOUS, LineRecord, Manifest, ScriptRecord, read_manifest
from client.project.plan import line_seed, plan_lines, wanted_lines
from client.voice_server.api import Voice
from server.script.lines import Script, parse_script


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "2026-02-19_p")


def test_what_is_made_is_not_made_again(folder: Folder) -> None:
    assert folder.open(["가", "나", "다"]) == ["가", "나", "다"]
    folder.make(2)
    assert folder.open(["가", "나", "다"]) == ["다"]
    folder.make()
    assert folder.open(["가", "나", "다"]) == []
    folder.is_right(["가", "나", "다"])


def test_an_inserted_line_renumbers_the_rest_and_makes_one_file(folder: Folder) -> None:
    folder.open(["가", "나", "다"])
    folder.make()
    assert folder.open(["가", "새", "나", "다"]) == ["새"]
    folder.make()
    folder.is_right(["가", "새", "나", "다"])
    assert folder.old() == []


def test_lines_that_change_places_keep_their_own_audio(folder: Folder) -> None:
    folder.open(["가", "나", "다"])
    folder.make()
    assert folder.open(["다", "가", "나"]) == []
    folder.is_right(["다", "가", "나"])


def test_a_changed_line_goes_to_old_and_is_made_again(folder: Folder) -> None:
    folder.open(["가", "나"])
    folder.make()
    assert folder.open(["가", "낙"]) == ["낙"]
    folder.make()
    folder.is_right(["가", "낙"])
    assert folder.old() == ["audio of 나 by aaaa"]


def test_the_same_sentence_twice_has_two_files(folder: Folder) -> None:
    folder.open(["네", "가", "네"])
    folder.make(1)
    assert folder.open(["네", "가", "네"]) == ["가", "네"]
    folder.make()
    folder.is_right(["네", "가", "네"])
    assert folder.open(["가", "네"]) == []
    folder.is_right(["가", "네"])
    assert folder.old() == ["audio of 네 by aaaa"]


def test_of_two_recordings_with_the_same_bytes_each_keeps_the_file_of_its_own_name(tmp_path: Path) -> None:
    """Line 2 took line 3's file, so 003 was renamed to 002 and line 3 was made again."""
    folder = Folder(tmp_path / "p", named=False)
    folder.open(["가", "네", "네"])
    folder.make()
    (folder.path / "002.wav").unlink()
    folder.open(["가", "네", "네"])
    assert [line.wanted.number for line in folder.to_make] == [2]
    assert set(folder.wavs()) == {"001.wav", "003.wav"}


def test_the_same_sentence_again_is_another_take_and_the_first_keeps_its_seed(folder: Folder) -> None:
    """Two identical sentences had one seed, so they were one take, byte for byte."""
    folder.open(["네", "가", "네", "네"])
    assert [line.occurrence for line in folder.to_make] == [0, 0, 1, 2]
    assert len({line_seed("네", "Korean", 0, occurrence) for occurrence in range(3)}) == 3
    assert line_seed("네", "Korean", 0, 0) == 916031229, "folders that are there go on unchanged"


def test_a_file_that_is_not_whole_is_made_again(folder: Folder) -> None:
    folder.open(["가", "나"])
    folder.make()
    (folder.path / "001_가.wav").write_bytes(b"audio of")
    assert folder.open(["가", "나"]) == ["가"]
    folder.make()
    folder.is_right(["가", "나"])
    assert folder.old() == ["audio of"], "what somebody edited by hand is kept too"


def test_zeros_of_the_right_size_are_not_whole(folder: Folder) -> None:
    folder.open(["가"])
    folder.make()
    file = folder.path / "001_가.wav"
    file.write_bytes(bytes(file.stat().st_size))
    assert folder.open(["가"]) == ["가"]


def test_a_deleted_file_is_made_again_with_another_seed(folder: Folder) -> None:
    folder.open(["가"])
    folder.make()
    (folder.path / "001_가.wav").unlink()
    folder.open(["가"])
    attempts = folder.to_make[0].attempts
    assert attempts == 1
    assert line_seed("가", "Korean", attempts) != line_seed("가", "Korean", 0)


@pytest.mark.parametrize("change", ["engine", "model", "voice", "sound"])
def test_a_line_by_another_voice_is_not_finished(folder: Folder, change: str) -> None:
    folder.open(["가"])
    folder.make()
    values = {"engine": "qwen", "model": "1.7B", "voice": "aaaa", "sound": "s1", change: "other"}
    now = Voice(**values)
    plan = plan_lines(
        wanted(["가"]), "Korean", now, folder.project.manifest.lines, folder.project.files_by_sha256(), False
    )
    assert len(plan.to_make) == 1
    # Lines with other sound settings are made again without asking; another voice is a question for the narrator.
    assert plan.other_voice == (0 if change == "sound" else 1)
    mixed = plan_lines(
        wanted(["가"]), "Korean", now, folder.project.manifest.lines, folder.project.files_by_sha256(), True
    )
    assert not mixed.to_make


def test_another_language_is_another_line(folder: Folder) -> None:
    folder.open(["2026"])
    folder.make()
    plan = plan_lines(
        wanted(["2026"]), "English", WENDY, folder.project.manifest.lines, folder.project.files_by_sha256(), False
    )
    assert len(plan.to_make) == 1


class PulledPlug(Exception):
    pass


def kill_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """The power goes after so many renames and deletions."""
    left = [steps]

    def counting(name: str) -> None:
        real = getattr(Path, name)

        def step(self: Path, *args: object, **kwargs: object) -> object:
            if left[0] == 0:
                raise PulledPlug
            left[0] -= 1
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Path, name, step)

    for name in ("replace", "unlink", "mkdir"):
        counting(name)


@pytest.mark.parametrize("steps", range(50))
def test_a_power_cut_anywhere_in_a_renaming_loses_nothing(
    folder: Folder, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line changes its number, two change places in a ring, one is dropped, one is new."""
    before, after = ["가", "나", "다", "라"], ["다", "새", "가", "나"]
    folder.open(before)
    folder.make()
    with monkeypatch.context() as patch:
        kill_after(patch, steps)
        try:
            folder.open(after)
            folder.make()
            finished = True
        except PulledPlug:
            finished = False
    to_make = folder.open(after)
    assert to_make in ([], ["새"]), "no recording that was there is made again"
    folder.make()
    folder.is_right(after)
    assert folder.old() == ["audio of 라 by aaaa"]
    if steps == 49:
        assert finished, "more steps than the parameters cover"


@pytest.mark.parametrize("steps", range(8))
def test_a_power_cut_while_a_line_is_saved_keeps_it_or_never_had_it(
    folder: Folder, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.open(["가", "나"])
    with monkeypatch.context() as patch:
        kill_after(patch, steps)
        with contextlib.suppress(PulledPlug):
            folder.make(1)
    assert folder.open(["가", "나"]) in (["가", "나"], ["나"])
    folder.make()
    folder.is_right(["가", "나"])
    assert folder.old() == []


def test_strangers_files_are_left_alone_unless_they_stand_in_the_way(folder: Folder) -> None:
    folder.open(["가"])
    (folder.path / "music.wav").write_text("music")
    (folder.path / "002_나.wav").write_text("mine")
    folder.open(["가", "나"])
    folder.make()
    assert folder.wavs()["music.wav"] == "music"
    assert folder.old() == ["mine"]


def test_the_manifest_holds_relative_names_only(folder: Folder) -> None:
    folder.open(["가"])
    folder.make()
    text = (folder.path / MANIFEST).read_text("utf-8")
    assert str(folder.path.parent) not in text
    record = json.loads(text)["lines"][0]
    assert record["file"] == "001_가.wav"
    assert record["text"] == "가" and record["seed"] == 1 and record["duration"] == 1.0
    assert (record["engine"], record["model"], record["voice"], record["attempts"]) == ("qwen", "1.7B", "aaaa", 1)


@pytest.mark.parametrize("name", ["../x.wav", "a/b.wav", "..\\x.wav", "C:x.wav", "", "..", "/etc/passwd"])
def test_a_manifest_that_leads_out_of_its_folder_is_not_believed(folder: Folder, name: str) -> None:
    with pytest.raises(ValueError, match="file"):
        LineRecord(number=1, text="가", file=name)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_a_damaged_manifest_is_told_apart_from_an_empty_project(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    assert read_manifest(tmp_path) is None


class Holder:
    """Another program that has files open: on Windows they cannot be renamed, replaced or deleted then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self.tries = 0
        self.lets_go_after = 1_000_000
        monkeypatch.setattr(files, "PAUSES_S", (0.0, 0.0))
        for name in ("replace", "unlink"):
            self._guard(monkeypatch, name)

    def _guard(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        real = getattr(Path, method)

        def guarded(path: Path, *args: object, **kwargs: object) -> object:
            touched = {path.name, *(arg.name for arg in args if isinstance(arg, Path) and arg.exists())}
            if touched & self.names and self.tries < self.lets_go_after:
                self.tries += 1
                error = PermissionError(13, "The process cannot access the file")
                error.winerror = 32  # type: ignore[attr-defined]
                raise error
            return real(path, *args, **kwargs)

        monkeypatch.setattr(Path, method, guarded)


@pytest.fixture
def holder(monkeypatch: pytest.MonkeyPatch) -> Holder:
    return Holder(monkeypatch)


def test_a_held_file_is_tried_again_and_then_named(tmp_path: Path, holder: Holder) -> None:
    (tmp_path / "a.wav").write_text("a")
    holder.names = {"a.wav"}
    with pytest.raises(FileHeld, match=r"a\.wav") as raised:
        files.move(tmp_path / "a.wav", tmp_path / "b.wav")
    assert holder.tries == len(files.PAUSES_S) + 1
    assert "Close the file" in str(raised.value)


@pytest.mark.parametrize(
    ("code", "winerror", "platform", "held"),
    [
        (errno.EACCES, 5, "win32", True),
        (errno.EACCES, 32, "win32", True),
        (errno.EACCES, 33, "win32", True),
        (errno.EACCES, None, "win32", True),  # from open()
        (errno.EACCES, None, "linux", False),
        (errno.EBUSY, None, "linux", True),
        (errno.ENOSPC, 112, "win32", False),
        (errno.ENOENT, 2, "win32", False),
        (errno.EROFS, None, "linux", False),
    ],
)
def test_what_counts_as_held_by_another_program(code: int, winerror: int | None, platform: str, held: bool) -> None:
    error = OSError(code, "x")
    if winerror is not None:
        error.winerror = winerror  # type: ignore[attr-defined]
    assert files.is_held(error, platform) is held


def test_other_faults_of_the_disk_are_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSES_S", (1000.0,))
    with pytest.raises(DiskUnusable, match=r"a.wav.part could not be written \(No such file"):
        files.write_part(tmp_path / "gone" / "a.wav", b"x")


def test_new_audio_for_a_held_name_waits_beside_it_and_is_placed_by_the_next_run(
    folder: Folder, holder: Holder
) -> None:
    """An editor has the earlier take open while its line is made again."""
    folder.open(["가", "나"])
    folder.make()
    (folder.path / "001_가.wav").write_text("edited by hand")
    holder.names = {"001_가.wav"}
    assert folder.open(["가", "나"]) == ["가"]
    folder.make()
    folder.project.finish()
    assert folder.wavs()["001_가.wav"] == "edited by hand"
    assert folder.project.unplaced == {"001_가.wav"}
    assert [path.name for path in folder.project.held] == ["001_가.wav"]
    holder.names = set()
    assert folder.open(["가", "나"]) == [], "it was made once and is not made again"
    folder.is_right(["가", "나"])
    assert folder.old() == ["edited by hand"]


def test_what_is_let_go_before_the_run_ends_is_placed_by_this_run(folder: Folder, holder: Holder) -> None:
    folder.open(["가"])
    folder.make()
    (folder.path / "001_가.wav").write_text("edited by hand")
    holder.names = {"001_가.wav"}
    folder.open(["가"])
    folder.make()
    assert folder.project.unplaced
    holder.names = set()
    folder.project.finish()
    assert not folder.project.unplaced and not folder.project.held
    folder.is_right(["가"])


def test_a_held_recording_never_ends_up_as_another_lines_audio(tmp_path: Path, holder: Holder) -> None:
    """File names without the text: the inserted line wants the name that the held file still has."""
    folder = Folder(tmp_path / "p", named=False)
    folder.open(["가", "나"])
    folder.make()
    holder.names = {"001.wav"}
    assert folder.open(["새", "가", "나"]) == ["새"]
    folder.make()
    folder.project.finish()
    assert folder.wavs() == {"001.wav": "audio of 가 by aaaa", "003.wav": "audio of 나 by aaaa"}
    assert folder.project.unplaced == {"001.wav", "002.wav"}
    holder.names = set()
    folder.project.finish()
    assert not folder.project.unplaced
    folder.is_right(["새", "가", "나"])
    assert folder.old() == []


@pytest.mark.parametrize("tries", range(8))
def test_a_file_that_is_let_go_at_any_moment_keeps_its_audio(tmp_path: Path, holder: Holder, tries: int) -> None:
    """001.wav, let go between renaming and saving, looked like a file of unknown origin under the new line's name."""
    folder = Folder(tmp_path / "p", named=False)
    folder.open(["가", "나"])
    folder.make()
    holder.names, holder.lets_go_after = {"001.wav"}, tries
    assert folder.open(["새", "가", "나"]) == ["새"]
    folder.make()
    assert folder.old() == []
    folder.project.finish()
    if tries < 6:
        folder.is_right(["새", "가", "나"])
    holder.names = set()
    assert folder.open(["새", "가", "나"]) == []
    folder.is_right(["새", "가", "나"])


@pytest.mark.parametrize("name", [MANIFEST, PREVIOUS])
def test_held_records_stop_nothing_and_lose_nothing(folder: Folder, holder: Holder, name: str) -> None:
    folder.open(["가", "나"])
    holder.names = {name}
    folder.make()
    assert folder.wavs().keys() == {"001_가.wav", "002_나.wav"}
    # The run is killed here.
    assert folder.open(["가", "나"]) == []
    holder.names = set()
    folder.open(["가", "나"])
    folder.is_right(["가", "나"])
    assert [record.status for record in folder.project.manifest.lines] == ["made", "made"]


def test_no_file_gets_its_name_before_a_record_knows_it(
    folder: Folder, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Journal and project.json are both held for a while, and then let go."""
    folder.open(["가", "나"])
    holder.names = {MANIFEST}
    with monkeypatch.context() as patch:

        def held(file: Path, line: bytes) -> None:
            raise FileHeld(str(file))

        patch.setattr(files, "append_line", held)
        folder.make(1)
    assert folder.wavs() == {}
    assert folder.project.unplaced == {"001_가.wav"}
    holder.names = set()
    folder.project.finish()
    folder.is_right(["가"])


def test_a_full_disk_is_said_and_leaves_nothing_half_written(folder: Folder) -> None:
    """/dev/full is the kernel's own full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    folder.open(["가", "나"])
    folder.make(1)
    (folder.path / "002_나.wav.part").symlink_to("/dev/full")
    with pytest.raises(DiskUnusable, match="disk is full"):
        folder.project.save_line(2, speech("나"), "Korean", 1)
    assert sorted(path.name for path in folder.path.iterdir()) == sorted(["001_가.wav", MANIFEST, PREVIOUS, JOURNAL])
    assert folder.open(["가", "나"]) == ["나"]
    folder.make()
    folder.is_right(["가", "나"])


@pytest.mark.parametrize("name", [JOURNAL, MANIFEST])
def test_a_disk_that_fills_up_between_audio_and_records_loses_nothing_that_was_recorded(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder.open(["가", "나"])
    folder.make(1)
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        writers = {"append_line": files.append_line, "write_atomically": files.write_atomically}
        for writer, real in writers.items():

            def failing(file: Path, content: bytes, real: object = real) -> None:
                if file.name == name:
                    raise files.disk_error(full, file)
                real(file, content)  # type: ignore[operator]

            patch.setattr(files, writer, failing)
        with pytest.raises(DiskUnusable):
            folder.project.save_line(2, speech("나"), "Korean", 1)
    assert folder.wavs().keys() == {"001_가.wav"}
    assert (folder.path / "002_나.wav.part").exists() == (name == MANIFEST)
    # A recording that the journal knows waits under another name; one that no record knows is deleted.
    assert folder.open(["가", "나"]) == (["나"] if name == JOURNAL else [])
    folder.make()
    folder.is_right(["가", "나"])


@pytest.mark.parametrize("seed", range(8))
def test_kills_and_held_files_and_edits_in_any_order_end_in_the_right_folder(
    tmp_path: Path, holder: Holder, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Ten rounds: each edits the script, holds some files, and is killed at some step or not."""
    dice = random.Random(seed)
    folder = Folder(tmp_path / "p", named=dice.random() < 0.5)
    lasting = ["가", "나", "다"]
    takes: Counter[str] = Counter()
    kills = 0
    texts = list(lasting)
    real_save = project.ProjectFolder.save_line

    def counting(self: project.ProjectFolder, number: int, *args: object, **kwargs: object) -> LineRecord:
        takes[self.record(number).text] += 1
        return real_save(self, number, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(project.ProjectFolder, "save_line", counting)
    for round_number in range(10):
        killed = False
        texts = [*lasting, *dice.sample("라마바사아자", dice.randrange(4))]
        dice.shuffle(texts)
        present = [path.name for path in folder.path.iterdir()]
        holder.names = set(dice.sample(present, min(len(present), dice.randrange(3))))
        try:
            with monkeypatch.context() as patch:
                if dice.random() < 0.6:
                    kill_after(patch, dice.randrange(30))
                folder.open(texts)
                folder.make()
                folder.project.finish()
        except PulledPlug:
            kills += 1
            killed = True
        at_their_names = {record.file: record.text for record in folder.project.manifest.lines}
        for name, content in folder.wavs().items():
            right = content == f"audio of {at_their_names.get(name)} by aaaa"
            waiting = name in holder.names or name in {path.name for path in folder.project.held}
            assert right or waiting or killed, (round_number, name, content)
    holder.names = set()
    folder.open(texts)
    folder.make()
    folder.project.finish()
    folder.is_right(texts)
    assert all(takes[text] <= 1 + kills for text in lasting), "a kill costs a line one take at most"


def test_an_interrupted_renaming_followed_by_another_edit_loses_nothing(folder: Folder) -> None:
    """Audio waited as X.moving while X was wanted for another recording: it was thrown out, and then missed."""
    folder.open(["가", "나"])
    folder.make()
    (folder.path / "001_가.wav").rename(folder.path / "002_나.wav.moving")
    assert folder.open(["가", "나"]) == []
    folder.is_right(["가", "나"])


def test_an_earlier_take_that_is_put_back_by_hand_is_known(folder: Folder) -> None:
    folder.open(["가"])
    folder.make()
    kept = (folder.path / "001_가.wav").read_bytes()
    (folder.path / "001_가.wav").unlink()
    folder.open(["가"])
    folder.project.save_line(1, replace(speech("가"), wav=b"a second take"), "Korean", 2)
    assert folder.open(["가"]) == [] and folder.wavs() == {"001_가.wav": "a second take"}
    (folder.path / "001_가.wav").write_bytes(kept)
    assert folder.open(["가"]) == []
    folder.is_right(["가"])


def script(*sentences: str, name: str = "script.txt") -> Script:
    return parse_script("\n".join(sentences), markdown=False, language="Korean")


def manifest_of(made_from: Script, created: str, project: str = "유튜브인트로", draft: bool = False) -> Manifest:
    record = ScriptRecord(name="s", sha256=script_sha256(made_from), language="Korean")
    lines = [LineRecord(number=line.number, text=line.text, file=line.file) for line in wanted_lines(made_from)]
    return Manifest(project=project, created=created, draft=draft, script=record, lines=lines)


A = script("첫째 문장입니다.", "둘째 문장입니다.", "셋째 문장입니다.", "넷째 문장입니다.")
A_TYPO = script("첫째 문장입니다.", "둘째 문장이다.", "셋째 문장입니다.", "넷째 문장입니다.")
A_HALF = script("첫째 문장입니다.", "둘째 문장입니다.", "새로운 말입니다.", "다른 말입니다.")
B = script("전혀 다른 글입니다.", "아주 다릅니다.", "첫째 문장입니다.")


def test_killed_before_midnight_and_resumed_after_it_is_one_folder() -> None:
    folders = {"2026-02-19_유튜브인트로": manifest_of(A, "2026-02-19T23:50:00+09:00")}
    assert choose_folder(A, "유튜브인트로", False, folders) == "2026-02-19_유튜브인트로"


def test_a_typo_two_days_later_goes_on_in_the_same_folder() -> None:
    folders = {"2026-02-19_유튜브인트로": manifest_of(A, "2026-02-19T10:00:00+09:00")}
    assert choose_folder(A_TYPO, "유튜브인트로", False, folders) == "2026-02-19_유튜브인트로"
    assert choose_folder(A_HALF, "유튜브인트로", False, folders) == "2026-02-19_유튜브인트로"


def test_two_scripts_under_one_name_have_two_folders_and_each_goes_on_in_its_own() -> None:
    folders = {"2026-02-19_유튜브인트로": manifest_of(A, "2026-02-19T10:00:00+09:00")}
    assert choose_folder(B, "유튜브인트로", False, folders) is None
    name = folder_name("유튜브인트로", date(2026, 2, 19), False, folders)
    assert name == "2026-02-19_유튜브인트로_2"
    folders[name] = manifest_of(B, "2026-02-19T11:00:00+09:00")
    assert choose_folder(A, "유튜브인트로", False, folders) == "2026-02-19_유튜브인트로"
    assert choose_folder(B, "유튜브인트로", False, folders) == name


def test_the_newest_of_several_folders_with_this_script_goes_on() -> None:
    folders = {
        "2026-02-19_p": manifest_of(A, "2026-02-19T10:00:00+09:00", "p"),
        "2026-02-20_p": manifest_of(A_TYPO, "2026-02-20T10:00:00+09:00", "p"),
    }
    assert choose_folder(A, "p", False, folders) == "2026-02-20_p"


def test_draft_and_voice_and_other_projects_never_share_a_folder() -> None:
    folders = {"2026-02-19_p_draft": manifest_of(A, "2026-02-19T10:00:00+09:00", "p", draft=True)}
    assert choose_folder(A, "p", False, folders) is None
    assert choose_folder(A, "p", True, folders) == "2026-02-19_p_draft"
    assert choose_folder(A, "q", True, folders) is None
    assert folder_name("p", date(2026, 2, 19), True, []) == "2026-02-19_p_draft"


def test_a_folder_name_is_compared_as_windows_and_macos_do() -> None:
    decomposed = "2026-02-19_유튜브"  # what macOS may hand back
    assert folder_name("유튜브", date(2026, 2, 19), False, [decomposed]) == "2026-02-19_유튜브_2"
    assert folder_name("Intro", date(2026, 2, 19), False, ["2026-02-19_INTRO"]) == "2026-02-19_Intro_2"


def test_the_pcs_clock_may_be_put_back_between_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both hold the script; the second, made with --new, is the one to go on in, whatever the dates say."""
    record = ScriptRecord(name="s", sha256=script_sha256(A), language="Korean")
    folders: dict[str, Manifest] = {}
    for name, day in (("first", "2030-01-01T10:00:00+09:00"), ("second", "2026-02-19T10:00:00+09:00")):
        monkeypatch.setattr(project, "now", lambda day=day: datetime.fromisoformat(day))
        folders[name] = new_project(tmp_path, name, "p", False, record, "test", folders).manifest
    assert folders["second"].created < folders["first"].created
    assert choose_folder(A, "p", False, folders) == "second"


def test_folders_from_before_the_count_are_compared_by_their_instants() -> None:
    """As texts, 09:00 in Seoul came after 08:00 in Berlin, which is seven hours later."""
    folders = {
        "seoul": manifest_of(A, "2026-02-19T09:00:00+09:00", "p"),
        "berlin": manifest_of(A, "2026-02-19T08:00:00+01:00", "p"),
    }
    assert choose_folder(A, "p", False, folders) == "berlin"


def test_a_clock_that_goes_back_in_the_middle_of_a_run_changes_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.open(["가", "나", "다"])
    folder.make(2)
    monkeypatch.setattr(project, "now", lambda: datetime.fromisoformat("2001-01-01T00:00:00+09:00"))
    assert folder.open(["가", "나", "다"]) == ["다"]
    folder.make()
    (folder.path / "001_가.wav").write_text("edited")
    folder.open(["가", "나", "다"])
    folder.make()
    folder.is_right(["가", "나", "다"])
    assert folder.old() == ["edited"]
