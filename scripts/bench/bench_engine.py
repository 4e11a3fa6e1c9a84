"""How fast the engine speaks, beside stock qwen-tts and its fast relatives doing the same work.

    python scripts/bench/bench_engine.py

Needs no downloaded model: `overhead` has the real depth and a tiny width, so that what it measures is what each frame
costs besides arithmetic, which is what holds a graphics card back; `0.6b` and `1.7b` have the published sizes with
random weights. Every line is made to speak the same number of frames. Arms take turns, round by round; the figures
are medians. The first round warms up and is not counted. On a CPU ratios are of CPU time as well as of wall time,
which other programs disturb; on a card wall time is what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "scripts" / "bench")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import bench_peers

from server.engines.qwen.load.imports import import_qwen_tts

FRAMES_PER_SECOND = 12.5
SAMPLES_PER_FRAME = 1920
LINE = "The lamp on the table was still warm, and nobody had touched it since the morning of the third day."
REFERENCE_TEXT = "나는 오늘도 천천히 길을 걷는다."
RAGGED = (24, 38, 41, 45, 52, 55, 58, 60, 63, 66, 71, 78, 84, 92, 105, 120)
"""Frames of a script's lines, dummy included: a tenth under 3 s, the middle at 5 s, a tenth over 8 s."""
PARTS = ("prefill", "talker", "predictor", "codec")
ONCE_A_LINE = ("prefill", "codec")
"""Parts that come once a line: on a card these can be waited for without slowing down what is measured."""
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass
class Arm:
    name: str
    speak: Callable[[Bench, Arm, list[int], Clock], int]
    """lines of so many frames each, to how many frames were kept"""
    rows: int
    lines: int
    is_ours: bool = False
    cpu_ms: list[float] = field(default_factory=list)
    """of the whole job, per frame that was kept"""
    wall_ms: list[float] = field(default_factory=list)
    parts_ms: dict[str, list[float]] = field(default_factory=dict)
    peak_bytes: list[int] = field(default_factory=list)
    """empty where nothing tells"""
    risen_bytes: list[int] = field(default_factory=list)
    """above what there was when the job began"""
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
            # Linux adds up a process's memory with a delay: the peak may read a little less than what was there before.
            arm.risen_bytes.append(max(0, memory.bytes - memory.before))
        for part in PARTS:
            arm.parts_ms.setdefault(part, []).append(clock.parts_s.get(part, 0.0) * 1000 / kept)

    def base_ms(self, arm: Arm) -> list[float]:
        """What counts on this device: on a card the CPU's time says nothing."""
        return arm.wall_ms if self.on_card else arm.cpu_ms


# --- the arms


def speak_stock(bench: Bench, arm: Arm, lengths: list[int], clock: Clock) -> int:
    """Frames kept of stock's own call, from text to WAV."""
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
    """The package's own call, from text to WAV."""

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
    """Frames kept of our loop and codec, from text to WAV."""
    import numpy as np

    engine = bench.engines[arm.rows]
    waiting, kept = list(lengths), 0

    def more(free: int) -> list[Any]:
        taken, waiting[:] = waiting[:free], waiting[free:]
        return forced_prompts(engine, taken)

    def deliver(spoken: list[Any]) -> None:
        nonlocal kept
        takes = [one.codes for one in spoken]
        silence = [np.zeros(len(codes) * SAMPLES_PER_FRAME, np.float32) for codes in takes]
        kept += sum(written(samples, 24_000) for samples in (engine.decoded(takes) if bench.with_codec else silence))

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
    arm.notes["looks per frame"] = (counters.looks - before.looks) / steps
    if codec.frames_given > codec_before.frames_given:
        arm.notes["codec frames per frame"] = (codec.frames_decoded - codec_before.frames_decoded) / (
            codec.frames_given - codec_before.frames_given
        )
    return kept


def written(samples: Any, rate: int) -> int:
    """Makes a WAV of a take; how many frames it has."""
    import numpy as np

    from server.audio.samples import Audio, to_wav

    to_wav(Audio(np.asarray(samples, np.float32), rate))
    # Rounded: the packages cut the reference off by a float ratio and may be one sample out.
    return round(len(samples) / SAMPLES_PER_FRAME)


