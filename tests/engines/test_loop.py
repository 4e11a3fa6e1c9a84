"""The decode loop's rows: their noise, their ends, their places."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import loops
import pytest
import torch
from loops import CARD_SCHEDULE, CPU_SCHEDULE, GREEDY, PUBLISHED, TEXTS, Rig, alone, speak, voice

from server.engines.qwen.loop.batch import RowInput, SyncSchedule, choose_schedule
from server.engines.qwen.loop.cuda_graphs import ROW_BUCKETS
from server.engines.qwen.loop.decode_loop import DecodeLoop

CAP = 40


@pytest.fixture(scope="module")
def rig(tiny_checkpoint: Path) -> Rig:
    return Rig.on(loops.load(tiny_checkpoint))


@pytest.fixture(scope="module")
def inputs(rig: Rig) -> list[RowInput]:
    texts = [f"{TEXTS[number % len(TEXTS)]} {'하나둘셋'[: number % 5]}" for number in range(12)]
    return rig.inputs(texts, voice(rig.model), CAP, seeds=[1000 + number for number in range(12)])


@pytest.fixture(scope="module")
def fresh(rig: Rig, inputs: list[RowInput]) -> list[Any]:
    """Each row alone, in a loop of its own."""
    return [alone(rig.loop(PUBLISHED), row) for row in inputs]


def same(a: Any, b: Any) -> bool:
    return torch.equal(a.codes, b.codes) and (a.ended, a.finite) == (b.ended, b.finite)


@pytest.mark.parametrize(
    ("rows", "schedule"),
    [(12, CPU_SCHEDULE), (3, CPU_SCHEDULE), (3, CARD_SCHEDULE), (5, SyncSchedule(sync_frames=3, noise_frames=2))],
)
def test_sampled_codes_are_the_same_alone_in_a_batch_and_refilled(
    rig: Rig, inputs: list[RowInput], fresh: list[Any], rows: int, schedule: SyncSchedule
) -> None:
    loop = rig.loop(PUBLISHED, rows=rows, schedule=schedule)
    spoken = speak(loop, inputs)
    assert all(same(spoken[number], one) for number, one in enumerate(fresh))
    # Rows of different lengths, some of which end by themselves: refilling really happens.
    assert len({len(one.codes) for one in fresh}) > 3 and any(one.ended for one in fresh)
    assert loop.counters.prefill_rows == 12


def test_another_seed_or_text_is_another_take(rig: Rig, inputs: list[RowInput], fresh: list[Any]) -> None:
    other = alone(rig.loop(PUBLISHED), replace(inputs[0], seed=inputs[0].seed + 1))
    assert not torch.equal(other.codes[:2], fresh[0].codes[:2])
    assert not torch.equal(fresh[0].codes[:2], fresh[1].codes[:2])


def test_rows_are_delivered_as_soon_as_they_end(rig: Rig, inputs: list[RowInput], fresh: list[Any]) -> None:
    order: list[int] = []
    waiting = list(inputs[:8])

    def more(free: int) -> list[RowInput]:
        taken, waiting[:] = waiting[:free], waiting[free:]
        return taken

    rig.loop(PUBLISHED).run(more, lambda ended: order.extend(one.id for one in ended), lambda _id: False)
    lengths = [len(fresh[number].codes) for number in order]
    assert lengths == sorted(lengths) and len(order) == 8


def test_more_is_asked_at_every_read_back_and_rows_join_those_that_speak(
    rig: Rig, inputs: list[RowInput], fresh: list[Any]
) -> None:
    asked: list[int] = []
    spoken: dict[int, Any] = {}

    def more(free: int) -> list[RowInput]:
        asked.append(free)
        # One at every third read-back: these rows join while others are in the middle of a sentence.
        number = len(asked) // 3
        return [inputs[number]] if len(asked) % 3 == 0 and number < 8 else []

    loop = rig.loop(PUBLISHED, rows=4)
    started = iter([inputs[0]])
    loop.run(
        lambda free: list(started) or more(free),
        lambda ended: spoken.update({one.id: one for one in ended}),
        lambda _id: False,
    )
    assert len(spoken) > 3 and max(asked) <= 4
    assert all(same(one, fresh[number]) for number, one in spoken.items())


def test_a_row_that_never_ends_is_stopped_at_its_cap_and_hurts_no_other(
    rig: Rig, inputs: list[RowInput], fresh: list[Any]
) -> None:
    endless = replace(inputs[2], id=99, min_frames=10**6, cap=17)
    spoken = speak(rig.loop(PUBLISHED, rows=4, schedule=CARD_SCHEDULE), [endless, *inputs[:6]])
    assert not spoken[99].ended and spoken[99].finite and len(spoken[99].codes) == 16
    assert all(same(spoken[number], fresh[number]) for number in range(6))


def test_a_row_whose_last_token_is_the_end_counts_as_capped_as_with_stock(
    rig: Rig, inputs: list[RowInput], fresh: list[Any]
) -> None:
    number = next(number for number, one in enumerate(fresh) if one.ended)
    frames = len(fresh[number].codes)
    for schedule in (CPU_SCHEDULE, CARD_SCHEDULE):
        passed = alone(rig.loop(PUBLISHED, schedule=schedule), replace(inputs[number], cap=frames + 2))
        capped = alone(rig.loop(PUBLISHED, schedule=schedule), replace(inputs[number], cap=frames + 1))
        assert passed.ended and torch.equal(passed.codes, fresh[number].codes)
        assert not capped.ended and torch.equal(capped.codes, fresh[number].codes)


def test_a_cancelled_row_leaves_its_place_and_is_not_delivered(
    rig: Rig, inputs: list[RowInput], fresh: list[Any]
) -> None:
    endless = replace(inputs[2], id=99, min_frames=10**6, cap=10**6)
    asked = 0

    def is_cancelled(number: int) -> bool:
        nonlocal asked
        asked += number == 99
        return number == 99 and asked > 3

    # One row only: if the place were not freed, this run would never end.
    spoken = speak(rig.loop(PUBLISHED, rows=1), [endless, *inputs[:2]], is_cancelled)
    assert set(spoken) == {0, 1}
    assert all(same(spoken[number], fresh[number]) for number in (0, 1))


def test_a_row_that_is_not_finite_fails_alone_and_leaves_a_clean_place(
    rig: Rig, inputs: list[RowInput], fresh: list[Any]
) -> None:
    for poison in (float("nan"), float("inf")):
        embedded = inputs[3].prefill.clone()
        embedded[4] = poison
        broken = replace(inputs[3], id=99, prefill=embedded, cap=10**4)
        loop = rig.loop(PUBLISHED, rows=2)
        spoken = speak(loop, [inputs[0], broken, *inputs[1:6]])
        assert not spoken[99].finite
        # The next rows in that place attend over its columns with weight 0, and 0 * nan would be nan.
        assert all(same(spoken[number], fresh[number]) for number in range(6))


def test_a_row_moved_into_the_place_of_one_that_is_not_finite_stays_sound(
    rig: Rig, inputs: list[RowInput], fresh: list[Any]
) -> None:
    """The longer row left nan behind the moved row's columns; these are masked, but 0 * nan is nan."""
    embedded = torch.cat([inputs[3].prefill] * 2)
    embedded[-1] = float("nan")
    broken = replace(inputs[3], id=99, prefill=embedded, cap=10**4)
    for schedule in (CPU_SCHEDULE, CARD_SCHEDULE):
        spoken = speak(rig.loop(PUBLISHED, rows=2, schedule=schedule), [broken, inputs[0]])
        assert not spoken[99].finite
        assert same(spoken[0], fresh[0])


