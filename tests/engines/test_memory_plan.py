"""Rows and frames by a card's memory; when it runs out; when it has become slow."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from server.engines.qwen.load.memory import (
    MAX_CODEC_FRAMES,
    MIB,
    MIN_CODEC_FRAMES,
    USUAL_COLUMNS,
    WORKSPACE_BYTES,
    MemoryPlan,
    ModelSizes,
    columns_for,
    groups_within,
    plan_memory,
    process_fraction,
    rows_that_fit,
    smaller,
    usable_memory,
    width_for,
)
from server.engines.qwen.loop.slowdown import SLOW_FACTOR, WINDOW, SlowdownWatch, read_best_times, watch_with_record

GTX_1060 = ModelSizes(column_bytes=28 * 2 * 8 * 128 * 2, row_bytes=5 * MIB, codec_frame_bytes=6 * 96 * 1920 * 4)
"""The 1.7B model in float16: 112 KiB a column, 4.2 MiB a codec frame."""


def total(plan: MemoryPlan, sizes: ModelSizes) -> int:
    return (
        plan.rows * sizes.row_bytes
        + plan.cells * sizes.column_bytes
        + plan.codec_frames * sizes.codec_frame_bytes
        + WORKSPACE_BYTES
    )


@pytest.mark.parametrize("free_mib", [700, 1000, 2000, 4000, 20_000, 120_000])
def test_the_plan_stays_within_what_is_free(free_mib: int) -> None:
    plan = plan_memory(GTX_1060, free_mib * MIB, 32)
    assert total(plan, GTX_1060) <= free_mib * MIB
    assert 1 <= plan.rows <= 32 and plan.cells >= plan.rows * USUAL_COLUMNS


def test_more_memory_never_means_less_of_anything() -> None:
    plans = [plan_memory(GTX_1060, free * 100 * MIB, 32) for free in range(5, 200)]
    for before, after in itertools.pairwise(plans):
        assert after.rows >= before.rows and after.cells * 1.01 >= before.cells * 0.9
        assert after.codec_frames >= before.codec_frames
    assert plans[-1].rows == 32 and plans[-1].codec_frames == MAX_CODEC_FRAMES


@pytest.mark.parametrize(
    ("free", "taken", "reserved", "fraction", "usable"),
    [
        (1000, 4000, 4000, 0.9, 1000),  # what the driver has
        (1000, 4000, 4000, 0.75, 500),  # no more than our share of 6000
        (100, 3500, 4400, 0.9, 1000),  # what we hold idle can be used, though the driver does not count it as free
        (100, 5000, 5000, 0.8, 0),  # over our share already
    ],
)
def test_usable_is_what_is_free_or_held_idle_within_our_share(
    free: int, taken: int, reserved: int, fraction: float, usable: int
) -> None:
    assert usable_memory(free, 6000, taken, reserved, fraction) == usable


def test_a_6_gb_card_with_the_large_model_speaks_several_lines_at_a_time() -> None:
    """4.0 GiB of weights (talker float16, predictor float32, codec decoder) on a card that has 5.2 free."""
    plan = plan_memory(GTX_1060, int(1.2 * 1024) * MIB, 32)
    assert plan.rows >= 8


def test_there_is_a_plan_even_where_nothing_is_free() -> None:
    plan = plan_memory(GTX_1060, 0, 32)
    assert plan == MemoryPlan(1, USUAL_COLUMNS, MIN_CODEC_FRAMES)


def test_every_retreat_is_smaller_and_they_come_to_an_end() -> None:
    plan: MemoryPlan | None = MemoryPlan(32, 20_000, 1024)
    steps = 0
    while plan is not None:
        following = smaller(plan)
        if following is not None:
            assert following.rows <= plan.rows and following.codec_frames <= plan.codec_frames
            assert following != plan
        plan, steps = following, steps + 1
    assert 5 <= steps <= 8


def test_our_share_is_what_was_free_less_a_reserve() -> None:
    gib = 1024 * MIB
    assert process_fraction(5 * gib, 6 * gib, gib) == pytest.approx(4 / 6)
    assert process_fraction(6 * gib, 6 * gib, 0) == 1.0
    assert process_fraction(0, 6 * gib) == 0.1


@pytest.mark.parametrize("needed", [1, 90, 128, 129, 700, 6400])
def test_columns_leave_room_to_grow_and_come_in_steps(needed: int) -> None:
    columns = columns_for(needed)
    assert needed < columns <= needed * 4 / 3 + 128 and columns % 128 == 0
    assert needed <= width_for(needed) < needed + 64


def test_longer_rows_are_fewer_rows() -> None:
    plan = MemoryPlan(16, 6144, 512)
    assert [rows_that_fit(plan, columns) for columns in (128, 384, 768, 6144, 10**6)] == [16, 16, 8, 1, 1]


@pytest.mark.parametrize(
    ("sizes", "limit", "max_padding", "groups"),
    [
        ([], 10, 1.0, []),
        ([5, 5, 5], 10, 1.0, [[0, 1], [2]]),
        ([50], 10, 1.0, [[0]]),
        ([1, 2, 9], 30, 1.0, [[0, 1, 2]]),
        ([1, 2, 9], 26, 1.0, [[0, 1], [2]]),
        ([60, 63, 100], 1000, 0.15, [[0, 1], [2]]),
        ([100, 86, 84], 1000, 0.15, [[0, 1], [2]]),
    ],
)
def test_neighbours_are_grouped_within_a_bound(
    sizes: list[int], limit: int, max_padding: float, groups: list[list[int]]
) -> None:
    assert groups_within(sizes, limit, max_padding) == groups


# --- slowdown


def feed(watch: SlowdownWatch, rows: int, step_ms: float, windows: int = 1) -> list[object]:
    found = [watch.note(rows, step_ms) for _ in range(windows * WINDOW)]
    return [one for one in found if one is not None]


def test_a_machine_three_times_slower_than_it_was_is_told_once() -> None:
    watch = SlowdownWatch()
    assert feed(watch, 8, 20, 3) == []
    assert feed(watch, 8, 20 * SLOW_FACTOR - 1) == []
    (told,) = feed(watch, 8, 20 * SLOW_FACTOR + 1, 4)
    assert (told.baseline_ms, told.now_ms, told.rows) == (20, 61, 8)  # type: ignore[attr-defined]
    assert feed(watch, 4, 1) == [] and feed(watch, 4, 100, 3) == []


def test_larger_batches_and_single_slow_steps_are_no_slowdown() -> None:
    watch = SlowdownWatch()
    assert feed(watch, 1, 10, 2) == []
    assert feed(watch, 32, 100, 2) == []
    for number in range(WINDOW * 4):
        assert watch.note(1, 5000 if number % 3 == 0 else 10) is None


def test_a_worker_that_starts_into_a_slow_night_knows_the_baseline(tmp_path: Path) -> None:
    file = tmp_path / "voices" / "speeds.json"
    first = watch_with_record(file, "a card; a model")
    assert feed(first, 8, 20, 2) == [] and feed(first, 4, 12) == []
    assert feed(watch_with_record(file, "another card; a model"), 8, 30) == []
    later = watch_with_record(file, "a card; a model")
    assert later.best_ms == {8: 20, 4: 12}
    (told,) = feed(later, 8, 61)
    assert (told.baseline_ms, told.now_ms) == (20, 61)  # type: ignore[attr-defined]
    # Slower times make no new baseline; better ones do.
    assert read_best_times(file, "a card; a model") == {8: 20, 4: 12}
    feed(watch_with_record(file, "a card; a model"), 8, 15)
    assert read_best_times(file, "a card; a model") == {8: 15, 4: 12}
    assert read_best_times(file, "another card; a model") == {8: 30}


@pytest.mark.parametrize("damaged", ["", "[1, 2]", '{"a card": 5}', '{"a card": {"x": 1}}', '{"a card": {"8": null}}'])
def test_a_damaged_record_is_begun_anew(tmp_path: Path, damaged: str) -> None:
    file = tmp_path / "speeds.json"
    file.write_text(damaged, "utf-8")
    watch = watch_with_record(file, "a card")
    assert watch.best_ms == {} and feed(watch, 2, 10) == []
    assert read_best_times(file, "a card") == {2: 10}


def test_a_record_that_cannot_be_kept_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    watch = watch_with_record(tmp_path / "file" / "speeds.json", "a card")
    assert feed(watch, 2, 10) == [] and watch.best_ms == {2: 10}
    assert watch_with_record(None, "a card").best_ms == {}
