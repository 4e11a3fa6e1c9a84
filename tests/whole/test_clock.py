"""Deadlines grow with the load, and only with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest
from clock import MAX_FACTOR, QUIET_WORK_S, Clock, Measurement, allowed_s, exit_code_of, output_of, wait_until

QUIET, SLOW, SLOWER = QUIET_WORK_S, 3 * QUIET_WORK_S, 8 * QUIET_WORK_S


@pytest.mark.parametrize(
    ("measurements", "now_s", "expected_s"),
    [
        ([], 0.0, 10.0),
        ([(0.0, QUIET)], 1.0, 10.0),
        ([(0.0, QUIET / 4)], 1.0, 10.0),
        ([(0.0, SLOW)], 1.0, 30.0),
        ([(0.0, SLOWER), (50.0, SLOW)], 60.0, 80.0),
        ([(0.0, SLOWER), (50.0, SLOW)], 150.0, 30.0),
        ([(0.0, SLOW)], 9_000.0, 30.0),
        ([(0.0, 1_000.0)], 1.0, 10.0 * MAX_FACTOR),
    ],
)
def test_how_long_ten_quiet_seconds_are(
    measurements: Sequence[tuple[float, float]], now_s: float, expected_s: float
) -> None:
    assert allowed_s(10.0, [Measurement(*each) for each in measurements], now_s) == pytest.approx(expected_s)


def clock_of(*works: float) -> Clock:
    """Its measurements come in turn; no time passes between them."""
    left = list(works)
    return Clock(work=lambda: left.pop(0), now=lambda: 0.0)


@pytest.mark.parametrize(
    ("works", "waited_s", "over", "measured"),
    [
        ((QUIET,), 9.0, False, 1),
        ((QUIET, QUIET), 11.0, True, 2),
        ((QUIET, SLOW), 11.0, False, 2),
        ((QUIET, SLOW), 31.0, True, 2),
        ((SLOW,), 29.0, False, 1),
        ((SLOW, QUIET), 31.0, True, 2),
    ],
)
def test_a_wait_that_ran_out_is_measured_anew_before_it_is_given_up(
    works: tuple[float, ...], waited_s: float, over: bool, measured: int
) -> None:
    clock = clock_of(*works)
    clock.refresh()
    assert clock.over(waited_s, 10.0) is over
    assert len(clock.measurements) == measured


def test_a_test_begins_with_a_new_measurement_once_the_last_is_old() -> None:
    times = iter((0.0, 10.0, 40.0, 40.0, 40.0))
    clock = Clock(work=iter((QUIET, SLOW)).__next__, now=times.__next__)
    for measured in (1, 1, 2):
        clock.refresh()
        assert len(clock.measurements) == measured
    assert clock.seconds(10.0) == pytest.approx(30.0)


def test_what_never_happens_ends_the_wait_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clock.CLOCK", clock_of(QUIET, QUIET))
    with pytest.raises(AssertionError, match="the moon did not happen"):
        wait_until(lambda: False, 0.05, "the moon")
    assert wait_until(iter(("", "", "third")).__next__, 60) == "third"


def test_a_program_that_runs_for_ever_is_ended_and_one_that_ends_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.PIPE)
    with monkeypatch.context() as patch:
        patch.setattr("clock.CLOCK", clock_of(QUIET, QUIET))
        with pytest.raises(AssertionError, match="runs for ever"):
            output_of(hanging, 0.05)
    assert hanging.returncode not in (None, 0)
    speaking = subprocess.Popen([sys.executable, "-c", "print('done')"], stdout=subprocess.PIPE)
    assert output_of(speaking, 60).strip() == b"done"
    assert exit_code_of(speaking, 60) == 0