@contextmanager
def codec_watched(bench: Bench, arm: Arm, clock: Clock, frames: int) -> Iterator[None]:
    """Counts and times what the stock tokenizer decodes for so many frames, or leaves decoding out."""
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


class Clock:
    """Process CPU time and wall time of a job, and of the parts that are wrapped meanwhile."""

    def __init__(self, on_card: bool = False) -> None:
        self.on_card = on_card
        self.cpu_s = self.wall_s = 0.0
        self.parts_s: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def __enter__(self) -> Clock:
        synchronize()
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_error: object) -> None:
        synchronize()
        self.cpu_s, self.wall_s = time.process_time() - self._cpu, time.perf_counter() - self._wall

    @contextmanager
    def timing(self, thing: Any, name: str, part: str | Callable[[dict[str, Any]], str | None]) -> Iterator[None]:
        """CPU time inside this method. On a card wall time, waited for in what comes once a line; of what comes once a
        frame only the launch is seen, and its time means nothing."""
        stock = getattr(thing, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            key = part if isinstance(part, str) else part(kwargs)
            if key is None:
                return stock(*args, **kwargs)
            started = self._now(key)
            result = stock(*args, **kwargs)
            self.parts_s[key] = self.parts_s.get(key, 0.0) + self._now(key) - started
            self.calls[key] = self.calls.get(key, 0) + 1
            return result

        with patch.object(thing, name, timed):
            yield

    def _now(self, part: str) -> float:
        if not self.on_card:
            return time.process_time()
        if part in ONCE_A_LINE:
            synchronize()
        return time.perf_counter()


def prefill_or_talker(kwargs: dict[str, Any]) -> str:
    return "prefill" if kwargs["inputs_embeds"].shape[1] > 1 else "talker"


def prefill_only(kwargs: dict[str, Any]) -> str | None:
    return "prefill" if kwargs["inputs_embeds"].shape[1] > 1 else None


class PeakMemory:
    """The most memory while it is open: what torch had allocated of the card, or what the whole process had in RAM.

    Weights count, and so does what other arms keep. None where nothing tells: off Linux, and where a container forbids
    setting the process's mark back.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.before = 0
        self.bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = int(torch.cuda.memory_allocated(self.device))
        elif forget_peak():
            self.before = status_bytes("VmRSS")
        return self

    def __exit__(self, *_error: object) -> None:
        if self.device.startswith("cuda"):
            import torch

            self.bytes = int(torch.cuda.max_memory_allocated(self.device))
        elif self.before:
            self.bytes = status_bytes("VmHWM")


def forget_peak() -> bool:
    """Sets the process's peak back to what it has now; whether that could be done."""
    try:
        CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def status_bytes(name: str) -> int:
    """A line of Linux's status of this process, which is in kB."""
    lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def forced_prompts(engine: Any, lengths: list[int]) -> list[Any]:
    """Lines that speak exactly so many frames."""
    from server.engines import TakeRequest

    prompts = [engine.prompt(number, TakeRequest(LINE, "Korean", number)) for number in range(len(lengths))]
    return [
        replace(prompt, cap=frames + 1, shortest=frames + 1) for prompt, frames in zip(prompts, lengths, strict=True)
    ]


@contextmanager
def forced(talker: Any, tokens: int) -> Iterator[None]:
    """Stock speaks exactly tokens - 1 frames: its last token never becomes one."""
    generate = talker.generate

    def longer(*args: Any, **kwargs: Any) -> Any:
        return generate(*args, **kwargs | {"min_new_tokens": tokens, "max_new_tokens": tokens})

    with patch.object(talker, "generate", longer):
        yield


def synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


# --- models


def overhead_model(folder: Path, device: str = "cpu", dtype: Any = None, predictor: Any = None) -> Any:
    """The tiny model at real depth, in float32 unless told otherwise; the codec always is."""
    import loops
    import torch

    model_class: Any = import_qwen_tts().Qwen3TTSModel
    dtype = dtype or torch.float32
    model = model_class.from_pretrained(
        str(loops.build_deep(folder / "overhead")), device_map=device, dtype=dtype, attn_implementation="sdpa"
    )
    model.model.speech_tokenizer.model.float()
    in_formats(model.model, dtype, predictor or dtype)
    return model


def in_formats(inner: Any, dtype: Any, predictor: Any) -> None:
    """The code predictor in a format of its own, as the server does it; a model of one format stays as it is, without
    the casts that stock would pay for."""
    if predictor != dtype:
        from server.engines.qwen.load.mixed_precision import split_precision

        split_precision(inner, predictor)


def published_size(name: str, folder: Path, device: str, dtype: Any, predictor: Any = None) -> Any:
    """A Qwen3TTSModel of the published sizes with random weights, and the tiny model's tokenizer; the codec is in
    float32."""
    import tiny_checkpoint
    import torch
    from qwen_tts import Qwen3TTSModel, Qwen3TTSTokenizer
    from qwen_tts.core import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration, Qwen3TTSProcessor
    from transformers import Qwen2TokenizerFast
    from transformers.modeling_utils import no_init_weights

    tiny = tiny_checkpoint.build(folder / "tiny")
    torch.manual_seed(0)
    with no_init_weights():
        torch.set_default_dtype(dtype)
        inner = Qwen3TTSForConditionalGeneration(Qwen3TTSConfig(**model_config(name))).eval()
        torch.set_default_dtype(torch.float32)
        codec = Qwen3TTSTokenizerV2Model(Qwen3TTSTokenizerV2Config(**codec_config())).eval()
    for module in (inner, codec):
        randomise(module)
        module.to(device)
    in_formats(inner, dtype, predictor or dtype)
    tokenizer = Qwen3TTSTokenizer()
    tokenizer.model, tokenizer.config, tokenizer.device = codec, codec.config, torch.device(device)
    inner.load_speech_tokenizer(tokenizer)
    inner.load_generate_config(json.loads((tiny / "generation_config.json").read_text()))
    inner.config._attn_implementation = "sdpa"
    return Qwen3TTSModel(
        inner, Qwen3TTSProcessor(tokenizer=Qwen2TokenizerFast.from_pretrained(tiny)), inner.generate_config
    )


def randomise(module: Any) -> None:
    import torch

    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.endswith("cluster_usage") or (weight.dim() < 2 and name.endswith("norm.weight")):
                weight.fill_(1.0)
            elif weight.dim() >= 2:
                weight.uniform_(-0.03, 0.03)
            else:
                weight.zero_()


def model_config(name: str) -> dict[str, Any]:
    """The published config.json of this size."""
    hidden, intermediate = {"0.6b": (1024, 3072), "1.7b": (2048, 6144)}[name]
    heads = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "rope_theta": 1_000_000}
    languages = dict(zip(("english", "german", "chinese", "spanish"), (2050, 2053, 2055, 2054), strict=True))
    return {
        "model_type": "qwen3_tts",
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "tts_model_size": "0b6" if name == "0.6b" else "1b7",
        "tts_model_type": "base",
        "im_start_token_id": 151644,
        "im_end_token_id": 151645,
        "tts_pad_token_id": 151671,
        "tts_bos_token_id": 151672,
        "tts_eos_token_id": 151673,
        "speaker_encoder_config": {"enc_dim": hidden, "sample_rate": 24000},
        "talker_config": heads
        | {
            "vocab_size": 3072,
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": 28,
            "max_position_embeddings": 32768,
            "rope_scaling": {"interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
            "num_code_groups": 16,
            "text_hidden_size": 2048,
            "text_vocab_size": 151936,
            "codec_pad_id": 2148,
            "codec_bos_id": 2149,
            "codec_eos_token_id": 2150,
            "codec_think_id": 2154,
            "codec_nothink_id": 2155,
            "codec_think_bos_id": 2156,
            "codec_think_eos_id": 2157,
            "codec_language_id": languages | {"korean": 2064, "japanese": 2058},
            "spk_id": {},
            "spk_is_dialect": {},
            "code_predictor_config": heads
            | {
                "vocab_size": 2048,
                "hidden_size": 1024,
                "intermediate_size": 3072,
                "num_hidden_layers": 5,
                "num_code_groups": 16,
                "max_position_embeddings": 65536,
            },
        },
    }


def codec_config() -> dict[str, Any]:
    return {
        "encoder_valid_num_quantizers": 16,
        "input_sample_rate": 24000,
        "output_sample_rate": 24000,
        "decode_upsample_rate": 1920,
        "encode_downsample_rate": 1920,
        # The encoder is never run here, so it may be small.
        "encoder_config": {
            "num_filters": 2,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 48,
            "upsampling_ratios": [8, 6, 5, 4],
            "upsample_groups": 32,
            "num_quantizers": 16,
            "codebook_size": 32,
            "codebook_dim": 16,
            "vector_quantization_hidden_dimension": 16,
        },
        "decoder_config": {
            "latent_dim": 1024,
            "codebook_dim": 512,
            "codebook_size": 2048,
            "decoder_dim": 1536,
            "hidden_size": 512,
            "intermediate_size": 1024,
            "num_hidden_layers": 8,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "head_dim": 64,
            "sliding_window": 72,
            "num_quantizers": 16,
            "upsample_rates": [8, 5, 4, 3],
            "upsampling_ratios": [2, 2],
        },
    }


def stock_engine(model: Any, reference_frames: int) -> Any:
    import torch
    from qwen_tts import VoiceClonePromptItem

    from server.engines import EngineFacts
    from server.engines.qwen.stock import SAMPLING, QwenEngine

    config = model.model.config.talker_config
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, config.code_predictor_config.vocab_size, (reference_frames, 16), generator=generator)
    speaker = torch.randn(config.hidden_size, generator=generator)
    device = next(model.model.talker.parameters()).device
    voice = VoiceClonePromptItem(codes.to(device), speaker.to(device), False, True, REFERENCE_TEXT)
    facts = EngineFacts("qwen", "bench", "0", 24_000, device.type, "", "", 1)
    return QwenEngine(facts, model, [voice], dict(SAMPLING))


