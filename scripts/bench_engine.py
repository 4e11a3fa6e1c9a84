"""How fast the engine speaks, beside stock qwen-tts doing the same work: python scripts/bench_engine.py

Needs no downloaded model: `overhead` has the real depth and a tiny width, so that what it measures is what each frame
costs besides arithmetic, which is what holds a graphics card back; `0.6b` and `1.7b` have the published sizes with
random weights. Every line is made to speak the same number of frames. Arms take turns, round by round; the figures
are medians. The first round warms up and is not counted.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from server.engines.qwen.imports import import_qwen_tts  # noqa: E402  (the repository's folder comes into the path first)

FRAMES_PER_SECOND = 12.5
LINE = "The lamp on the table was still warm, and nobody had touched it since the morning of the third day."
REFERENCE_TEXT = "나는 오늘도 천천히 길을 걷는다."
RAGGED = (24, 38, 41, 45, 52, 55, 58, 60, 63, 66, 71, 78, 84, 92, 105, 120)
"""Frames of a script's lines, dummy included: a tenth under 3 s, the middle at 5 s, a tenth over 8 s."""
PARTS = ("prefill", "talker", "predictor", "codec")


@dataclass
class Arm:
    name: str
    ours: bool
    rows: int
    lines: int
    cpu_ms: list[float] = field(default_factory=list)
    """of the whole job, per frame that was kept"""
    wall_ms: list[float] = field(default_factory=list)
    parts_ms: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Bench:
    model_name: str
    stock: Any
    """a QwenEngine"""
    engines: dict[int, Any]
    """a BatchedQwenEngine per number of rows"""
    frames: int
    with_codec: bool

    def run(self, arm: Arm, keep: bool) -> None:
        lengths = [self.frames] * arm.lines
        clock = Clock()
        job = self._ours if arm.ours else self._stock
        with clock:
            kept = job(arm, lengths, clock)
        assert kept == sum(lengths), (arm.name, kept, sum(lengths))
        if not keep:
            return
        arm.cpu_ms.append(clock.cpu_s * 1000 / kept)
        arm.wall_ms.append(clock.wall_s * 1000 / kept)
        for part in PARTS:
            arm.parts_ms.setdefault(part, []).append(clock.parts_s.get(part, 0.0) * 1000 / kept)

    def _stock(self, arm: Arm, lengths: list[int], clock: Clock) -> int:
        """Frames spoken: stock's own call, from text to WAV."""
        from server.audio import Audio, to_wav

        model, kept, decoded = self.stock.model, 0, 0
        tokenizer = model.model.speech_tokenizer
        decode = tokenizer.decode

        def counted(encoded: Any) -> Any:
            nonlocal decoded
            decoded += max(len(one["audio_codes"]) for one in encoded) * len(encoded)
            return decode(encoded) if self.with_codec else ([silent(one) for one in encoded], 24_000)

        with (
            forced(model.model.talker, lengths[0] + 1),
            patch.object(tokenizer, "decode", counted),
            clock.timing(model.model.talker.model, "forward", split_prefill),
            clock.timing(model.model.talker.code_predictor, "generate", "predictor"),
            clock.timing(tokenizer, "decode", "codec"),
        ):
            for start in range(0, len(lengths), arm.rows):
                rows = min(arm.rows, len(lengths) - start)
                takes, rate = model.generate_voice_clone(
                    text=[LINE] * rows,
                    language="Korean",
                    voice_clone_prompt=self.stock.voice,
                    non_streaming_mode=True,
                    max_new_tokens=lengths[0] + 1,
                    **self.stock.sampling,
                )
                for take in takes:
                    to_wav(Audio(take, rate))
                    kept += round(len(take) / 1920)
        arm.notes["codec frames per frame"] = decoded / kept
        return kept

    def _ours(self, arm: Arm, lengths: list[int], clock: Clock) -> int:
        """Frames spoken: loop and codec, from text to WAV."""
        import numpy as np

        from server.audio import Audio, to_wav

        engine = self.engines[arm.rows]
        waiting, kept = list(enumerate(lengths)), 0

        def more(free: int) -> list[Any]:
            taken, waiting[:] = waiting[:free], waiting[free:]
            return forced_prompts(engine, [frames for _, frames in taken])

        def deliver(spoken: list[Any]) -> None:
            nonlocal kept
            takes = [one.codes for one in spoken]
            found = engine.decoded(takes) if self.with_codec else [np.zeros(len(codes) * 1920) for codes in takes]
            for samples in found:
                to_wav(Audio(samples, 24_000))
                kept += len(samples) // 1920

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
        arm.notes["places in use"] = (counters.frames_kept - before.frames_kept) / (steps * arm.rows)
        arm.notes["host looks per frame"] = (counters.looks - before.looks) / steps
        if codec.frames_given > codec_before.frames_given:
            arm.notes["codec frames per frame"] = (codec.frames_decoded - codec_before.frames_decoded) / (
                codec.frames_given - codec_before.frames_given
            )
        return kept


