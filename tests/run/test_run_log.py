from __future__ import annotations

import re
from pathlib import Path

import pytest

from client.run import log as runlog
from client.run.log import EARLIER_LOG, LOG, RunLog
from client.run.screen import PlainReport


def lines(folder: Path) -> list[str]:
    return (folder / LOG).read_text("utf-8").splitlines()


def test_what_was_told_before_the_folder_was_known_is_in_it_too(tmp_path: Path) -> None:
    log = RunLog()
    report = PlainReport(log)
    report.note("첫째")
    log.begin_in(tmp_path)
    report.note("둘째")
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  ", "", line) for line in lines(tmp_path)] == [
        "첫째",
        "둘째",
    ]


def test_the_key_is_never_in_it(tmp_path: Path) -> None:
    log = RunLog("very-secret-key")
    log.begin_in(tmp_path)
    print("To go on, run: narrate run a.txt --key very-secret-key", file=log)
    print("very-", end="", file=log)
    print("secret-key", file=log)
    text = (tmp_path / LOG).read_text("utf-8")
    assert "very-secret-key" not in text and text.count("***") == 2


def test_a_second_run_adds_to_it(tmp_path: Path) -> None:
    for word in ("one", "two"):
        log = RunLog()
        log.begin_in(tmp_path)
        print(word, file=log)
    assert [line[-3:] for line in lines(tmp_path)] == ["one", "two"]


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runlog, "MAX_LOG_BYTES", 1_000)
    for _ in range(10):
        log = RunLog()
        log.begin_in(tmp_path)
        for number in range(20):
            print(f"line {number}", file=log)
    assert sorted(path.name for path in tmp_path.iterdir()) == [EARLIER_LOG, LOG]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4_000


def test_a_log_that_cannot_be_written_stops_nothing_and_catches_up(tmp_path: Path) -> None:
    log = RunLog()
    (tmp_path / LOG).mkdir()
    log.begin_in(tmp_path)
    print("one", file=log)
    (tmp_path / LOG).rmdir()
    print("two", file=log)
    assert [line[-3:] for line in lines(tmp_path)] == ["one", "two"]