# --- figures


def weight_bytes_per_frame(model: Any) -> int:
    """What one frame must read at least, whatever the batch: the roofline of memory bandwidth."""
    talker = model.model.talker
    predictor = talker.code_predictor
    layers = sum(weight.nbytes for weight in talker.model.layers.parameters()) + talker.codec_head.weight.nbytes
    small = sum(weight.nbytes for weight in predictor.model.layers.parameters())
    projection = sum(weight.nbytes for weight in predictor.small_to_mtp_projection.parameters())
    return int(layers + 15 * (small + projection) + sum(head.weight.nbytes for head in predictor.lm_head))


def bandwidth_gb_s(device: str, size: int = 2**28) -> float:
    """Of reading, measured where the weights lie: the best of five sums over 1 GiB."""
    import torch

    block = torch.ones(size, device=device)
    best = float("inf")
    for _ in range(5):
        synchronize()
        started = time.perf_counter()
        block.sum()
        synchronize()
        best = min(best, time.perf_counter() - started)
    return block.nbytes / best / 1e9


# --- counts: what a frame asks of the host and of the card, beside its time


WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::_unique2", "aten::equal")
"""Operations whose result the host must have before it can go on: a number (item(), bool(), int() and is_nonzero() all
end there), or a size that depends on values (nonzero is also what indexing with a mask does)."""
NO_WAITS = ("aten::_assert_async", "aten::_index_put_impl_")
"""A number that is read inside of these is read on a CPU only: an assertion that runs on a card by itself, which is all
that multinomial still has from torch 2.6 on (pytorch PR 134818), and a filling value that lies in RAM."""
CARD_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")
GRAPH_LAUNCHES = ("cudaGraphLaunch",)
ON_THE_DEVICE, LOOK = "device side", "host look"
"""Marks in a profile of our loop."""


