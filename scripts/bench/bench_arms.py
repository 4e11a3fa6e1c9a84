"""The arms of the engine's benchmark: stock qwen-tts, its fast relatives and our loop, each doing the same work.

An arm speaks lines of a given number of frames each, from text to WAV, on one model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import bench_peers
from bench_measure import PARTS, Clock, PeakMemory
from bench_profile import Counts, counts_of, marks

SAMPLES_PER_FRAME = 1920
LINE = "The lamp on the table was still warm, and nobody had touched it since the morning of the third day."


@dataclass
class Arm:
    name: str
    speak: Callable[[Bench, Arm, list[int], Clock], int]
    """speaks lines of so many frames each; returns how many frames were kept"""
    rows: int
    lines: int
    is_ours: bool = False
    cpu_ms: list[float] = field(default_factory=list)
    """of each job, per frame that was kept"""
    wall_ms: list[float] = field(default_factory=list)
    parts_ms: dict[str, list[float]] = field(default_factory=dict)
    peak_bytes: list[int] = field(default_factory=list)
    """empty where the system does not tell"""
    risen_bytes: list[int] = field(default_factory=list)
    """above the memory at the beginning of the job"""
    notes: dict[str, float] = field(default_factory=dict)


@dataclass
class Bench:
    model_name: str
    device: str
    stock: Any
    """a QwenEngine"""
    engines: dict[int, Any]
    """a BatchedQwenEngine per number of rows"""
    frames: int
    with_codec: bool

    @property
    def on_card(self) -> bool:
        return self.device.startswith("cuda")

    def run(self, arm: Arm, keep: bool) -> None:
        """Runs one job of this arm; keep: add its figures to the arm's."""
        lengths = [self.frames] * arm.lines
        clock, memory = Clock(self.on_card), PeakMemory(self.device)
        with memory, clock:
            kept = arm.speak(self, arm, lengths, clock)
        assert kept == sum(lengths), (arm.name, kept, sum(lengths))
        if not keep:
            return
        arm.cpu_ms.append(clock.cpu_s * 1000 / kept)
        arm.wall_ms.append(clock.wall_s * 1000 / kept)
        if memory.bytes is not None:
            arm.peak_bytes.append(memory.bytes)
            # Linux counts a process's memory with a delay: the peak may be a little below the memory before the job.
            arm.risen_bytes.append(max(0, memory.bytes - memory.before))
        for part in PARTS:
            arm.parts_ms.setdefault(part, []).append(clock.parts_s.get(part, 0.0) * 1000 / kept)

    def base_ms(self, arm: Arm) -> list[float]:
        """The times to compare on this device: on a card the CPU's time means nothing."""
        return arm.wall_ms if self.on_card else arm.cpu_ms


def speak_stock(bench: Bench, arm: Arm, lengths: list[int], clock: Clock) -> int:
    """Stock's own call, from text to WAV; returns the frames kept."""
    model = bench.stock.model
    talker, tokens = model.model.talker, lengths[0] + 1
    kept = 0
    with (
        forced(talker, tokens),
        codec_watched(bench, arm, clock, sum(lengths)),
        clock.timing(talker.model, "forward", prefill_or_talker),
        clock.timing(talker.code_predictor, "generate", "predictor"),
    ):
        for start in range(0, len(lengths), arm.rows):
            rows = min(arm.rows, len(lengths) - start)
            takes, rate = model.generate_voice_clone(
                text=[LINE] * rows,
                language="Korean",
                voice_clone_prompt=bench.stock.voice,
                non_streaming_mode=True,
                max_new_tokens=tokens,
                **bench.stock.sampling,
            )
            kept += sum(written(take, rate) for take in takes)
    arm.notes["padding efficiency"] = kept / (arm.rows * clock.calls["predictor"])
    return kept


def peer_arm(peer: bench_peers.Peer) -> Arm:
    """An arm of the package's own call, from text to WAV."""

    def speak(bench: Bench, arm: Arm, lengths: list[int], clock: Clock) -> int:
        kept = 0
        with (
            codec_watched(bench, arm, clock, sum(lengths)),
            clock.timing(bench.stock.model.model.talker.model, "forward", prefill_only),
            clock.timing(peer.talker, "run", "talker"),
            clock.timing(peer.predictor, "run", "predictor"),
        ):
            for start in range(0, len(lengths), arm.rows):
                takes, rate = peer.speak(LINE, lengths[start])
                kept += sum(written(take, rate) for take in takes)
        arm.notes["padding efficiency"] = kept / (arm.rows * clock.calls["predictor"])
        return kept

    return Arm(f"{peer.label} B={peer.rows}", speak, peer.rows, peer.rows)


