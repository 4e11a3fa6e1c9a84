"""Records that are lost or damaged: what is put together again, and what nobody may guess."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import pytest
from recordings import WENDY, Folder

from client.project.manifest import (
    JOURNAL,
    MANIFEST,
    PREVIOUS,
    JournalEntry,
    Manifest,
    ManifestSource,
    ScriptRecord,
    comparison_key,
    read_all_records,
    read_journal,
    read_records,
    replayed,
)
from client.project.plan import WantedLine
from client.project.rebuild import WholeWav, adopted, is_folder_of, lost_folder, whole_wavs
from server.text.pace import expected_seconds


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "2026-02-19_p")


def finished(folder: Folder, texts: list[str]) -> Folder:
    folder.open(texts)
    folder.make()
    folder.project.finish()
    return folder


DAMAGES = {
    "deleted": lambda file: file.unlink(),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "another": lambda file: file.write_text('{"format": 1, "lines": []}'),
    "folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", sorted(set(DAMAGES) - {"folder"}))
@pytest.mark.parametrize(
    "lost",
    [(MANIFEST,), (PREVIOUS,), (JOURNAL,), (MANIFEST, PREVIOUS), (MANIFEST, JOURNAL), (PREVIOUS, JOURNAL)],
    ids="+".join,
)
def test_two_of_the_three_records_may_be_lost_after_a_run(folder: Folder, lost: tuple[str, ...], damage: str) -> None:
    finished(folder, ["가", "나", "다"])
    before = read_records(folder.path)
    assert before is not None
    for name in lost:
        DAMAGES[damage](folder.path / name)
    records = read_records(folder.path)
    assert records is not None and comparison_key(records.manifest) == comparison_key(before.manifest)
    assert finished(folder, ["가", "나", "다"]).to_make == ()
    folder.is_right(["가", "나", "다"])
    restored = read_records(folder.path)
    assert restored is not None and restored.source is ManifestSource.CURRENT and not restored.journal_is_behind


@pytest.mark.parametrize("damage", sorted(set(DAMAGES) - {"folder"}))
def test_project_json_and_its_copy_may_be_lost_in_the_middle_of_a_run(folder: Folder, damage: str) -> None:
    """The copy is up to a minute old; the journal has every line."""
    folder.open(["가", "나", "다"])
    folder.make(2)
    for name in (MANIFEST, PREVIOUS):
        DAMAGES[damage](folder.path / name)
    assert folder.open(["가", "나", "다"]) == ["다"]
    folder.make()
    folder.is_right(["가", "나", "다"])


def test_the_previous_copy_alone_loses_the_last_minute_at_most(folder: Folder) -> None:
    folder.open(["가", "나", "다"])
    folder.make(2)
    (folder.path / MANIFEST).unlink()
    (folder.path / JOURNAL).unlink()
    assert folder.open(["가", "나", "다"]) == ["가", "나", "다"], "unknown audio is never taken for a line's"
    folder.make()
    folder.is_right(["가", "나", "다"])
    assert folder.old() == ["audio of 가 by aaaa", "audio of 나 by aaaa"], "and never thrown away"


def test_the_journal_gives_the_very_manifest_after_edits_and_failures(folder: Folder) -> None:
    finished(folder, ["가", "나", "다"])
    folder.open(["새", "다", "가", "옛"])
    folder.make(1)
    folder.project.save_failure(4, "why", 3)
    rebuilt = replayed(read_journal(folder.path))
    assert rebuilt is not None and comparison_key(rebuilt) == comparison_key(folder.project.manifest)
    assert [record.status for record in rebuilt.lines] == ["made", "made", "made", "failed"]
    assert rebuilt.lines[3].attempts == 3


def test_the_journal_does_not_grow_when_nothing_changes(folder: Folder) -> None:
    finished(folder, ["가", "나"])
    size = (folder.path / JOURNAL).stat().st_size
    for _ in range(3):
        finished(folder, ["가", "나"])
    assert (folder.path / JOURNAL).stat().st_size == size


@pytest.mark.parametrize("lost_bytes", [1, 2, 50, 200])
def test_a_journal_that_was_cut_off_goes_on_on_a_line_of_its_own(folder: Folder, lost_bytes: int) -> None:
    """A power cut in the middle of its last line, or zeros in its place."""
    folder.open(["가", "나", "다"])
    folder.make(1)
    journal = folder.path / JOURNAL
    content = journal.read_bytes()
    journal.write_bytes(content[:-lost_bytes] + (b"\0" * 20 if lost_bytes == 200 else b""))
    folder.open(["가", "나", "다"])
    folder.make()
    (folder.path / MANIFEST).unlink()
    (folder.path / PREVIOUS).unlink()
    assert folder.open(["가", "나", "다"]) == []
    folder.is_right(["가", "나", "다"])


def test_a_line_under_another_text_is_not_taken_when_the_journal_lost_a_project_entry() -> None:
    script = ScriptRecord(name="s", sha256="0", language="Korean")
    line = {"number": 1, "file": "001.wav", "status": "made", "sha256": "a"}
    first = Manifest.model_validate(
        {"project": "p", "created": "", "script": script.model_dump(), "lines": [{**line, "text": "가"}]}
    )
    later = JournalEntry.model_validate({"line": {**line, "text": "나", "sha256": "b"}})
    rebuilt = replayed([JournalEntry(project=first), later])
    assert rebuilt is not None and [(r.text, r.sha256) for r in rebuilt.lines] == [("가", "a")]


def test_an_older_project_json_that_a_sync_program_brought_back_loses_nothing(folder: Folder) -> None:
    folder.open(["가", "나"])
    older = (folder.path / MANIFEST).read_bytes()
    folder.make()
    (folder.path / MANIFEST).write_bytes(older)
    assert folder.open(["가", "나"]) == []
    folder.is_right(["가", "나"])


def test_a_folder_is_found_by_any_of_its_records(folder: Folder) -> None:
    finished(folder, ["가"])
    (folder.path.parent / ".locks").mkdir()
    for name in (MANIFEST, PREVIOUS):
        (folder.path / name).unlink()
        assert list(read_all_records(folder.path.parent)) == [folder.path.name]
    (folder.path / JOURNAL).unlink()
    assert read_all_records(folder.path.parent) == {}


# --- nothing but the WAVs -----------------------------------------------------------------------------------------

HELLO = WantedLine(1, "안녕하세요, 여러분.", "인트로", "인트로", 1, "001_인트로.wav")
LONGER = WantedLine(1, "오늘은 " + "아주 긴 문장을 하나 읽어 보겠습니다, " * 5, "인트로", "인트로", 1, "001_인트로.wav")
SECOND = WantedLine(2, "끝까지 봐 주셔서 감사합니다!", "", "인트로", 1, "002_끝까지.wav")


def whole(line: WantedLine, factor: float = 1.0) -> WholeWav:
    return WholeWav("a" * 64, expected_seconds(line.text, "ko") * factor, 24_000)


def test_only_the_very_name_and_a_possible_length_is_taken_and_marked_as_doubtful() -> None:
    records = adopted([HELLO, SECOND], "Korean", WENDY, {HELLO.file: whole(HELLO), "003_끝까지.wav": whole(SECOND)})
    assert [record.number for record in records] == [1]
    assert records[0].doubtful and records[0].spoken_by == WENDY and records[0].sha256 == "a" * 64


@pytest.mark.parametrize(("factor", "taken"), [(0.1, 0), (0.5, 1), (1.0, 1), (2.0, 1), (6.0, 0)])
def test_a_length_that_the_sentence_cannot_have_is_not_taken(factor: float, taken: int) -> None:
    assert len(adopted([HELLO], "Korean", WENDY, {HELLO.file: whole(HELLO, factor)})) == taken


def test_another_sentence_under_the_same_heading_is_found_out_by_its_length() -> None:
    assert adopted([LONGER], "Korean", WENDY, {LONGER.file: whole(HELLO)}) == []


def wav(samples: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(samples)
    return out.getvalue()


def test_wavs_that_are_cut_off_or_zeros_are_not_whole(tmp_path: Path) -> None:
    good = wav(b"\1\2" * 24_000)
    contents = {
        "good.wav": good,
        "half.wav": good[: len(good) // 2],
        "zeros.wav": bytes(len(good)),
        "silent.wav": wav(bytes(48_000)),
        "none.wav": wav(b""),
        "text.wav": b"not a wav",
        "empty.wav": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = whole_wavs(tmp_path)
    assert list(found) == ["good.wav"]
    assert found["good.wav"].seconds == 1.0


@pytest.mark.parametrize(
    ("name", "draft", "is_ours"),
    [
        ("2026-02-19_유튜브인트로", False, True),
        ("2026-02-19_유튜브인트로_2", False, True),
        ("2026-02-19_유튜브인트로", False, True),
        ("2026-02-19_유튜브인트로_draft", False, False),
        ("2026-02-19_유튜브인트로_draft", True, True),
        ("2026-02-19_유튜브인트로편", False, False),
        ("유튜브인트로", False, False),
    ],
)
def test_a_lost_folder_is_known_by_its_name(name: str, draft: bool, is_ours: bool) -> None:
    assert is_folder_of(name, "유튜브인트로", draft) is is_ours


def test_the_newest_lost_folder_with_this_scripts_names_is_found(tmp_path: Path) -> None:
    for name, file in (("2026-02-18_p", HELLO.file), ("2026-02-19_p", HELLO.file), ("2026-02-20_p", "music.wav")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(b"x")
    assert lost_folder(tmp_path, {}, "p", False, [HELLO]) == tmp_path / "2026-02-19_p"
    assert lost_folder(tmp_path, {"2026-02-19_p": 1}, "p", False, [HELLO]) == tmp_path / "2026-02-18_p"
    assert lost_folder(tmp_path / "none", {}, "p", False, [HELLO]) is None
