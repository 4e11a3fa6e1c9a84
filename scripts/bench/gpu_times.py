"""What gpu_check.py measures in time: frames, prefill, codec, stop conditions. And `Check`, the machine with its clock.

Expectations were made by reading code, before any of it had run.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bench_arms import forced_inputs
from bench_models import overhead_model, published_size, stock_engine

from server.audio.samples import Audio

MIB = 2**20
REFERENCE_FRAMES, LINE_FRAMES, FRAME_MS = 125, 60, 80
COLUMNS, WIDTH = 384, 256
"""Keys and values of the timed frames, and the columns that attention reads of them"""
GRAPH_MS = {1: "8 to 14", 8: "9 to 15", 32: "11 to 18", 64: "14 to 24", 128: "20 to 36"}
"""Expected on an H100, by rows"""


@dataclass(frozen=True)
class Check:
    device: str
    """`cpu`, `cuda` or `cuda:0`"""
    quick: bool
    """The tiny model and few repetitions"""
    scratch: Path
    tell: Callable[..., None]
    """Takes the section's name, and the finding as keywords."""

    @property
    def on_card(self) -> bool:
        return self.device.startswith("cuda")

    def synchronize(self) -> None:
        if self.on_card:
            import torch

            torch.cuda.synchronize()

    def timed_ms(self, call: Callable[[], Any], times: int) -> float:
        """The median; a first call warms up and is not counted."""
        call()
        self.synchronize()
        took = []
        for _ in range(times):
            started = time.perf_counter()
            call()
            self.synchronize()
            took.append((time.perf_counter() - started) * 1000)
        return round(median(took), 3)

    def free_mib(self) -> float:
        """Of the card, for the driver; 0 without a card."""
        import torch

        return float(torch.cuda.mem_get_info()[0] / MIB) if self.on_card else 0.0

    def folder(self) -> Path:
        """A new folder, for a model."""
        return Path(tempfile.mkdtemp(dir=self.scratch))

    def model(self, dtype: Any, predictor: Any) -> Any:
        """The 1.7B sizes; the tiny ones with quick."""
        if self.quick:
            return overhead_model(self.folder(), self.device, dtype, predictor)
        return published_size("1.7b", self.folder(), self.device, dtype, predictor)

    def engine(self, model: Any, rows: int, **more: Any) -> Any:
        from server.engines.qwen.loop.engine import with_loop

        return with_loop(
            stock_engine(model, REFERENCE_FRAMES), lambda phrase: self.tell("said", phrase=phrase), rows, **more
        )


def machine(check: Check) -> dict[str, Any]:
    import torch

    from server.engines.qwen.loop.engine import card_name

    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "card": card_name(torch.device(check.device)),
        "free_mib": round(check.free_mib()),
        "python": sys.version.split()[0],
        "cudnn": torch.backends.cudnn.version() if check.on_card else None,
    }


def release(on_card: bool) -> str:
    """Frees a section's memory; the error where CUDA refuses, as it does after a broken capture."""
    import torch

    gc.collect()
    if on_card:
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            return str(error).splitlines()[0][:200]
    return ""


def old_kernels_only() -> None:
    """Turns off what a card of the year 2016 lacks: flash attention, cuDNN's attention, TF32."""
    import torch

    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cudnn.allow_tf32 = False


def graphs_and_speed(check: Check) -> None:
    """Milliseconds of prefill, frame, codec and stop conditions; the driver's memory a graph takes; kernels a frame."""
    import torch

    if check.on_card:
        # As limit_memory does before a model is loaded.
        torch.backends.cuda.enable_cudnn_sdp(False)
    dtype = torch.bfloat16 if check.on_card else torch.float32
    model = check.model(dtype, dtype)
    rows_list = (1, 8, 32, 64, 128) if check.on_card and not check.quick else (1, 8)
    engine = check.engine(model, max(rows_list))
    with torch.inference_mode():
        prefill_time(check, engine, max(rows_list))
        for rows in rows_list:
            frame_time(check, engine, rows)
        if check.on_card:
            kernels_of_a_frame(check, engine, 8)
    codec_times(check, engine)
    stop_condition_times(check, engine)


def prefill_time(check: Check, engine: Any, rows: int) -> None:
    """Also fills all rows, eight at a time."""
    batch = engine.loop.batch
    batch.kv.reshape(rows, COLUMNS, 0)
    batch.grow_tables(COLUMNS)
    inputs = forced_inputs(engine, [LINE_FRAMES] * rows)
    first = inputs[:8]
    took = check.timed_ms(lambda: batch.start(0, first), 3)
    for start in range(0, rows, 8):
        batch.start(start, inputs[start : start + 8])
    check.tell(
        "prefill", rows=len(first), columns=len(first[0].prefill), ms=took, expected="H100: 15 to 40 ms for 8 rows"
    )


def frame_time(check: Check, engine: Any, rows: int) -> None:
    """One frame of so many rows, eager and as a graph."""
    batch, runner = engine.loop.batch, engine.loop.runner
    runner.use_graphs = check.on_card
    batch.draw_noise(rows)
    noise, positions = batch.noise[:rows, 0], batch.positions.clone()

    def in_place(frame: Callable[..., Any]) -> Any:
        batch.positions.copy_(positions)
        return frame(rows, WIDTH, noise)

    eager_ms = check.timed_ms(lambda: in_place(batch.frame), 3)
    before, started = check.free_mib(), time.perf_counter()
    runner.frame(rows, WIDTH, noise)
    check.synchronize()
    capture_s, taken = time.perf_counter() - started, before - check.free_mib()
    graph_ms = check.timed_ms(lambda: in_place(runner.frame), 10)
    check.tell(
        "speed",
        rows=rows,
        eager_ms=eager_ms,
        graph_ms=graph_ms,
        x_real_without_codec=round(rows * FRAME_MS / graph_ms, 1),
        capture_s=round(capture_s, 2),
        driver_mib=round(taken, 1),
        noise_ms=check.timed_ms(lambda: batch.draw_noise(rows), 5),
        read_back_ms=check.timed_ms(lambda: batch.read_back(rows, engine.loop.schedule.sync_frames), 5),
        use_graphs=runner.use_graphs,
        expected=f"H100: graph {GRAPH_MS[rows]} ms, eager 30 to 60 ms; 15 to 45 MiB of the driver a graph",
    )


