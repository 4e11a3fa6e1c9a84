"""A better splitter leaves what is finished as it was recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from clock import least_cpu_s
from recordings import WENDY, Folder, wanted

from client.project.choice import is_same_script
from client.project.manifest import LineRecord, Manifest, ScriptRecord
from client.project.plan import plan_lines, whole_recordings, with_recorded_split
from server.script.lines import Script, parse_script


def script_of(*passages: str) -> Script:
    return parse_script("\n".join(passages), False, "Korean")


def recorded(*texts: str, made: bool = True) -> list[LineRecord]:
    return [
        LineRecord(number=n, text=text, file=f"{n:03}.wav", status="made" if made else "missing", sha256=f"{n:064}")
        for n, text in enumerate(texts, 1)
    ]


def texts_of(script: Script) -> list[str]:
    return [line.text for line in script.lines]


TORN = ("“가!”", "하더니 갔다.", "밤이다.")
WHOLE = "“가!” 하더니 갔다. 밤이다."


def test_the_split_stays_as_it_was_recorded() -> None:
    assert texts_of(script_of(WHOLE)) == ["“가!” 하더니 갔다.", "밤이다."]
    assert texts_of(with_recorded_split(script_of(WHOLE), recorded(*TORN))) == list(TORN)


def test_a_passage_of_which_nothing_is_made_is_split_as_now() -> None:
    assert texts_of(with_recorded_split(script_of(WHOLE), recorded(*TORN, made=False))) == texts_of(script_of(WHOLE))


def test_a_changed_word_splits_its_own_passage_anew_and_no_other() -> None:
    lines = recorded(*TORN, "“와!”", "하더니 왔다.")
    changed = script_of("“가!” 하더니 떠났다. 밤이다.", "“와!” 하더니 왔다.")
    assert texts_of(with_recorded_split(changed, lines)) == [
        "“가!” 하더니 떠났다.",
        "밤이다.",
        "“와!”",
        "하더니 왔다.",
    ]


def test_passages_that_change_places_keep_their_split() -> None:
    lines = recorded(*TORN, "“와!”", "하더니 왔다.")
    moved = script_of("새 문장.", "“와!” 하더니 왔다.", WHOLE)
    assert texts_of(with_recorded_split(moved, lines)) == ["새 문장.", "“와!”", "하더니 왔다.", *TORN]


def test_a_line_break_of_the_writers_counts_for_more_than_the_recorded_split() -> None:
    lines = recorded("비가 온다. 춥다.")
    assert texts_of(with_recorded_split(script_of("비가 온다.", "춥다."), lines)) == ["비가 온다.", "춥다."]


def test_label_heading_and_place_in_the_file_stay_with_the_text() -> None:
    script = parse_script("# 밤\n[첫째] " + WHOLE, False, "Korean")
    kept = with_recorded_split(script, recorded(*TORN))
    assert [(line.label_source, line.heading, line.source_line) for line in kept.lines] == [
        ("첫째", "밤", 2),
        ("", "밤", 2),
        ("", "밤", 2),
    ]


def test_a_folder_with_a_torn_split_is_still_this_scripts_folder() -> None:
    torn = Manifest(
        project="p",
        created="2026-02-19T10:00:00+09:00",
        script=ScriptRecord(name="s", sha256="0", language="Korean"),
        lines=recorded("“가!”", "하더니 갔다.", "“와!”", "하더니 왔다."),
    )
    script = script_of("“가!” 하더니 갔다.", "“와!” 하더니 왔다.")
    assert is_same_script(script, torn)
    assert not is_same_script(script_of("다른 이야기다.", "전혀 다르다."), torn)


def test_ten_thousand_times_the_same_sentence_is_planned_at_once() -> None:
    """Eight times the lines are about eight times the work; quadratic work is sixty-four times as much."""

    def seconds(count: int) -> float:
        texts = ["네."] * count
        lines = [
            replaced.model_copy(update={"engine": WENDY.engine, "model": WENDY.model, "voice": WENDY.voice})
            for replaced in recorded(*texts)
        ]
        for line in lines:
            line.sha256, line.language, line.sound = "same", "Korean", WENDY.sound
        files = {"same": [line.file for line in lines]}
        script = replace(script_of("네."), lines=script_of("네.").lines * count)
        lines_wanted = wanted(texts)

        def work() -> None:
            with_recorded_split(script, lines)
            plan = plan_lines(lines_wanted, "Korean", WENDY, lines, files, False)
            assert len(whole_recordings(lines, files)) == count and not plan.to_make

        return least_cpu_s(work)

    seconds(100)
    assert seconds(8000) < 30 * seconds(1000)


@pytest.mark.parametrize("again", [["나", "가"], ["가", "가", "나"], ["나"]])
def test_each_line_takes_one_recording_of_its_text(tmp_path: Path, again: list[str]) -> None:
    folder = Folder(tmp_path / "p")
    folder.open(["가", "나", "가"])
    folder.make()
    folder.open(again)
    assert not folder.to_make
    folder.is_right(again)