@dataclass(frozen=True)
class Counts:
    operations: float
    """all aten events, nested ones included: composite operations count with what they are made of"""
    waits: float
    launches: float | None = None
    """of kernels, one by one; None on a CPU"""
    graph_launches: float | None = None

    def per_frame(self, shorter: Counts, frames: int) -> Counts:
        """By difference of two jobs, the shorter one by so many frames: prompts and ends are in both."""

        def difference(longer: float | None, less: float | None) -> float | None:
            return None if longer is None or less is None else (longer - less) / frames

        return Counts(
            (self.operations - shorter.operations) / frames,
            (self.waits - shorter.waits) / frames,
            difference(self.launches, shorter.launches),
            difference(self.graph_launches, shorter.graph_launches),
        )


def counts_of(job: Callable[[], Any], on_card: bool = False, marked: bool = False) -> Counts:
    """What a job does, seen by torch's profiler.

    Waits are, on a card, the calls of the driver that wait for it. On a CPU they are the operations that would be such
    a wait (WAITS), which is a lower bound: copies between card and host do not exist there. marked: only what runs
    inside ON_THE_DEVICE counts, and each LOOK as one, because our loop goes on with what it looked at in RAM.
    """
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_card else [])
    with profile(activities=activities) as profiler:
        job()
        synchronize()
    events: Any = profiler.events()
    names = [event.name for event in events]
    operations = sum(name.startswith("aten::") for name in names)
    if on_card:
        return Counts(operations, tally(names, CARD_WAITS), tally(names, LAUNCHES), tally(names, GRAPH_LAUNCHES))
    if marked:
        return Counts(operations, sum(is_marked_wait(event) for event in events))
    return Counts(operations, sum(is_wait(event) for event in events))


