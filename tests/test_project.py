"""What a folder holds and what is stale. Recordings here are small files; each one's bytes are its identity."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from client.api import Speech, Voice
from client.project import (
    MANIFEST,
    LineRecord,
    Manifest,
    ProjectFolder,
    ScriptRecord,
    WantedLine,
    choose_folder,
    folder_name,
    line_seed,
    new_project,
    plan_lines,
    read_manifest,
    script_sha256,
    wanted_lines,
)
from client.script import Script, parse_script

WENDY = Voice("qwen", "1.7B", "aaaa", "s1")
OTHER = Voice("qwen", "1.7B", "bbbb", "s1")
SCRIPT = ScriptRecord(name="script.txt", sha256="0", language="Korean")


def wanted(texts: Sequence[str]) -> tuple[WantedLine, ...]:
    return tuple(WantedLine(n, text, "", "", 1, f"{n:03}_{text}.wav") for n, text in enumerate(texts, 1))


def speech(text: str, voice: Voice = WENDY) -> Speech:
    return Speech(f"audio of {text} by {voice.voice}".encode(), 1.0, 24_000, 1, 1, 0.9, False, voice, 0.5)


class Folder:
    """A project folder on disk, driven as a run drives it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.project = new_project(path.parent, path.name, "p", False, SCRIPT, "test")

    def open(self, texts: Sequence[str], voice: Voice = WENDY, mix: bool = False) -> list[str]:
        """A run begins; returns the texts that it has to make."""
        manifest = read_manifest(self.path)
        self.project = ProjectFolder(self.path, manifest or self.project.manifest)
        plan = plan_lines(
            wanted(texts), "Korean", voice, self.project.manifest.lines, self.project.files_by_sha256(), mix
        )
        self.project.apply(plan, "Korean", SCRIPT)
        self.to_make = plan.to_make
        return [line.wanted.text for line in plan.to_make]

    def make(self, count: int | None = None, voice: Voice = WENDY) -> None:
        for line in self.to_make[:count]:
            self.project.save_line(
                line.wanted.number, speech(line.wanted.text, voice), "Korean", attempts=line.attempts + 1
            )

    def wavs(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.path.glob("*.wav"))}

    def old(self) -> list[str]:
        return sorted(path.read_text() for path in self.path.glob("old/*.wav"))

    def is_right(self, texts: Sequence[str]) -> None:
        """Every line's own audio under its own name, and nothing else."""
        assert self.wavs() == {f"{n:03}_{text}.wav": f"audio of {text} by aaaa" for n, text in enumerate(texts, 1)}
        assert sorted(path.name for path in self.path.iterdir() if path.is_file()) == sorted([*self.wavs(), MANIFEST])


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
    # Sound settings are made again without asking; another voice is a question for the narrator.
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


@pytest.mark.parametrize("steps", range(40))
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
    if steps == 39:
        assert finished, "more steps than the parameters cover"


@pytest.mark.parametrize("steps", range(4))
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