class Clock:
    """Process CPU time and wall time of a job, and of the parts that are wrapped meanwhile."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0
        self.parts_s: dict[str, float] = {}

    def __enter__(self) -> Clock:
        synchronize()
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_error: object) -> None:
        synchronize()
        self.cpu_s, self.wall_s = time.process_time() - self._cpu, time.perf_counter() - self._wall

    @contextmanager
    def timing(self, thing: Any, name: str, part: str | Callable[..., str]) -> Iterator[None]:
        """CPU time inside this method; on a card only what it takes to launch it."""
        stock = getattr(thing, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            result = stock(*args, **kwargs)
            key = part if isinstance(part, str) else part(kwargs)
            self.parts_s[key] = self.parts_s.get(key, 0.0) + time.process_time() - started
            return result

        with patch.object(thing, name, timed):
            yield


def split_prefill(kwargs: dict[str, Any]) -> str:
    return "prefill" if kwargs["inputs_embeds"].shape[1] > 1 else "talker"


def forced_prompts(engine: Any, lengths: list[int]) -> list[Any]:
    """Lines that speak exactly so many frames."""
    from server.engines import Row

    prompts = [engine.prompt(number, Row(LINE, "Korean", number)) for number in range(len(lengths))]
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


def silent(encoded: Any) -> Any:
    import numpy as np

    return np.zeros(len(encoded["audio_codes"]) * 1920, np.float32)


def synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


# --- models


def overhead_model(folder: Path) -> Any:
    import loops

    return loops.load(loops.build_deep(folder / "overhead"))


def published_size(name: str, folder: Path, device: str, dtype: Any) -> Any:
    """A Qwen3TTSModel of the published sizes with random weights, and the tiny model's tokenizer."""
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
    from server.engines.qwen.engine import SAMPLING, QwenEngine

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


def peak_memory_gib() -> float:
    """Of the card where there is one, else of the process."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    import psutil

    usage = psutil.Process().memory_info()
    if hasattr(usage, "peak_wset"):  # Windows
        return float(usage.peak_wset) / 2**30
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def bandwidth_gb_s() -> float:
    """Of reading, measured: the best of five sums over 1 GiB."""
    import torch

    block = torch.ones(2**28)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        block.sum()
        best = min(best, time.perf_counter() - started)
    return block.nbytes / best / 1e9


def aten_operations(job: Callable[[], Any]) -> int:
    """All aten events of the profiler, nested ones included: composite operations count with what they are made of."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        job()
    return sum(event.count for event in profiler.key_averages() if event.key.startswith("aten::"))


