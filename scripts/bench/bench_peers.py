"""The peers of our loop in bench_engine.py: faster-qwen3-tts and faster-qwen3-tts-batch.

Knows no clock and no table. Both packages load a model from a folder; here their objects are built around the model
that is loaded already, so that every arm reads the same weights. Both need CUDA. The eager shim runs the same code on a
CPU with each graph replaced by the steps it was captured from: it shows the cost of their algorithm, not what their
graphs save.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

PACKAGES = {"faster": "faster-qwen3-tts", "faster-batch": "faster-qwen3-tts-batch"}
# Newer ones need transformers 5, which qwen-tts 0.1.1 does not work with.
INSTALL = 'pip install --no-deps "faster-qwen3-tts<0.4"'
PACKAGE_LENGTH = 2048
"""The packages' default: columns of their static keys and values, prompt and speech together"""


@dataclass
class Peer:
    """One package at one batch size."""

    label: str
    rows: int
    predictor: Any
    """its code predictor's graph: `run` draws codes 1 to 15 of a frame, for the whole batch"""
    talker: Any
    """its talker's graph: `run` steps the whole batch by one frame"""
    generate: Callable[[str, int], tuple[list[Any], int]]
    """takes a text and a number of frames; returns a take for each row, and the sample rate"""
    on_card: bool

    def speak(self, text: str, frames: int) -> tuple[list[Any], int]:
        """Speaks this text in every row, each take of exactly so many frames; returns the takes and the sample rate."""
        with nullcontext() if self.on_card else no_card():
            return self.generate(text, frames)


def why_not(kind: str, device: str, eager_shim: bool) -> str | None:
    """Why this peer cannot run here, as a phrase for the table's reader; None where it can be tried."""
    if not device.startswith("cuda") and not eager_shim:
        return f"n/a on {device} (it needs CUDA; --eager-shim runs its algorithm without graphs)"
    wanted = ["faster_qwen3_tts"] + (["faster_qwen3_tts_batch"] if kind == "faster-batch" else [])
    if any(importlib.util.find_spec(module) is None for module in wanted):
        return f"n/a (not installed: {INSTALL}{' faster-qwen3-tts-batch' if kind == 'faster-batch' else ''})"
    return None