def tally(names: Iterable[str], wanted: Sequence[str]) -> int:
    return sum(name in wanted for name in names)


def is_wait(event: Any) -> bool:
    if event.name not in WAITS:
        return False
    return event.name != "aten::_local_scalar_dense" or not any(name in NO_WAITS for name in names_around(event))


def is_marked_wait(event: Any) -> bool:
    return event.name == LOOK or (is_wait(event) and ON_THE_DEVICE in names_around(event))


def names_around(event: Any) -> list[str]:
    """Of the operations that this one is part of."""
    names, parent = [], event.cpu_parent
    while parent is not None:
        names.append(parent.name)
        parent = parent.cpu_parent
    return names


@contextmanager
def marks(batch: Any) -> Iterator[None]:
    """What of our loop would run on a card, and where the host looks."""
    with ExitStack() as stack:
        for name, mark in (("frame", ON_THE_DEVICE), ("draw_noise", ON_THE_DEVICE), ("look", LOOK)):
            stack.enter_context(patch.object(batch, name, recorded(getattr(batch, name), mark)))
        yield


def recorded(function: Callable[..., Any], mark: str) -> Callable[..., Any]:
    from torch.profiler import record_function

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with record_function(mark):
            return function(*args, **kwargs)

    return wrapped


def counts_per_frame(bench: Bench, arm: Arm, apart: int = 8) -> Counts:
    """Of one frame of the whole batch, codec left out. apart: frames between the two jobs; our noise is drawn for eight
    at a time."""
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


def projection_gtx_1060() -> str:
    """Roofline, not a measurement: 192 GB/s at 70 %, 4.4 TFLOPS at 40 % for the codec, talker fp16, predictor fp32."""
    lines = []
    for name, talker_millions, extra in (("0.6B", 443.6, 0.0), ("1.7B", 1415.6, 2.1)):
        gigabytes = talker_millions * 2 / 1e3 + 15 * (78.64 + 2.10 + extra) * 4 / 1e3
        step_s = gigabytes / (192 * 0.7)
        codec_s = 4.96e9 / (4.4e12 * 0.4)
        speeds = [rows / (step_s + rows * codec_s) / FRAMES_PER_SECOND for rows in (1, 8, 16)]
        lines.append(f"{name}: " + ", ".join(f"B={b} {x:.1f}x" for b, x in zip((1, 8, 16), speeds, strict=True)))
    return "; ".join(lines)


