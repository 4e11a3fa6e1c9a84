"""Rows that are decoded while they are spoken, and stop when their stop condition is met: on the tiny model."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from clock import seconds
from loops import CARD_SCHEDULE, CPU_SCHEDULE
from torch import Tensor

from server.audio.samples import Audio
from server.engines import EngineSettings, TakeRequest
from server.engines.qwen.load.imports import import_qwen_tts
from server.engines.qwen.loop import engine as batched
from server.engines.qwen.loop.batch import SyncSchedule
from server.engines.qwen.loop.decode_loop import FinishedRow
from server.engines.qwen.loop.engine import BatchedQwenEngine, open_batched, with_loop
from server.engines.qwen.loop.incremental_decode import IncrementalDecoder
from server.engines.qwen.model.codec import CodecCounters
from server.engines.qwen.stock import QwenEngine
from server.errors import TakeFailed

if TYPE_CHECKING:
    from conftest import ReferenceClip

FRAME_S = 0.08
CLOSE = 5e-5
CAP = 45
LINES = [
    (number, TakeRequest(f"{number}번째 줄입니다. 그리고 잠시 쉬어가겠습니다.", "Korean", 70 + number))
    for number in range(8)
]


@dataclass
class StopAfter:
    """Met after so many frames."""

    wanted_frames: int
    first_frames: int = 6
    every_frames: int = 5
    asked: list[int] = field(default_factory=list)
    given: list[np.ndarray] = field(default_factory=list)

    @property
    def first_s(self) -> float:
        # A little less: in floating point 6 frames may be slightly more than 6, and be rounded up to 7.
        return (self.first_frames - 0.1) * FRAME_S

    @property
    def every_s(self) -> float:
        return self.every_frames * FRAME_S

    def is_met(self, so_far: Audio) -> bool:
        assert so_far.sample_rate == 24_000 and len(so_far.samples) % 1920 == 0
        self.asked.append(len(so_far.samples) // 1920)
        self.given.append(so_far.samples)
        return self.asked[-1] >= self.wanted_frames


@pytest.fixture(scope="module")
def engine(
    tiny_checkpoint: Path, reference_clip: ReferenceClip, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BatchedQwenEngine]:
    import_qwen_tts()
    settings = EngineSettings(
        engine="qwen",
        model=str(tiny_checkpoint),
        ref_audio=str(reference_clip.path),
        ref_text=reference_clip.text,
        device="cpu",
        prompt_dir=str(tmp_path_factory.mktemp("prompts")),
    )
    opened = open_batched(settings, lambda _phrase: None)
    assert isinstance(opened, BatchedQwenEngine)
    yield opened


@pytest.fixture(autouse=True)
def short_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.engines.qwen.loop.engine.frame_cap", lambda _text, _language: CAP)


def speak(engine: BatchedQwenEngine, lines: Sequence[tuple[int, TakeRequest]]) -> dict[int, Audio | TakeFailed]:
    waiting, takes = list(lines), {}

    def more(free: int) -> list[tuple[int, TakeRequest]]:
        taken, waiting[:] = waiting[:free], waiting[free:]
        return taken

    engine.speak_rows(more, takes.__setitem__, lambda _number: False)
    return takes


@pytest.fixture(scope="module")
def whole(engine: BatchedQwenEngine) -> dict[int, np.ndarray]:
    """Takes without a stop condition: the samples of those that ended by themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.engines.qwen.loop.engine.frame_cap", lambda _text, _language: CAP)
        takes = speak(engine, LINES)
    return {number: take.samples for number, take in takes.items() if isinstance(take, Audio)}


def with_stops(frames: int) -> tuple[list[tuple[int, TakeRequest]], dict[int, StopAfter]]:
    stops = {number: StopAfter(frames) for number, _ in LINES}
    return [(number, replace(row, stop=stops[number])) for number, row in LINES], stops


def worst(a: np.ndarray, b: np.ndarray) -> float:
    assert len(a) == len(b)
    return float(np.abs(a - b).max()) if len(a) else 0.0