def operations_per_frame(bench: Bench, arm: Arm) -> float:
    """By difference of a longer and a shorter job: prompts and ends are in both."""
    codec_off = replace(bench, with_codec=False)
    job = codec_off._ours if arm.ours else codec_off._stock

    def speak(frames: int) -> Callable[[], int]:
        return lambda: job(replace(arm), [frames] * arm.rows, Clock())

    # Eight frames apart: our noise is drawn for eight at a time.
    return (aten_operations(speak(10)) - aten_operations(speak(2))) / 8


def projection_gtx_1060() -> str:
    """Roofline, not a measurement: 192 GB/s at 70 %, 4.4 TFLOPS at 40 % for the codec, talker fp16, predictor fp32."""
    lines = []
    for name, talker_millions, extra in (("0.6B", 443.6, 0.0), ("1.7B", 1415.6, 2.1)):
        gigabytes = talker_millions * 2 / 1e3 + 15 * (78.64 + 2.10 + extra) * 4 / 1e3
        step_s = gigabytes / (192 * 0.7)
        codec_s = 4.96e9 * 70 / 60 / (4.4e12 * 0.4)
        speeds = [rows / (step_s + rows * codec_s) / FRAMES_PER_SECOND for rows in (1, 8, 16)]
        lines.append(f"{name}: " + ", ".join(f"B={b} {x:.1f}x" for b, x in zip((1, 8, 16), speeds, strict=True)))
    return "; ".join(lines)


def report(bench: Bench, arms: list[Arm], bandwidth: float) -> list[dict[str, Any]]:
    base = statistics.median(arms[0].cpu_ms)
    print(f"\n{bench.model_name}, {bench.frames} frames a line, {'LM and codec' if bench.with_codec else 'LM only'}")
    print(
        f"{'arm':<14}{'CPU ms/frame':>13}{'IQR':>7}{'wall':>8}{'x real':>8}{'ratio':>7}{'LM ratio':>9}"
        f"{'prefill':>9}{'talker':>8}{'predict':>8}{'codec':>8}{'rest':>7}{'GB/s':>7}  notes"
    )
    rows = []
    base_lm = base - statistics.median(arms[0].parts_ms["codec"])
    for arm in arms:
        cpu, wall = statistics.median(arm.cpu_ms), statistics.median(arm.wall_ms)
        parts = {part: statistics.median(values) for part, values in arm.parts_ms.items()}
        quartiles = statistics.quantiles(arm.cpu_ms, n=4) if len(arm.cpu_ms) > 1 else [cpu] * 3
        rest = cpu - sum(parts.values())
        steps_ms = (parts["talker"] + parts["predictor"]) * arm.rows
        achieved = weight_bytes_per_frame(bench.stock.model) / steps_ms / 1e6
        lm = cpu - parts["codec"]
        notes = {key: round(value, 2) for key, value in arm.notes.items()}
        print(
            f"{arm.name:<14}{cpu:>13.2f}{quartiles[2] - quartiles[0]:>7.2f}{wall:>8.2f}"
            f"{1000 / FRAMES_PER_SECOND / wall:>8.2f}{base / cpu:>7.2f}{base_lm / lm:>9.2f}{parts['prefill']:>9.2f}"
            f"{parts['talker']:>8.2f}{parts['predictor']:>8.2f}{parts['codec']:>8.2f}{rest:>7.2f}{achieved:>7.1f}  "
            f"{notes}"
        )
        rows.append({"arm": arm.name, "cpu_ms": arm.cpu_ms, "wall_ms": arm.wall_ms, "parts_ms": parts, "notes": notes})
    print(
        f"peak memory of the process {peak_memory_gib():.2f} GiB; weights read per frame "
        f"{weight_bytes_per_frame(bench.stock.model) / 1e9:.3f} GB; bandwidth measured {bandwidth:.1f} GB/s"
    )
    return rows