def report(bench: Bench, arms: list[Arm], counts: dict[str, Counts], bandwidth: float) -> list[dict[str, Any]]:
    width = max(len(arm.name) for arm in arms)
    print(f"\n{bench.model_name}, {bench.frames} frames a line, {'LM and codec' if bench.with_codec else 'LM only'}")
    figures = [time_figures(bench, arm, arms[0], bandwidth) for arm in arms]
    columns = [("wall", 8), ("CPU", 8), ("IQR", 7), ("x real", 8), ("ratio", 7), ("CPU r.", 7), ("LM r.", 7)]
    columns += [("prefill", 9), ("talker", 8), ("predict", 8), ("codec", 8), ("rest", 7), ("GB/s", 8), ("MBU %", 7)]
    print("ms per kept frame; ratio: of wall time, CPU r.: of CPU time, LM r.: without the codec, all to the first arm")
    print_table(width, columns, [(arm.name, row) for arm, row in zip(arms, figures, strict=True)])
    print("\nper frame of the whole batch, unless it says otherwise; - is not counted here")
    columns = [
        ("peak GiB", 10),
        ("rise MiB", 10),
        ("padding eff.", 14),
        ("codec frames", 13),
        ("looks", 7),
        ("aten ops", 9),
    ]
    columns += [("host waits", 11), ("launches", 9), ("graphs", 7)]
    others = [other_figures(arm, counts.get(arm.name)) for arm in arms]
    print_table(width, columns, [(arm.name, row) for arm, row in zip(arms, others, strict=True)])
    print(
        f"peak: of {'the card' if bench.on_card else 'the process'} while the arm spoke, weights and what other arms "
        "keep included; rise: above what there was when it\nbegan; padding eff.: kept frames / (rows x steps); "
        "codec frames: per kept frame; host waits: see counts_of()\n"
        f"weights read per frame {weight_bytes_per_frame(bench.stock.model) / 1e9:.3f} GB; bandwidth measured "
        f"{bandwidth:.1f} GB/s"
    )
    return [
        {"arm": arm.name, "cpu_ms": arm.cpu_ms, "wall_ms": arm.wall_ms, "figures": times | other}
        for arm, times, other in zip(arms, figures, others, strict=True)
    ]


def time_figures(bench: Bench, arm: Arm, first: Arm, bandwidth: float) -> dict[str, float | None]:
    """By column of the table; None where it means nothing."""
    parts = {part: statistics.median(values) for part, values in arm.parts_ms.items()}
    base, wall, cpu = (statistics.median(values) for values in (bench.base_ms(arm), arm.wall_ms, arm.cpu_ms))
    quartiles = statistics.quantiles(bench.base_ms(arm), n=4) if len(arm.cpu_ms) > 1 else [base] * 3
    steps = base - parts["prefill"] - parts["codec"] if bench.on_card else parts["talker"] + parts["predictor"]
    achieved = weight_bytes_per_frame(bench.stock.model) / (steps * arm.rows) / 1e6

    def off_card(value: float) -> float | None:
        return None if bench.on_card else value

    return {
        "wall": wall,
        "CPU": cpu,
        "IQR": quartiles[2] - quartiles[0],
        "x real": 1000 / FRAMES_PER_SECOND / wall,
        "ratio": statistics.median(first.wall_ms) / wall,
        "CPU r.": off_card(statistics.median(first.cpu_ms) / cpu),
        "LM r.": lm_ms(bench, first) / lm_ms(bench, arm),
        "prefill": parts["prefill"],
        "talker": off_card(parts["talker"]),
        "predict": off_card(parts["predictor"]),
        "codec": parts["codec"],
        "rest": off_card(cpu - sum(parts.values())),
        "GB/s": achieved,
        "MBU %": 100 * achieved / bandwidth,
    }


def lm_ms(bench: Bench, arm: Arm) -> float:
    return statistics.median(bench.base_ms(arm)) - statistics.median(arm.parts_ms["codec"])


def other_figures(arm: Arm, counts: Counts | None) -> dict[str, float | None]:
    """By column of the table; None where it was not counted."""
    return {
        "peak GiB": max(arm.peak_bytes) / 2**30 if arm.peak_bytes else None,
        "rise MiB": max(arm.risen_bytes) / 2**20 if arm.risen_bytes else None,
        "padding eff.": arm.notes.get("padding efficiency"),
        "codec frames": arm.notes.get("codec frames per frame"),
        "looks": arm.notes.get("looks per frame"),
        "aten ops": counts.operations if counts else None,
        "host waits": counts.waits if counts else None,
        "launches": counts.launches if counts else None,
        "graphs": counts.graph_launches if counts else None,
    }