def test_an_overflow_in_the_code_predictor_alone_is_noticed(tiny_checkpoint: Path) -> None:
    model = loops.load(tiny_checkpoint)
    rig = Rig.on(model)
    rig.predictor.layers.weights[0].gate_up.mul_(float("inf"))
    assert not alone(rig.loop(), rig.inputs(TEXTS[:1], voice(model), 8)[0]).finite


def test_no_row_ends_before_its_second_frame(rig: Rig, inputs: list[RowInput]) -> None:
    lengths = [len(alone(rig.loop(PUBLISHED), replace(inputs[0], seed=seed, cap=4)).codes) for seed in range(40)]
    assert min(lengths) >= 2


# --- memory


def test_rows_that_no_longer_fit_begin_again_and_say_the_same(
    rig: Rig, inputs: list[RowInput], fresh: list[Any]
) -> None:
    longest = max(len(row.prefill) for row in inputs)
    loop = rig.loop(PUBLISHED, rows=12, cells=3 * 128)
    assert longest + CAP > 96  # so the first allocation, of 128 columns, is outgrown
    spoken = speak(loop, inputs)
    assert all(same(spoken[number], one) for number, one in enumerate(fresh))
    assert loop.counters.restarts > 0


@pytest.mark.parametrize("failing", ["frame", "start"])
def test_out_of_memory_is_answered_by_a_smaller_batch_and_no_line_fails(
    rig: Rig, inputs: list[RowInput], fresh: list[Any], failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    loop = rig.loop(PUBLISHED, rows=8, announce=said.append)
    stock = getattr(loop.batch, failing)

    def scarce(first: int, second: Any, *rest: Any) -> Any:
        # frame(rows, ...) and start(first_slot, inputs)
        rows = first if failing == "frame" else first + len(second)
        if rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return stock(first, second, *rest)

    monkeypatch.setattr(loop.batch, failing, scarce)
    spoken = speak(loop, inputs)
    assert all(same(spoken[number], one) for number, one in enumerate(fresh))
    assert loop.plan.rows == 2 and len(said) == 2 and "2 lines" in said[-1]


def test_out_of_memory_in_a_later_group_of_prompts_speaks_no_line_twice(
    rig: Rig, inputs: list[RowInput], fresh: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "server.engines.qwen.loop.decode_loop.PREFILL_COLUMNS", 2 * max(len(row.prefill) for row in inputs)
    )
    loop = rig.loop(PUBLISHED, rows=8)
    stock, calls = loop.batch.start, []

    def scarce(first_slot: int, starting: Any) -> None:
        calls.append(first_slot)
        if first_slot > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        stock(first_slot, starting)

    monkeypatch.setattr(loop.batch, "start", scarce)
    order: list[int] = []
    waiting = list(inputs)

    def more(free: int) -> list[RowInput]:
        taken, waiting[:] = waiting[:free], waiting[free:]
        return taken

    def deliver(ended: Any) -> None:
        order.extend(one.id for one in ended)
        assert all(same(one, fresh[one.id]) for one in ended)

    loop.run(more, deliver, lambda _id: False)
    assert max(calls) > 3 and sorted(order) == list(range(12))


def test_rows_that_an_error_left_behind_are_not_spoken_in_the_next_run(
    rig: Rig, inputs: list[RowInput], fresh: list[Any]
) -> None:
    loop = rig.loop(PUBLISHED, rows=12, cells=3 * 128)

    waiting = list(inputs)

    def more(free: int) -> list[RowInput]:
        taken, waiting[:] = waiting[:free], waiting[free:]
        return taken

    def fail(_ended: Any) -> None:
        if loop._deferred:
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        loop.run(more, fail, lambda _id: False)
    assert loop._deferred
    assert set(speak(loop, inputs[:1])) == {0}


def test_memory_for_not_even_one_row_is_an_error(
    rig: Rig, inputs: list[RowInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = rig.loop(PUBLISHED)

    def none(*_args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop.batch, "frame", none)
    with pytest.raises(torch.OutOfMemoryError):
        speak(loop, inputs[:1])


def test_a_card_that_has_become_slow_gets_fewer_rows_and_one_warning(
    rig: Rig, inputs: list[RowInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.engines.qwen.loop.slowdown import SlowdownWatch

    clock = [0.0]
    said: list[str] = []
    loop = rig.loop(PUBLISHED, rows=4, announce=said.append)
    loop.watch = SlowdownWatch()
    monkeypatch.setattr("server.engines.qwen.loop.decode_loop.time.perf_counter", lambda: clock[0])
    frame = loop.batch.frame

    def timed(*args: Any) -> Any:
        clock[0] += 0.1 if loop.counters.steps > 150 else 0.02
        return frame(*args)

    monkeypatch.setattr(loop.batch, "frame", timed)
    endless = [replace(inputs[number], min_frames=10**6, cap=330) for number in range(4)]
    speak(loop, endless)
    assert len(said) == 1 and "100 ms" in said[0] and "20 ms" in said[0]
    assert loop.plan.rows == 2


def test_a_prefill_is_not_taken_for_a_slow_card(
    rig: Rig, inputs: list[RowInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read-back after a prefill waits for the prefill too."""
    from server.engines.qwen.loop.slowdown import SlowdownWatch

    clock = [0.0]
    said: list[str] = []
    loop = rig.loop(PUBLISHED, rows=4, announce=said.append)
    loop.watch = SlowdownWatch()
    monkeypatch.setattr("server.engines.qwen.loop.decode_loop.time.perf_counter", lambda: clock[0])
    frame, start = loop.batch.frame, loop.batch.start
    pending = [0.0]

    def timed(*args: Any) -> Any:
        clock[0] += 0.02 + pending[0]
        pending[0] = 0.0
        return frame(*args)

    def queued(*args: Any) -> Any:
        pending[0] += 0.5
        return start(*args)

    monkeypatch.setattr(loop.batch, "frame", timed)
    monkeypatch.setattr(loop.batch, "start", queued)
    long = [replace(inputs[0], id=n, min_frames=10**6, cap=200) for n in range(3)]
    # Four rows until there is a baseline; then rows of one frame follow each other in the last place, and each
    # read-back comes after a prefill.
    quiet = replace(inputs[1], id=9, min_frames=10**6, cap=110)
    short = [replace(inputs[1], id=n, min_frames=10**6, cap=2) for n in range(10, 80)]
    speak(loop, [*long, quiet, *short])
    assert loop.watch is not None and loop.watch.best_ms[4] == pytest.approx(20)
    assert clock[0] > 35 and said == [] and loop.plan.rows == 4


# --- graphs


@dataclass
class Replayed:
    """A graph that was captured, replayed as plain calls."""

    loop: DecodeLoop
    rows: int
    width: int
    seen: set[tuple[int, int]] = field(default_factory=set)

    def replay(self) -> None:
        assert self.rows <= self.loop.batch.kv.rows
        self.seen.add((self.rows, self.width))
        runner = self.loop.runner
        runner._codes[: self.rows] = self.loop.batch.frame(self.rows, self.width, runner._noise[: self.rows])


def test_when_a_graph_cannot_be_captured_the_eager_path_says_the_same(
    rig: Rig, inputs: list[RowInput], fresh: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    loop = rig.loop(PUBLISHED, rows=4, announce=said.append, use_graphs=True)

    def half_done(rows: int, width: int) -> Any:
        # As warming up does before a driver refuses: it computes a real frame.
        loop.batch.frame(rows, width, loop.batch.noise[:rows, 0])
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr(loop.runner, "_capture", half_done)
    spoken = speak(loop, inputs)
    assert all(same(spoken[number], one) for number, one in enumerate(fresh))
    assert len(said) == 1 and not loop.runner.use_graphs


def test_a_graphs_idle_rows_and_fixed_addresses_change_nothing(
    rig: Rig, inputs: list[RowInput], fresh: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a graph but the capture itself: more slots than rows, one noise tensor, one tensor of codes."""
    loop = rig.loop(PUBLISHED, rows=8, schedule=CARD_SCHEDULE, use_graphs=True)
    replayed: set[tuple[int, int]] = set()
    monkeypatch.setattr(loop.runner, "_capture", lambda *shape: Replayed(loop, *shape, replayed))
    spoken = speak(loop, inputs)
    assert all(same(spoken[number], one) for number, one in enumerate(fresh))
    assert {rows for rows, _ in replayed} <= {1, 2, 3, 4, 6, 8} and len(replayed) > 3


@pytest.mark.parametrize("held_rows", [5, 7, 9])
def test_a_graph_never_runs_over_more_rows_than_have_keys_and_values(
    rig: Rig, inputs: list[RowInput], fresh: list[Any], held_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long rows leave room for fewer of them than the plan has, and for fewer than the next bucket."""
    loop = rig.loop(PUBLISHED, rows=12, cells=held_rows * 256, schedule=CARD_SCHEDULE, use_graphs=True)
    seen: set[tuple[int, int]] = set()
    monkeypatch.setattr(loop.runner, "_capture", lambda *shape: Replayed(loop, *shape, seen))
    spoken = speak(loop, inputs)
    assert all(same(spoken[number], one) for number, one in enumerate(fresh))
    # held_rows is no bucket: without the bound by memory the graph would have the next larger one.
    assert held_rows not in ROW_BUCKETS and held_rows in {rows for rows, _ in seen}


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory")]
)
def test_a_capture_without_memory_makes_the_batch_smaller_and_keeps_graphs(
    rig: Rig, inputs: list[RowInput], fresh: list[Any], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    loop = rig.loop(PUBLISHED, rows=8, announce=said.append, use_graphs=True)

    def capture(rows: int, width: int) -> Any:
        if rows > 2:
            # As in torch: ending the capture fails too, and only this second error arrives.
            try:
                raise error
            except RuntimeError:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")  # noqa: B904
        return Replayed(loop, rows, width)

    monkeypatch.setattr(loop.runner, "_capture", capture)
    spoken = speak(loop, inputs)
    assert all(same(spoken[number], one) for number, one in enumerate(fresh))
    assert loop.runner.use_graphs and loop.plan.rows == 2 and "2 lines" in said[-1]


def test_a_card_is_read_back_every_few_frames_and_a_cpu_at_each() -> None:
    assert choose_schedule("cuda").sync_frames == 4 and choose_schedule("cpu").sync_frames == 1


def test_nothing_to_say_ends_at_once(rig: Rig) -> None:
    loop: DecodeLoop = rig.loop(GREEDY)
    assert speak(loop, []) == {} and loop.counters.steps == 0