def open_peer(kind: str, stock: Any, rows: int, length: int) -> Peer | str:
    """The peer on the model of this QwenEngine, with its graphs captured; or a phrase why it does not run here."""
    try:
        with redirect_stdout(io.StringIO()):  # the packages print each step of a capture
            peer = faster(stock, length) if kind == "faster" else faster_batch(stock, rows, length)
        peer.speak("Hello.", 2)
    # Errors of a version for another transformers, and of a capture that fails.
    except (ImportError, AttributeError, TypeError, ValueError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        return f"n/a (it does not run here: {type(error).__name__}: {reason}; known to fit: {INSTALL})"
    return peer


def faster(stock: Any, length: int) -> Peer:
    """faster-qwen3-tts, which speaks one line at a time. length: columns of its keys and values."""
    with where_it_runs(stock):
        package = faster_object(stock, length)
        package.warmup(prefill_len=length // 2)
        replay_eagerly(stock, package.predictor_graph, package.talker_graph)

    def generate(text: str, frames: int) -> tuple[list[Any], int]:
        takes, rate = package.generate_voice_clone(
            text=text,
            language="Korean",
            voice_clone_prompt=stock.voice,
            non_streaming_mode=True,
            **forced(stock, frames),
        )
        return list(takes), int(rate)

    return Peer(
        label("faster", stock), 1, package.predictor_graph, package.talker_graph, generate, on_card=is_on_card(stock)
    )


def faster_batch(stock: Any, rows: int, length: int) -> Peer:
    """faster-qwen3-tts-batch: batches that wait for their longest row, as its own README advises.

    The package takes clips and no ready voice clone prompt: `prepared` below hands it the prompt. It decodes takes
    without the reference in front of them, which is left as it is.
    """
    from faster_qwen3_tts_batch import BatchedFasterQwen3TTS
    from faster_qwen3_tts_batch.batched_predictor_graph import BatchedPredictorGraph

    with where_it_runs(stock):
        package: Any = BatchedFasterQwen3TTS(faster_object(stock, length), max_batch_size=rows, max_seq_len=length)
        # The package's own graph has the talker's number format, and fixed sampling.
        package.batched_predictor_graph = predictor_graph(BatchedPredictorGraph, stock, max_batch_size=rows)
        prepare = package.base._prepare_generation

        def prepared(**asked: Any) -> Any:
            *same, prompt, mask, trailing, pad, codes = prepare(**asked | {"voice_clone_prompt": stock.voice})
            # A code predictor in float32 makes the talker's input float32 too; the package needs one format throughout.
            return *same, prompt.to(pad.dtype), mask, trailing.to(pad.dtype), pad, codes

        package.base._prepare_generation = prepared
        package.warmup(prefill_len=length // 2)
        replay_eagerly(stock, package.batched_predictor_graph, package.batched_talker_graph)

    def generate(text: str, frames: int) -> tuple[list[Any], int]:
        requests = [{"text": text, "language": "Korean", "ref_audio": None, "ref_text": ""}] * rows
        outputs = package.generate_voice_clone_batch(requests, non_streaming_mode=True, **forced(stock, frames))
        return [take for takes, _ in outputs for take in takes], int(outputs[0][1])

    return Peer(
        label("faster-batch", stock),
        rows,
        package.batched_predictor_graph,
        package.batched_talker_graph,
        generate,
        on_card=is_on_card(stock),
    )


def faster_object(stock: Any, length: int) -> Any:
    """A FasterQwen3TTS around this model, built as the package's from_pretrained does."""
    from faster_qwen3_tts import FasterQwen3TTS
    from faster_qwen3_tts.predictor_graph import PredictorGraph
    from faster_qwen3_tts.talker_graph import TalkerGraph

    inner = stock.model.model
    device, dtype = str(inner.talker.device), inner.talker.dtype
    talker = TalkerGraph(inner.talker.model, inner.config.talker_config, device=device, dtype=dtype, max_seq_len=length)
    predictor = predictor_graph(PredictorGraph, stock)
    return FasterQwen3TTS(stock.model, predictor, talker, device=device, dtype=dtype, max_seq_len=length)


def predictor_graph(kind: Any, stock: Any, **more: Any) -> Any:
    """The package's graph in the code predictor's own number format, and with the engine's sampling."""
    talker, sampling = stock.model.model.talker, stock.sampling
    predictor = talker.code_predictor
    return kind(
        predictor,
        predictor.model.config,
        talker.config.hidden_size,
        device=str(talker.device),
        dtype=next(predictor.model.parameters()).dtype,
        do_sample=sampling["subtalker_dosample"],
        top_k=sampling["subtalker_top_k"],
        top_p=sampling["subtalker_top_p"],
        temperature=sampling["subtalker_temperature"],
        **more,
    )


def forced(stock: Any, frames: int) -> dict[str, Any]:
    """Arguments of both packages' generate: exactly so many frames, and the talker's sampling.

    Unlike stock, both make a frame of the last token too. Forcing costs faster-qwen3-tts time: it then forbids the end
    of speech by a list of indices at every frame, which on a card is a small copy that otherwise happens only twice.
    """
    names = ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty")
    return {name: stock.sampling[name] for name in names} | {"min_new_tokens": frames, "max_new_tokens": frames}


def is_on_card(stock: Any) -> bool:
    return bool(stock.model.model.talker.device.type == "cuda")


def label(name: str, stock: Any) -> str:
    return name if is_on_card(stock) else f"{name} (eager shim)"


# --- the eager shim


def where_it_runs(stock: Any) -> Any:
    return nullcontext() if is_on_card(stock) else no_card()


class Idle:
    """Stands for a stream, a device or a graph of torch.cuda, and does nothing."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __enter__(self) -> Idle:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def wait_stream(self, _other: Any) -> None:
        pass


@contextmanager
def no_card() -> Iterator[None]:
    """The part of torch.cuda that the packages use, on a machine without a card."""
    import torch

    with patch.multiple(
        torch.cuda,
        synchronize=lambda *_device: None,
        current_device=lambda: 0,
        current_stream=Idle,
        Stream=Idle,
        stream=Idle,
        device=Idle,
        graph=Idle,
        CUDAGraph=Idle,
    ):
        yield


@dataclass
class EagerGraph:
    steps: Callable[[], Any]

    def replay(self) -> None:
        self.steps()


def replay_eagerly(stock: Any, predictor: Any, talker: Any) -> None:
    """Makes a replay run the steps themselves, where no card has captured them."""
    if not is_on_card(stock):
        predictor.graph = EagerGraph(predictor._full_loop)
        talker.graph = EagerGraph(talker._decode_step)
