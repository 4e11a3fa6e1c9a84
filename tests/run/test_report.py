"""The three reports: the time waited and the limit are in each."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from client.project.plan import PlannedLine, WantedLine
from client.run.log import RunLog
from client.run.report import RunReport, Summary
from client.run.screen import BarReport, JsonReport, LoggedReport, PlainReport, show_summary

LINE = PlannedLine(WantedLine(1, "가", "", "", 1, "001.wav"), None, "", 0)
TEN_HOURS = 36_000.0


def summary(**changes: object) -> Summary:
    values: dict[str, object] = {
        "folder": Path("out"),
        "lines": 3,
        "kept": 1,
        "made": 2,
        "failed": [],
        "see": [],
        "left": 0,
        "unplaced": [],
        "held": [],
        "doubtful": [],
        "audio_seconds": 9.0,
        "wall_seconds": 3.0,
        "draft": False,
        "command": "narrate run s.txt",
    }
    return Summary(**{**values, **changes})  # type: ignore[arg-type]


def test_plain_lines_say_how_long_they_wait_of_how_long_at_most_once_a_minute() -> None:
    out = io.StringIO()
    report = PlainReport(out)
    for waited in (0.0, 15.0, 59.0, 60.0, 75.0, 3_661.0):
        report.waiting("No answer.", waited, TEN_HOURS)
    assert out.getvalue().splitlines() == [
        "Waiting (0:00 of at most 10:00:00): No answer.",
        "Waiting (1:00 of at most 10:00:00): No answer.",
        "Waiting (1:01:01 of at most 10:00:00): No answer.",
    ]


@pytest.mark.parametrize("begun", [False, True])
def test_the_bar_says_it_too_before_it_begins_and_after(begun: bool) -> None:
    out = io.StringIO()
    report = BarReport(Console(file=out, force_terminal=True, width=120))
    if begun:
        report.begin(3, 3)
    report.waiting("No answer.", 61.0, TEN_HOURS)
    if begun:
        report.progress.stop()
    assert "1:01 of at most 10:00:00" in out.getvalue()


def test_json_has_both_as_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    JsonReport().waiting("No answer.", 61.04, TEN_HOURS)
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["waited_s"], event["limit_s"]) == ("waiting", 61.0, TEN_HOURS)


def test_files_that_wait_for_their_place_are_named_with_what_to_do() -> None:
    out = io.StringIO()
    held = [Path("out/001_a.wav")]
    show_summary(summary(unplaced=["001_a.wav"], held=held), Console(file=out, width=200))
    text = out.getvalue()
    assert "Finished, but not in their place yet" in text and "001_a.wav" in text
    assert "Close the file there" in text and "To go on, run: narrate run s.txt" in text


def test_the_log_is_told_everything_that_the_screen_is(tmp_path: Path) -> None:
    out, log = io.StringIO(), RunLog()
    screen: RunReport = PlainReport(out)
    report = LoggedReport(screen, PlainReport(log))
    log.begin_in(tmp_path)
    report.note("a note")
    report.begin(3, 2)
    report.waiting("No answer.", 0.0, TEN_HOURS)
    report.server_back()
    report.line_started(LINE)
    report.line_failed(LINE, "why")
    report.end(summary())
    logged = [line.split("  ", 1)[1] for line in (tmp_path / "run.log").read_text("utf-8").splitlines()]
    assert logged == [line for line in out.getvalue().splitlines() if line]


def test_the_summary_says_where_to_read_about_the_failed_lines() -> None:
    out = io.StringIO()
    show_summary(summary(see=["See this.", "See that."]), Console(file=out, soft_wrap=True))
    assert {"See this.", "See that."} <= set(out.getvalue().splitlines())
