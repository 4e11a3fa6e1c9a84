"""What becomes of a worker's lines when it has ended: tables, no process."""

from __future__ import annotations

import signal
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.worker.deaths import (
    MAX_DEATHS_FROM_OUTSIDE,
    MAX_DEATHS_WITHOUT_ANSWER,
    Death,
    Deaths,
    LineRecord,
    Verdict,
    kind_of_death,
)

CRASHED = 42
KILLED = 15 if sys.platform == "win32" else -signal.SIGTERM
WITHIN_S = 600.0


def judge(
    exit_code: int,
    *lines: LineRecord,
    over_budget: bool = False,
    alone: bool = False,
    deaths: Deaths | None = None,
    now: float = 0.0,
) -> Verdict:
    return (deaths or Deaths(WITHIN_S)).judge(exit_code, over_budget, lines, alone, now)


def fate_of(verdict: Verdict) -> str | tuple[int, int]:
    """Of a verdict on one line: how it is answered, or its deaths by the engine and from outside when it goes on."""
    if verdict.retry:
        (record,) = verdict.retry
        return record.deaths_by_engine, record.deaths_from_outside
    return "poison" if verdict.poison else "put off"


@pytest.mark.parametrize(
    ("code", "over_budget", "platform", "kind"),
    [
        (42, False, "linux", "engine"),
        (-11, False, "linux", "engine"),
        (-6, False, "linux", "engine"),
        (0, False, "linux", "engine"),
        (-9, False, "linux", "outside"),
        (-9, True, "linux", "hung"),
        (1, False, "win32", "outside"),
        (0xC0000005, False, "win32", "engine"),
        (1, True, "win32", "hung"),
    ],
)
def test_who_ended_a_worker(code: int, over_budget: bool, platform: str, kind: str) -> None:
    assert kind_of_death(code, over_budget, platform) == kind


@pytest.mark.parametrize(
    ("exit_code", "over_budget", "before", "alone", "fate"),
    [
        (CRASHED, False, (0, 0), True, (1, 0)),
        (CRASHED, False, (0, 0), False, (1, 0)),
        (CRASHED, False, (1, 0), True, "poison"),
        (CRASHED, False, (1, 0), False, (2, 0)),
        (CRASHED, False, (2, 0), True, "poison"),
        (CRASHED, False, (0, 5), True, (1, 5)),
        (KILLED, False, (0, 0), True, (0, 1)),
        (KILLED, False, (0, 1), True, "put off"),
        (KILLED, False, (0, 1), False, "put off"),
        (KILLED, False, (5, 0), True, (5, 1)),
        (KILLED, True, (1, 1), True, (1, 1)),
    ],
    ids=[
        "a first crash makes a suspect",
        "of each line that was there",
        "a second crash, alone: poison",
        "a second crash in company proves nothing",
        "the proof comes when the line is alone",
        "kills from outside are not added to crashes",
        "a first kill costs one retry",
        "after a second kill the caller is to ask again",
        "in company too",
        "crashes are not added to kills",
        "a hang is held against no line that is within its budget",
    ],
)
def test_what_becomes_of_a_line(
    exit_code: int, over_budget: bool, before: tuple[int, int], alone: bool, fate: str | tuple[int, int]
) -> None:
    verdict = judge(exit_code, LineRecord(7, "text", *before), over_budget=over_budget, alone=alone)
    assert fate_of(verdict) == fate


def test_a_line_is_a_suspect_once_the_engine_died_with_it_and_never_for_a_kill() -> None:
    (crashed,) = judge(CRASHED, LineRecord(1, "a")).retry
    (killed,) = judge(KILLED, LineRecord(1, "a")).retry
    assert crashed.suspect and not killed.suspect


def test_a_text_is_poison_at_its_sixth_kill_whichever_request_brings_it() -> None:
    deaths = Deaths(WITHIN_S)
    for number in range(1, MAX_DEATHS_FROM_OUTSIDE):
        verdict = judge(KILLED, LineRecord(number, "huge"), LineRecord(100 + number, f"other {number}"), deaths=deaths)
        assert not verdict.poison
    last = judge(KILLED, LineRecord(50, "huge"), LineRecord(51, "new"), deaths=deaths)
    assert last.poison == (50,) and [record.number for record in last.retry] == [51]


def test_a_text_that_was_answered_has_a_clean_record() -> None:
    deaths = Deaths(WITHIN_S)
    for number in range(1, MAX_DEATHS_FROM_OUTSIDE):
        judge(KILLED, LineRecord(number, "large"), deaths=deaths)
    deaths.line_answered("large")
    assert not judge(KILLED, LineRecord(50, "large"), deaths=deaths).poison


def test_five_deaths_open_the_breaker_and_an_answer_closes_it() -> None:
    deaths = Deaths(WITHIN_S)
    verdicts = [judge(CRASHED, deaths=deaths, now=float(now)) for now in range(MAX_DEATHS_WITHOUT_ANSWER)]
    assert [verdict.give_up for verdict in verdicts] == [False] * 4 + [True]
    assert [verdict.deaths for verdict in verdicts] == [1, 2, 3, 4, 5]
    deaths.line_answered("any")
    assert judge(CRASHED, deaths=deaths, now=5.0).deaths == 1


@pytest.mark.parametrize(("gap_s", "deaths"), [(0.0, 5), (150.0, 5), (150.1, 4), (600.0, 2), (600.1, 1)])
def test_deaths_before_the_window_do_not_count(gap_s: float, deaths: int) -> None:
    memory = Deaths(WITHIN_S)
    verdicts = [judge(CRASHED, deaths=memory, now=round(n * gap_s, 3)) for n in range(MAX_DEATHS_WITHOUT_ANSWER)]
    assert verdicts[-1].deaths == deaths
    assert verdicts[-1].give_up is (deaths == MAX_DEATHS_WITHOUT_ANSWER)


@given(
    st.sampled_from([0, 1, CRASHED, -11, -9, KILLED]),
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 3)), max_size=6),
)
def test_each_line_has_exactly_one_fate(
    exit_code: int, over_budget: bool, alone: bool, found: list[tuple[str, int, int]]
) -> None:
    lines = [LineRecord(number, *each) for number, each in enumerate(found)]
    verdict = judge(exit_code, *lines, over_budget=over_budget, alone=alone)
    numbers = [*verdict.poison, *verdict.put_off, *(record.number for record in verdict.retry)]
    assert sorted(numbers) == [line.number for line in lines]
    assert verdict.death is Death.HUNG or not over_budget