def speak_ours(bench: Bench, arm: Arm, lengths: list[int], clock: Clock) -> int:
    """Our loop and codec, from text to WAV; returns the frames kept."""
    engine = bench.engines[arm.rows]
    waiting, kept = list(lengths), 0

    def more(free: int) -> list[Any]:
        taken, waiting[:] = waiting[:free], waiting[free:]
        return forced_inputs(engine, taken)

    def deliver(finished: list[Any]) -> None:
        nonlocal kept
        takes = [row.codes for row in finished]
        decoded = engine.decoded(takes) if bench.with_codec else silence([len(codes) for codes in takes])
        kept += sum(written(samples, 24_000) for samples in decoded)

    before, codec_before = replace(engine.loop.counters), replace(engine.codec.counters)
    with (
        clock.timing(engine.loop.batch.talker, "start", "prefill"),
        clock.timing(engine.loop.batch.talker, "step", "talker"),
        clock.timing(engine.loop.batch.predictor, "frame", "predictor"),
        clock.timing(engine, "decoded", "codec"),
    ):
        engine.loop.run(more, deliver, lambda _number: False)
    counters, codec = engine.loop.counters, engine.codec.counters
    steps = counters.steps - before.steps
    arm.notes["padding efficiency"] = (counters.frames_kept - before.frames_kept) / (steps * arm.rows)
    arm.notes["read-backs per frame"] = (counters.read_backs - before.read_backs) / steps
    if codec.frames_given > codec_before.frames_given:
        arm.notes["codec frames per frame"] = (codec.frames_decoded - codec_before.frames_decoded) / (
            codec.frames_given - codec_before.frames_given
        )
    return kept


def written(samples: Any, rate: int) -> int:
    """Makes a WAV of a take; returns the take's frames."""
    import numpy as np

    from server.audio.samples import Audio, to_wav

    to_wav(Audio(np.asarray(samples, np.float32), rate))
    # Rounded: the packages cut the reference off by a float ratio and may be one sample out.
    return round(len(samples) / SAMPLES_PER_FRAME)


@contextmanager
def codec_watched(bench: Bench, arm: Arm, clock: Clock, frames: int) -> Iterator[None]:
    """Counts and times what the stock tokenizer decodes for a job of so many frames; without the codec it decodes
    nothing and gives silence."""
    tokenizer = bench.stock.model.model.speech_tokenizer
    decode, decoded = tokenizer.decode, 0

    def counted(encoded: Any) -> Any:
        nonlocal decoded
        lengths = code_lengths(encoded)
        decoded += max(lengths) * len(lengths)
        return decode(encoded) if bench.with_codec else (silence(lengths), 24_000)

    with patch.object(tokenizer, "decode", counted), clock.timing(tokenizer, "decode", "codec"):
        yield
    if bench.with_codec:
        arm.notes["codec frames per frame"] = decoded / frames


def code_lengths(encoded: Any) -> list[int]:
    """Frames of each row: stock gives a list with one dict per row, the peers a dict with all rows."""
    if isinstance(encoded, dict):
        rows, frames = encoded["audio_codes"].shape[:2]
        return [int(frames)] * int(rows)
    return [len(one["audio_codes"]) for one in encoded]


def silence(lengths: Sequence[int]) -> list[Any]:
    import numpy as np

    return [np.zeros(frames * SAMPLES_PER_FRAME, np.float32) for frames in lengths]


def prefill_or_talker(kwargs: dict[str, Any]) -> str:
    return "prefill" if kwargs["inputs_embeds"].shape[1] > 1 else "talker"


def prefill_only(kwargs: dict[str, Any]) -> str | None:
    return "prefill" if kwargs["inputs_embeds"].shape[1] > 1 else None


def forced_inputs(engine: Any, lengths: list[int]) -> list[Any]:
    """Rows of LINE that speak exactly so many frames each, numbered and seeded from 0 on."""
    from server.engines import TakeRequest

    inputs = [engine.row_input(number, TakeRequest(LINE, "Korean", number)) for number in range(len(lengths))]
    return [replace(row, cap=frames + 1, min_frames=frames + 1) for row, frames in zip(inputs, lengths, strict=True)]


@contextmanager
def forced(talker: Any, tokens: int) -> Iterator[None]:
    """Stock speaks exactly tokens - 1 frames: its last token never becomes one."""
    generate = talker.generate

    def longer(*args: Any, **kwargs: Any) -> Any:
        return generate(*args, **kwargs | {"min_new_tokens": tokens, "max_new_tokens": tokens})

    with patch.object(talker, "generate", longer):
        yield


def counts_per_frame(bench: Bench, arm: Arm, apart: int = 8) -> Counts:
    """Counts of one frame of the whole batch, without the codec, by the difference of two jobs.

    apart: by how many frames the jobs differ; our loop draws noise for eight frames at a time.
    """
    without_codec = replace(bench, with_codec=False)

    def count(frames: int) -> Counts:
        def job() -> int:
            return arm.speak(without_codec, replace(arm, notes={}), [frames] * arm.rows, Clock())

        if bench.on_card:
            job()  # graphs of this size are captured here
        return counts_of(job, bench.on_card, arm.is_ours)

    with ExitStack() as stack:
        if arm.is_ours and not bench.on_card:
            stack.enter_context(marks(bench.engines[arm.rows].loop.batch))
        return count(2 + apart).per_frame(count(2), apart)