def test_a_row_stops_where_its_condition_is_met(engine: BatchedQwenEngine, whole: dict[int, np.ndarray]) -> None:
    steps, stopped = engine.loop.counters.rows_stepped, engine.loop.counters.stopped
    lines, stops = with_stops(14)
    takes = speak(engine, lines)
    assert set(takes) == set(stops)
    long = [number for number, samples in whole.items() if len(samples) >= 16 * 1920]
    assert len(long) >= 3
    for number in long:
        take = takes[number]
        # Asked after 6, 11 and 16 frames, and stopped at the third question, whose audio is delivered.
        assert stops[number].asked == [6, 11, 16]
        assert isinstance(take, Audio) and np.array_equal(take.samples, stops[number].given[-1])
        assert worst(take.samples, whole[number][: 16 * 1920]) < CLOSE
    # Rows that reached their cap without a condition were stopped before the cap.
    assert engine.loop.counters.stopped - stopped == sum(16 in stop.asked for stop in stops.values())
    assert engine.loop.counters.rows_stepped - steps <= 17 * len(LINES)


def test_a_condition_that_is_never_met_changes_nothing(engine: BatchedQwenEngine, whole: dict[int, np.ndarray]) -> None:
    engine.codec.counters = CodecCounters()
    lines, stops = with_stops(10_000)
    takes = speak(engine, lines)
    for number, samples in whole.items():
        take = takes[number]
        assert isinstance(take, Audio) and worst(take.samples, samples) < CLOSE
        assert stops[number].asked == list(range(6, len(samples) // 1920 + 1, 5))
    assert {number for number, take in takes.items() if isinstance(take, TakeFailed)} == set(stops) - set(whole)
    counters = engine.codec.counters
    # Each frame is decoded once, in pieces or not.
    assert counters.frames_given == sum(max([len(whole.get(n, ())) // 1920, *stop.asked]) for n, stop in stops.items())


@pytest.mark.parametrize("schedule", [CPU_SCHEDULE, CARD_SCHEDULE, SyncSchedule(sync_frames=7, noise_frames=7)])
@pytest.mark.parametrize("background", [False, True])
def test_where_a_row_stops_depends_neither_on_pace_nor_on_neighbours(
    engine: BatchedQwenEngine, whole: dict[int, np.ndarray], schedule: SyncSchedule, background: bool
) -> None:
    stock = QwenEngine(engine.facts, engine.model, engine.voice, engine.sampling)
    other = with_loop(stock, lambda _phrase: None, rows_wanted=3, schedule=schedule)
    lines, stops = with_stops(10)
    with pytest.MonkeyPatch.context() as patch:
        if background:
            patch.setattr(other, "_take_decoder", lambda: in_background(other))
        takes = speak(other, lines)
    for number, samples in whole.items():
        take = takes[number]
        assert isinstance(take, Audio)
        expected = samples[: 11 * 1920] if len(samples) >= 11 * 1920 else samples
        assert worst(take.samples, expected) < CLOSE
        wanted = [frames for frames in (6, 11) if frames * 1920 <= len(samples)]
        assert stops[number].asked[: len(wanted)] == wanted


@contextmanager
def in_background(engine: BatchedQwenEngine) -> Iterator[IncrementalDecoder]:
    """As on a card: answers come from another thread."""
    with ThreadPoolExecutor(1) as executor:
        yield IncrementalDecoder(engine.codec, engine.reference, engine._decode_next, executor)


def test_a_late_answer_stops_the_row_where_it_was_asked(engine: BatchedQwenEngine) -> None:
    """The row goes on meanwhile; its frames after the question are thrown away."""
    answering = threading.Event()

    class Slow(StopAfter):
        def is_met(self, so_far: Audio) -> bool:
            answering.wait(seconds(30))
            return super().is_met(so_far)

    with ThreadPoolExecutor(1) as executor:
        decoder = IncrementalDecoder(engine.codec, engine.reference, engine._decode_next, executor)
        stop = Slow(6)
        decoder.expect(1, stop)
        said = codes(30)
        assert not decoder.due(1, 5) and decoder.due(1, 6)
        assert decoder.rows_to_stop({1: said[:6]}) == {}
        assert not decoder.due(1, 10) and decoder.rows_to_stop({1: said[:12]}) == {}
        answering.set()
        samples = decoder.finish({1: said[:20]})[1]
    assert len(samples) == 6 * 1920 and stop.asked[0] == 6
    # Once a yes is known, nothing more is asked.
    with ThreadPoolExecutor(1) as executor:
        decoder = IncrementalDecoder(engine.codec, engine.reference, engine._decode_next, executor)
        stop = StopAfter(6)
        decoder.expect(1, stop)
        decoder.rows_to_stop({1: said[:6]})
        decoder._rows[1].asked[0][1].result(30)
        assert decoder.rows_to_stop({1: said[:30]}) == {1: 6}
    assert stop.asked == [6]
    assert worst(samples, engine.codec.decode([said], engine.reference)[0][: 6 * 1920]) < CLOSE


def test_an_answer_that_comes_after_the_rows_cap_still_counts(
    engine: BatchedQwenEngine, whole: dict[int, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a row stops must not depend on how fast an answer comes."""

    class Late(StopAfter):
        def is_met(self, so_far: Audio) -> bool:
            # Answers only after the row has reached its cap, or ended.
            over.wait(seconds(30))
            return super().is_met(so_far)

    over = threading.Event()
    number = next(number for number, _ in LINES if number not in whole)
    stop = Late(11)
    monkeypatch.setattr(engine, "_take_decoder", lambda: in_background(engine))
    flaw_of = batched.flaw_of

    def told(row: FinishedRow) -> str | None:
        over.set()
        return flaw_of(row)

    monkeypatch.setattr(batched, "flaw_of", told)
    take = speak(engine, [(number, replace(LINES[number][1], stop=stop))])[number]
    assert isinstance(take, Audio) and len(take.samples) == 11 * 1920
    assert over.is_set()


def codes(frames: int) -> Tensor:
    return torch.randint(0, 32, (frames, 16), generator=torch.Generator().manual_seed(4))


def test_a_row_that_restarts_is_asked_about_from_its_first_frame(engine: BatchedQwenEngine) -> None:
    decoder = IncrementalDecoder(engine.codec, engine.reference, engine._decode_next)
    stop = StopAfter(10_000)
    decoder.expect(1, stop)
    decoder.rows_to_stop({1: codes(12)})
    decoder.restart(1)
    assert not decoder.due(1, 5)
    assert worst(decoder.finish({1: codes(13)})[1], engine.codec.decode([codes(13)], engine.reference)[0]) < CLOSE
    assert stop.asked == [6, 11, 6, 11]


def test_rows_deferred_for_want_of_memory_are_asked_about_anew(
    engine: BatchedQwenEngine, whole: dict[int, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = QwenEngine(engine.facts, engine.model, engine.voice, engine.sampling)
    other = with_loop(stock, lambda _phrase: None, rows_wanted=4)
    runner, calls = other.loop.runner.frame, iter(range(10_000))

    def scarce(rows: int, width: int, noise: Tensor) -> Tensor:
        if next(calls) == 12 and rows > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return runner(rows, width, noise)

    monkeypatch.setattr(other.loop.runner, "frame", scarce)
    lines, stops = with_stops(14)
    takes = speak(other, lines)
    assert other.loop.counters.restarts > 0 and other.loop.plan.rows == 2
    assert any(stop.asked.count(6) == 2 for stop in stops.values())
    for number, samples in whole.items():
        take = takes[number]
        assert isinstance(take, Audio)
        assert worst(take.samples, samples[: 16 * 1920]) < CLOSE


def test_a_cancelled_row_is_forgotten(engine: BatchedQwenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = IncrementalDecoder(engine.codec, engine.reference, engine._decode_next)
    monkeypatch.setattr(engine, "_take_decoder", lambda: nullcontext(decoder))
    lines, stops = with_stops(10_000)
    waiting = list(lines)
    delivered: list[int] = []

    def more(free: int) -> list[tuple[int, TakeRequest]]:
        taken, waiting[:] = waiting[:free], waiting[free:]
        return taken

    def is_cancelled(number: int) -> bool:
        return number == 2 and len(stops[2].asked) > 0

    engine.speak_rows(more, lambda number, _take: delivered.append(number), is_cancelled)
    assert sorted(delivered) == [0, 1, 3, 4, 5, 6, 7]
    # The codec's state of the row would stay in memory.
    assert decoder._rows == {}


@pytest.mark.parametrize("background", [False, True])
def test_a_condition_that_raises_costs_its_row_the_early_stop_and_no_other_row_anything(
    engine: BatchedQwenEngine,
    whole: dict[int, np.ndarray],
    background: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(StopAfter):
        def is_met(self, so_far: Audio) -> bool:
            raise ValueError("a bug")

    if background:
        monkeypatch.setattr(engine, "_take_decoder", lambda: in_background(engine))
    lines, _ = with_stops(14)
    broken = next(iter(whole))
    lines[broken] = (broken, replace(lines[broken][1], stop=Broken(14)))
    takes = speak(engine, lines)
    assert set(takes) == set(range(8))
    take = takes[broken]
    assert isinstance(take, Audio) and worst(take.samples, whole[broken]) < CLOSE
    assert "a listener failed" in caplog.text and "a bug" in caplog.text


def test_a_codec_that_has_room_for_one_row_only_decodes_them_one_after_another(
    engine: BatchedQwenEngine, whole: dict[int, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode_next = engine.codec.decode_next

    def scarce(rows: Sequence[tuple[Tensor, object]]) -> object:
        if len(rows) > 1 or sum(len(codes) for codes, _ in rows) > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode_next(rows)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.codec, "decode_next", scarce)
    monkeypatch.setattr(engine.codec, "frames_at_once", 512)
    lines, stops = with_stops(14)
    takes = speak(engine, lines)
    assert set(takes) == set(stops)
    for number, samples in whole.items():
        take = takes[number]
        assert isinstance(take, Audio) and worst(take.samples, samples[: 16 * 1920]) < CLOSE


def test_no_memory_for_decoding_on_the_way_makes_the_batch_smaller(
    engine: BatchedQwenEngine, whole: dict[int, np.ndarray]
) -> None:
    stock = QwenEngine(engine.facts, engine.model, engine.voice, engine.sampling)
    other = with_loop(stock, lambda _phrase: None, rows_wanted=4)
    decode_next, active = other.codec.decode_next, []

    def scarce(rows: Sequence[tuple[Tensor, object]]) -> object:
        # The other rows hold the memory: once fewer rows speak, there is enough.
        if other.loop.plan.rows > 2:
            active.append(len(rows))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode_next(rows)  # type: ignore[arg-type]

    other.codec.decode_next = scarce  # type: ignore[method-assign,assignment]
    lines, _stops = with_stops(6)
    takes = speak(other, lines[:4])
    assert set(takes) == set(range(4)) and active and other.loop.plan.rows == 2
    for number in [number for number in whole if number < 4]:
        take = takes[number]
        assert isinstance(take, Audio)
        assert worst(take.samples, whole[number][: 6 * 1920]) < CLOSE


def test_a_voice_without_reference_codes_stops_early_too(engine: BatchedQwenEngine) -> None:
    (voice,) = engine.voice
    bare = replace(voice, ref_code=None, x_vector_only_mode=True, icl_mode=False)
    stock = QwenEngine(engine.facts, engine.model, [bare], engine.sampling)
    other = with_loop(stock, lambda _phrase: None)
    assert other.reference.frames == 0
    lines, stops = with_stops(6)
    takes = speak(other, lines)
    full = speak(other, LINES)
    compared = 0
    for number, take in takes.items():
        whole_take = full[number]
        if isinstance(take, Audio) and isinstance(whole_take, Audio):
            assert worst(take.samples, whole_take.samples[: len(take.samples)]) < CLOSE
            compared += 1
    assert compared >= 3 and any(stop.asked for stop in stops.values())


def test_where_the_reference_is_decoded_each_time_nothing_is_asked(
    engine: BatchedQwenEngine, whole: dict[int, np.ndarray]
) -> None:
    stock = QwenEngine(engine.facts, engine.model, engine.voice, engine.sampling)
    other = with_loop(stock, lambda _phrase: None, whole_reference=True)
    lines, stops = with_stops(6)
    number = next(iter(whole))
    take = speak(other, [lines[number]])[number]
    assert isinstance(take, Audio) and stops[number].asked == []
    assert worst(take.samples, whole[number]) < CLOSE