def kernels_of_a_frame(check: Check, engine: Any, rows: int) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
        engine.loop.runner.frame(rows, WIDTH, engine.loop.batch.noise[:rows, 0])
        check.synchronize()
    events: Any = profiler.events()
    kernels = [event for event in events if str(event.device_type).endswith("CUDA")]
    check.tell(
        "kernels",
        rows=rows,
        kernels=len(kernels),
        busy_ms=round(sum(event.device_time_total for event in kernels) / 1000, 2),
        most=Counter(event.name[:70] for event in kernels).most_common(14),
        expected="2,100 to 2,300 kernels a frame",
    )


def codec_times(check: Check, engine: Any) -> None:
    """One decoder call by rows and frames, with TF32 and without."""
    import torch

    sizes = ((1, 4), (8, 4)) if check.quick else ((1, 4), (8, 4), (32, 4), (1, 60), (8, 60), (16, 60))
    engine.codec.frames_at_once = 1024
    for tf32 in (True, False) if check.on_card else (False,):
        torch.backends.cudnn.allow_tf32 = tf32
        for rows, frames in sizes:
            codes = torch.randint(0, engine.loop.batch.predictor.tokens, (frames, 16))
            pieces = [(codes, engine.reference)] * rows
            took = check.timed_ms(lambda pieces=pieces: engine.codec.decode_next(pieces), 3)
            check.tell(
                "codec",
                rows=rows,
                frames=frames,
                tf32=tf32,
                ms=took,
                ms_per_frame=round(took / rows / frames, 3),
                peak_mib_per_frame=codec_peak_mib(check, engine, pieces) / (rows * frames),
                expected="H100: 4 frames 6 to 15 ms at any rows; 16 x 60 frames 0.1 to 0.4 ms each; 4.2 MiB a frame",
            )
    torch.backends.cudnn.allow_tf32 = True


def codec_peak_mib(check: Check, engine: Any, pieces: Sequence[Any]) -> float:
    """How far a call raises torch's memory on the card; 0 without a card."""
    if not check.on_card:
        return 0.0
    import torch

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    engine.codec.decode_next(pieces)
    return float((torch.cuda.max_memory_allocated() - before) / MIB)


@dataclass(frozen=True)
class AfterSeconds:
    """A stop condition that is met after so many seconds, and takes CPU time to answer."""

    seconds: float
    cpu_ms: float
    first_s: float = 1.6
    every_s: float = 0.32

    def is_met(self, so_far: Audio) -> bool:
        end = time.thread_time() + self.cpu_ms / 1000
        while time.thread_time() < end:
            np.fft.rfft(so_far.samples[:4096])
        return so_far.seconds >= self.seconds


def stop_condition_times(check: Check, engine: Any) -> None:
    """Whether rows stop at the same frame when a thread answers, and what answers of 6 ms cost."""
    rows = min(4 if check.quick else 16, engine.loop.plan.rows)
    frames = 30 if check.quick else LINE_FRAMES
    reference: dict[int, int] | None = None
    for arm, cpu_ms, threads in (("in the loop", 0.0, 0), ("thread", 0.0, 1), ("thread, 6 ms", 6.0, 1)):
        before, started = engine.loop.counters.stopped, time.perf_counter()
        lengths = stopped_lengths(engine, 2 * rows, rows, frames, cpu_ms, threads)
        check.synchronize()
        reference = reference or lengths
        check.tell(
            "stop_conditions",
            arm=arm,
            lines=2 * rows,
            rows=rows,
            seconds=round(time.perf_counter() - started, 2),
            stopped=engine.loop.counters.stopped - before,
            same_as_first=lengths == reference,
            expected="same_as_first true; a thread with 6 ms within 1.2 times of a thread with 0 ms",
        )


def stopped_lengths(engine: Any, lines: int, rows: int, frames: int, cpu_ms: float, threads: int) -> dict[int, int]:
    """Samples of each line, spoken at most so many rows at a time."""
    from server.engines.qwen.loop.incremental_decode import IncrementalDecoder

    executor = ThreadPoolExecutor(threads) if threads else None
    decoder = IncrementalDecoder(engine.codec, engine.reference, engine._decode_next, executor)
    waiting, lengths, active = list(range(lines)), {}, set()

    def more(free: int) -> list[Any]:
        numbers = [waiting.pop(0) for _ in range(min(free, len(waiting), rows - len(active)))]
        for number in numbers:
            decoder.expect(number, AfterSeconds(1.6 + 0.08 * (number % 20), cpu_ms))
        active.update(numbers)
        inputs = forced_inputs(engine, [frames] * len(numbers))
        return [replace(row, id=number, seed=number) for row, number in zip(inputs, numbers, strict=True)]

    def deliver(finished: list[Any]) -> None:
        codes = {row.id: row.codes for row in finished}
        for number, row_codes in codes.items():
            decoder.is_met(number, row_codes)
        lengths.update({number: len(samples) for number, samples in decoder.finish(codes).items()})
        active.difference_update(codes)

    engine.loop.run(more, deliver, lambda _number: False, decoder)
    if executor is not None:
        executor.shutdown()
    return lengths