def identity(bench: Bench, rows: int, frames: int) -> None:
    """Whether a line's take is the same alone and among others, sampled from the same seeds."""
    import torch

    from server.engines.qwen.loop import DecodeLoop
    from server.engines.qwen.sampling import Sampling

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
        f"alone and among {rows}: {same} of {rows} takes of {frames} frames have identical codes"
        + (f"; the others differ from frame {min(firsts)} on" if firsts else "")
    )


def ragged(bench: Bench, rows: int) -> None:
    """A script's lengths: refilled places against a batch that waits for its longest."""
    lengths = list(RAGGED) * 4
    random.Random(0).shuffle(lengths)
    arm = Arm(f"ragged B={rows}", True, rows, len(lengths))
    clock = Clock()
    with clock:
        kept = replace(bench, with_codec=False)._ours(arm, lengths, clock)
    batches = [lengths[start : start + rows] for start in range(0, len(lengths), rows)]
    waiting = sum(max(batch) * len(batch) for batch in batches)
    print(
        f"ragged, {len(lengths)} lines of {min(RAGGED)} to {max(RAGGED)} frames at B={rows}: "
        f"{clock.cpu_s * 1000 / kept:.2f} ms/frame, places in use {arm.notes['places in use']:.2f}; batches in script "
        f"order that wait for their longest would have {kept / waiting:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("overhead", "0.6b", "1.7b"), default="overhead")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--reference", type=int, default=125, help="frames of the reference clip; 125 are ten seconds")
    parser.add_argument("--rows", default="1,4,8,16", help="batch sizes of our loop")
    parser.add_argument("--stock-rows", default="1,8", help="batch sizes of stock; the first is the base of all ratios")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-codec", action="store_true")
    parser.add_argument(
        "--no-operations", action="store_true", help="do not count aten operations, which takes minutes"
    )
    parser.add_argument("--json", type=Path, help="write all figures here")
    asked = parser.parse_args()
    import_qwen_tts()
    import torch

    from server.engines.qwen.batched import with_loop

    torch.set_num_threads(asked.threads)
    torch.set_flush_denormal(True)
    print(
        f"torch {torch.__version__}, {asked.threads} thread(s) of {os.cpu_count()}, load {os.getloadavg()[0]:.1f}, "
        f"{platform.machine()}, {asked.device}, {asked.dtype}; faster-qwen3-tts: n/a on CPU (it needs CUDA)"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if asked.model == "overhead":
            model = overhead_model(folder)
        else:
            model = published_size(asked.model, folder, asked.device, getattr(torch, asked.dtype))
        stock = stock_engine(model, asked.reference)
        ours = [int(rows) for rows in asked.rows.split(",")]
        engines = {rows: with_loop(stock, lambda phrase: print(phrase), rows) for rows in ours}
        if asked.device != "cpu":
            model.model.talker.model.text_embedding.to(asked.device)  # stock reads it there
        bench = Bench(asked.model, stock, engines, asked.frames, not asked.no_codec)
        arms = [Arm(f"stock B={rows}", False, rows, rows) for rows in map(int, asked.stock_rows.split(","))]
        arms += [Arm(f"ours B={rows}", True, rows, rows) for rows in ours]
        warm = replace(bench, frames=3)
        for arm in arms:
            warm.run(arm, keep=False)
        for _ in range(asked.rounds):
            for arm in arms:
                bench.run(arm, keep=True)
        bandwidth = bandwidth_gb_s()
        figures = report(bench, arms, bandwidth)
        counted = [] if asked.no_operations else [arm for arm in arms if arm.rows in (1, 8)]
        operations = {arm.name: round(operations_per_frame(bench, arm)) for arm in counted}
        print(f"aten operations per frame of the batch, nested ones included: {operations}")
        if 8 in engines:
            identity(bench, 8, 24)
        if 8 in engines and asked.model == "overhead":
            ragged(bench, 8)
        print(f"GTX 1060, projected from the roofline: {projection_gtx_1060()}")
        if asked.json:
            asked.json.write_text(json.dumps({"arms": figures, "operations": operations}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