def print_table(
    name_width: int, columns: list[tuple[str, int]], rows: list[tuple[str, dict[str, float | None]]]
) -> None:
    print("arm".ljust(name_width) + "".join(name.rjust(width) for name, width in columns))
    for arm, figures in rows:
        print(arm.ljust(name_width) + "".join(shown(figures[name]).rjust(width) for name, width in columns))


def shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def identity(bench: Bench, rows: int, frames: int) -> None:
    """Whether a line's take is the same alone and among others, sampled from the same seeds.

    Promised for float32 only; in 16 bits the share is what there is to know.
    """
    import torch

    from server.engines.qwen.loop.decode_loop import DecodeLoop
    from server.engines.qwen.model.sampling import Sampling

    engine = bench.engines[rows]
    batch = engine.loop.batch
    loop = DecodeLoop(batch.talker, batch.predictor, Sampling(), engine.loop.plan, engine.loop.pace)
    prompts = forced_prompts(engine, [frames] * rows)

    def speak(waiting: list[Any]) -> dict[int, Any]:
        spoken: dict[int, Any] = {}

        def more(free: int) -> list[Any]:
            taken, waiting[:] = waiting[:free], waiting[free:]
            return taken

        loop.run(more, lambda ended: spoken.update({one.id: one.codes for one in ended}), lambda _number: False)
        return spoken

    together = speak(list(prompts))
    alone = {prompt.id: speak([prompt])[prompt.id] for prompt in prompts}
    differing = [(together[number] != codes).any(1).nonzero() for number, codes in alone.items()]
    firsts = [int(where[0]) for where in differing if len(where)]
    same = sum(torch.equal(together[number], codes) for number, codes in alone.items())
    print(
        f"alone and among {rows}: {same} of {rows} takes of {frames} frames ({100 * same / rows:.0f} %) have "
        "identical codes" + (f"; the others differ from frame {min(firsts)} on" if firsts else "")
    )


def ragged(bench: Bench, rows: int) -> None:
    """A script's lengths: refilled places against a batch that waits for its longest."""
    lengths = list(RAGGED) * 4
    random.Random(0).shuffle(lengths)
    arm = Arm(f"ragged B={rows}", speak_ours, rows, len(lengths), is_ours=True)
    clock = Clock(bench.on_card)
    with clock:
        kept = speak_ours(replace(bench, with_codec=False), arm, lengths, clock)
    batches = [lengths[start : start + rows] for start in range(0, len(lengths), rows)]
    waiting = sum(max(batch) * len(batch) for batch in batches)
    spent = clock.wall_s if bench.on_card else clock.cpu_s
    print(
        f"ragged, {len(lengths)} lines of {min(RAGGED)} to {max(RAGGED)} frames at B={rows}: {spent * 1000 / kept:.2f} "
        f"ms/frame, of it prefill {clock.parts_s['prefill'] * 1000 / kept:.2f}; padding efficiency "
        f"{arm.notes['padding efficiency']:.2f}; batches in script order that wait for their longest would have "
        f"{kept / waiting:.2f}"
    )


def open_peers(stock: Any, asked: argparse.Namespace) -> list[Arm]:
    """Arms of the peers that run here; of the others a line says why they do not."""
    arms = []
    for kind, package in bench_peers.PACKAGES.items():
        reason = bench_peers.why_not(kind, asked.device, asked.eager_shim)
        for rows in [1] if kind == "faster" else numbers(asked.peer_rows):
            peer = reason or bench_peers.open_peer(kind, stock, rows, asked.peer_length)
            if isinstance(peer, str):
                print(f"{package}: {peer}")
                break
            arms.append(peer_arm(peer))
    return arms


