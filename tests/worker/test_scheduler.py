from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.worker.scheduler import MAX_PASSED_OVER, Waiting, hold_s, next_lines, pass_over
from server.worker.speed import Speed, retry_after_s
from server.worker.timing import Timing


def lines(*specs: tuple[str, float]) -> list[Waiting]:
    return [Waiting(number, client, weight) for number, (client, weight) in enumerate(specs, 1)]


def numbers(chosen: list[Waiting]) -> list[int]:
    return [line.number for line in chosen]


def test_one_client_is_served_in_order() -> None:
    waiting = lines(("a", 10), ("a", 10), ("a", 10))
    assert numbers(next_lines(waiting, 1, 0, "")) == [1]
    assert numbers(next_lines(list(reversed(waiting)), 2, 0, "a")) == [1, 2]


def test_two_clients_take_turns() -> None:
    waiting = lines(("a", 10), ("a", 10), ("a", 10), ("b", 10))
    assert numbers(next_lines(waiting, 1, 0, "a")) == [4]
    assert numbers(next_lines(waiting, 1, 0, "b")) == [1]
    assert numbers(next_lines(waiting, 3, 0, "")) == [1, 4, 2]


def test_a_batch_has_lines_of_similar_length() -> None:
    waiting = lines(("a", 10), ("a", 90), ("a", 12), ("a", 15))
    assert numbers(next_lines(waiting, 3, 0, "")) == [1, 3, 4]


def test_a_line_that_was_passed_over_too_often_goes_first() -> None:
    waiting = lines(("a", 10), ("a", 90), ("a", 12))
    waiting[1].passed_over = MAX_PASSED_OVER
    assert numbers(next_lines(waiting, 1, 0, "")) == [2]


def test_a_suspect_is_spoken_alone_and_nothing_joins_before() -> None:
    waiting = lines(("a", 10), ("a", 10), ("b", 10))
    waiting[2].suspect = True
    assert next_lines(waiting, 3, 1, "") == [], "others are still running"
    assert numbers(next_lines(waiting, 4, 0, "")) == [3]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(1, 200)), max_size=30),
    st.integers(0, 8),
    st.integers(0, 8),
    st.sampled_from(["", "a", "b", "c"]),
)
def test_no_line_is_chosen_twice_or_invented(specs: list[tuple[str, float]], free: int, active: int, last: str) -> None:
    waiting = lines(*specs)
    chosen = next_lines(waiting, free, active, last)
    assert len(chosen) <= free
    assert len({line.number for line in chosen}) == len(chosen)
    assert all(line in waiting for line in chosen)
    assert bool(chosen) == bool(waiting and free)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(1, 200)), min_size=1, max_size=40), st.integers(1, 8))
def test_nobody_starves_however_many_better_lines_arrive(specs: list[tuple[str, float]], rows: int) -> None:
    """Before each batch a line arrives that fits better than anything; the odd one out still leaves in time."""
    odd = Waiting(0, "a", 1000.0)
    waiting = [odd, *lines(*specs)]
    crowd = len(waiting)
    last = ""
    for batch in range(crowd + MAX_PASSED_OVER + 1):
        chosen = next_lines(waiting, rows, 0, last)
        pass_over(waiting, chosen)
        if odd in chosen:
            return
        waiting = [line for line in waiting if line not in chosen]
        last = chosen[-1].client
        waiting.append(Waiting(1000 + batch, "b", chosen[0].weight))
    raise AssertionError("starved")


NOW = 1000.0
TIMING = Timing()
SETTLE_S, MAX_HELD_S = TIMING.settle_s, TIMING.max_held_s
LATE = MAX_HELD_S + 1


def came(*ago_s: float, suspect: bool = False) -> list[Waiting]:
    return [Waiting(number, "a", 10, suspect, arrived=NOW - ago) for number, ago in enumerate(ago_s, 1)]


@pytest.mark.parametrize(
    ("waiting", "free", "held_s"),
    [
        (came(0.0), 8, SETTLE_S),
        (came(SETTLE_S / 4), 8, SETTLE_S * 3 / 4),
        (came(SETTLE_S * 2, SETTLE_S / 4), 8, SETTLE_S * 3 / 4),
        (came(SETTLE_S), 8, 0.0),
        (came(MAX_HELD_S - SETTLE_S / 4, 0.0), 8, SETTLE_S / 4),
        (came(MAX_HELD_S, 0.0), 8, 0.0),
        (came(LATE, 0.0), 8, 0.0),
        (came(LATE), 8, 0.0),
        ([], 8, 0.0),
    ],
    ids=[
        "a line that has come just now waits for others",
        "as long as is left",
        "the newest counts",
        "no other has come",
        "the oldest never waits longer than this",
        "nor any longer",
        "a line that waited for a place has waited enough",
        "alone too",
        "nothing to hold",
    ],
)
def test_lines_that_come_at_once_are_waited_for(waiting: list[Waiting], free: int, held_s: float) -> None:
    assert hold_s(waiting, free, NOW, TIMING) == pytest.approx(held_s, abs=1e-9)


@pytest.mark.parametrize(
    ("waiting", "free", "draining"),
    [
        (came(0.0, 0.0, 0.0), 3, False),
        (came(0.0, 0.0, 0.0), 1, False),
        (came(0.0), 1, False),
        (came(0.0), 0, False),
        (came(0.0, suspect=True), 8, False),
        (came(0.0), 8, True),
    ],
    ids=["as many as places", "more than places", "an engine of one row", "no place", "a suspect", "draining"],
)
def test_there_is_no_waiting_where_nothing_is_won(waiting: list[Waiting], free: int, draining: bool) -> None:
    assert hold_s(waiting, free, NOW, TIMING, draining) == 0.0


@given(st.lists(st.floats(0, 2 * SETTLE_S), min_size=1, max_size=200), st.integers(1, 128))
def test_no_stream_of_lines_holds_the_first_for_longer_than_the_most(gaps_s: list[float], free: int) -> None:
    waiting: list[Waiting] = []
    now = NOW
    for number, gap_s in enumerate(gaps_s):
        waiting.append(Waiting(number, "a", 10, arrived=now))
        held_s = hold_s(waiting, free, now, TIMING)
        assert now + held_s <= NOW + MAX_HELD_S + 1e-9
        if held_s <= gap_s:
            return  # handed over before the next one comes
        now += gap_s


def test_the_budget_is_generous_before_anything_was_measured_and_follows_the_machine_after() -> None:
    speed = Speed()
    assert speed.budget_s(40) == TIMING.unmeasured_budget_s
    speed.learn(40, 26)
    assert speed.expected_s(40) == pytest.approx(26)
    assert speed.budget_s(40) > 10 * 26
    fast = Speed()
    fast.learn(40, 0.05)
    assert fast.budget_s(40) == TIMING.budget_floor_s


def test_one_slow_line_does_not_change_the_measure_much() -> None:
    speed = Speed()
    for _ in range(10):
        speed.learn(10, 1)
    speed.learn(10, 10)
    assert speed.expected_s(10) < 3


def test_the_time_to_come_back_grows_with_the_queue_and_stays_within_two_minutes() -> None:
    times = [retry_after_s(seconds) for seconds in (0, 1, 10, 60, 1000, 1e9)]
    assert times == sorted(times)
    assert all(1 <= after <= 120 and isinstance(after, int) for after in times)


def test_restarts_slow_down_while_workers_never_become_ready() -> None:
    delays = [TIMING.restart_delay_s(failures) for failures in range(8)]
    assert delays == [*TIMING.restart_delays_s, 60.0, 60.0, 60.0]
    assert delays == sorted(delays)