def formats(asked: argparse.Namespace) -> tuple[Any, Any]:
    """The talker's and the code predictor's: the latter overflows float16."""
    import torch

    predictor = asked.predictor_dtype or ("float32" if asked.dtype == "float16" else asked.dtype)
    return getattr(torch, asked.dtype), getattr(torch, predictor)


def numbers(listed: str) -> list[int]:
    return [int(number) for number in listed.split(",") if number]


def load_average() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "n/a"  # Windows has none


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    dtypes = ("float32", "float16", "bfloat16")
    parser.add_argument("--model", choices=("overhead", "0.6b", "1.7b"), default="overhead")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:0")
    parser.add_argument("--dtype", choices=dtypes, default="float32", help="of the talker; the codec is in float32")
    parser.add_argument(
        "--predictor-dtype", choices=dtypes, help="of the code predictor; default: float32 beside float16, else --dtype"
    )
    parser.add_argument("--frames", type=int, default=60, help="of each line")
    parser.add_argument("--reference", type=int, default=125, help="frames of the reference clip; 125 are ten seconds")
    parser.add_argument("--rows", default="1,4,8,16", help="batch sizes of our loop")
    parser.add_argument("--stock-rows", default="1,8", help="batch sizes of stock; the first is the base of all ratios")
    parser.add_argument("--peer-rows", default="8", help="batch sizes of faster-qwen3-tts-batch")
    parser.add_argument(
        "--peer-length",
        type=int,
        default=bench_peers.PACKAGE_LENGTH,
        help="columns of the peers' static keys and values, prompt and speech together; default: theirs",
    )
    parser.add_argument(
        "--eager-shim", action="store_true", help="on a CPU, run the peers' algorithm with their graphs left out"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-codec", action="store_true")
    parser.add_argument(
        "--no-operations", action="store_true", help="count no operations, waits and launches, which takes minutes"
    )
    parser.add_argument("--json", type=Path, help="write all figures here")
    asked = parser.parse_args()
    if asked.eager_shim and asked.device != "cpu":
        parser.error("--eager-shim is for --device cpu: on a card the peers run as they are")
    return asked


def main() -> None:
    asked = arguments()
    import_qwen_tts()
    import torch

    from server.engines.qwen.loop.engine import with_loop

    torch.set_num_threads(asked.threads)
    torch.set_flush_denormal(True)
    dtype, predictor = formats(asked)
    print(
        f"torch {torch.__version__}, {asked.threads} thread(s) of {os.cpu_count()}, load {load_average()}, "
        f"{platform.machine()}, {asked.device}, talker {asked.dtype}, code predictor {str(predictor).split('.')[1]}, "
        "codec float32"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if asked.model == "overhead":
            model = overhead_model(folder, asked.device, dtype, predictor)
        else:
            model = published_size(asked.model, folder, asked.device, dtype, predictor)
        stock = stock_engine(model, asked.reference)
        engines = {rows: with_loop(stock, lambda phrase: print(phrase), rows) for rows in numbers(asked.rows)}
        if asked.device != "cpu":
            model.model.talker.model.text_embedding.to(asked.device)  # stock reads it there
        bench = Bench(asked.model, asked.device, stock, engines, asked.frames, not asked.no_codec)
        arms = [Arm(f"stock B={rows}", speak_stock, rows, rows) for rows in numbers(asked.stock_rows)]
        arms += open_peers(stock, asked)
        arms += [Arm(f"ours B={rows}", speak_ours, rows, rows, is_ours=True) for rows in engines]
        for number in range(1 + asked.rounds):
            for arm in arms:
                # Of the full length too: the CPU's convolutions prepare themselves anew for every length they meet.
                bench.run(arm, keep=number > 0)
        counted = [] if asked.no_operations else [arm for arm in arms if arm.rows in (1, 8)]
        counts = {arm.name: counts_per_frame(bench, arm) for arm in counted}
        figures = report(bench, arms, counts, bandwidth_gb_s(asked.device))
        if 8 in engines:
            identity(bench, 8, 24)
        if 8 in engines and asked.model == "overhead":
            ragged(bench, 8)
        print(f"GTX 1060, projected from the roofline: {projection_gtx_1060()}")
        if asked.json:
            asked.json.write_text(json.dumps({"arms": figures}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
