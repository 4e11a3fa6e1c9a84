"""Which memory a 6 GB card leaves to the model, without a card: PyTorch's caching allocator replayed with real sizes.

    python scripts/bench/allocator_sim.py 1.7b

The allocator's rules are those of c10/cuda/CUDACachingAllocator.cpp with its defaults, so without expandable segments:
a segment that is taken from the driver is given back only as a whole, and only when it is empty. Tensors come in the
order in which loading, fusing, keys and values, and the codec allocate them. Not in it: the driver's own memory for
kernels and graphs, and cuBLAS workspaces beyond one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "scripts" / "bench")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from bench_models import codec_config, model_config

from server.engines.qwen.load.imports import import_qwen_tts
from server.engines.qwen.load.memory import COLUMN_STEP, MIB, MemoryPlan, ModelSizes, plan_memory, usable_memory
from server.engines.qwen.loop.batch import choose_schedule
from server.engines.qwen.loop.engine import LIVE_TENSORS, ROWS_ON_CARD

ROUNDING = 512
SMALL_LIMIT, SMALL_SEGMENT = MIB, 2 * MIB
MIDDLE_LIMIT, MIDDLE_SEGMENT, LARGE_STEP = 10 * MIB, 20 * MIB, 2 * MIB
CAPS_MIB = (4650, 4813, 5000)
FIRST_COLUMNS, LATER_COLUMNS = 256, 384
"""Columns of keys and values for a usual prefill, and once rows have grown"""
DRAWN_TOKENS = 2048 + 1
NOISE_FRAMES = choose_schedule("cuda").noise_frames
CODEC_STATE_BYTES = 4 * 8 * 2 * 16 * 71 * 64 + 300_000
"""Of one row: keys and values of 71 frames in eight layers, and the convolutions' last inputs"""
WIDEST_FRAME_BYTES = 96 * 1920 * 4
"""The codec's widest activation of one frame"""


class OutOfMemory(Exception):
    pass


@dataclass(eq=False)
class Block:
    size: int
    used: bool = False


@dataclass(eq=False)
class Segment:
    """Memory from the driver, cut into blocks that follow each other."""

    is_small: bool
    size: int
    blocks: list[Block] = field(default_factory=list)


Handle = tuple[Segment, Block]


class Allocator:
    def __init__(self, cap_bytes: int) -> None:
        self.cap = cap_bytes
        self.segments: list[Segment] = []
        self.reserved = self.allocated = self.peak_reserved = 0

    def malloc(self, size: int) -> Handle:
        """Raises OutOfMemory."""
        size = max(ROUNDING, -(-size // ROUNDING) * ROUNDING)
        is_small = size <= SMALL_LIMIT
        segment, block = self._best_fit(size, is_small) or self._new_segment(size, is_small)
        rest = block.size - size
        if rest >= ROUNDING if is_small else rest > SMALL_LIMIT:
            block.size = size
            segment.blocks.insert(segment.blocks.index(block) + 1, Block(rest))
        block.used = True
        self.allocated += block.size
        return segment, block

    def free(self, handle: Handle) -> None:
        segment, block = handle
        block.used = False
        self.allocated -= block.size
        at = segment.blocks.index(block)
        for neighbour in segment.blocks[at + 1 : at + 2] + segment.blocks[max(0, at - 1) : at]:
            if not neighbour.used:
                block.size += neighbour.size
                segment.blocks.remove(neighbour)

    def empty_cache(self) -> None:
        empty = [segment for segment in self.segments if not any(block.used for block in segment.blocks)]
        self.segments = [segment for segment in self.segments if segment not in empty]
        self.reserved -= sum(segment.size for segment in empty)

    def holes(self) -> list[int]:
        """Free blocks that large tensors could use, in bytes."""
        blocks = [block for segment in self.segments if not segment.is_small for block in segment.blocks]
        return sorted((block.size for block in blocks if not block.used and block.size > SMALL_LIMIT), reverse=True)

    def _best_fit(self, size: int, is_small: bool) -> Handle | None:
        fitting = (
            (block.size, number, segment, block)
            for number, segment in enumerate(self.segments)
            if segment.is_small == is_small
            for block in segment.blocks
            if not block.used and block.size >= size
        )
        best = min(fitting, key=lambda found: found[:2], default=None)
        return None if best is None else (best[2], best[3])

    def _new_segment(self, size: int, is_small: bool) -> Handle:
        wanted = segment_size(size)
        if self.reserved + wanted > self.cap:
            self.empty_cache()
        if self.reserved + wanted > self.cap:
            raise OutOfMemory(f"{size / MIB:.0f} MiB more than {self.reserved / MIB:.0f} reserved")
        block = Block(wanted)
        segment = Segment(is_small, wanted, [block])
        self.segments.append(segment)
        self.reserved += wanted
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return segment, block


def segment_size(size: int) -> int:
    """Bytes that the allocator takes from the driver for a tensor of this size."""
    if size <= SMALL_LIMIT:
        return SMALL_SEGMENT
    return MIDDLE_SEGMENT if size < MIDDLE_LIMIT else -(-size // LARGE_STEP) * LARGE_STEP


# --- what is allocated


@dataclass(frozen=True)
class Way:
    """A way to bring the model to the card."""

    name: str
    fused_in_ram: bool = False
    encoders_first: bool = False
    """Encoders leave the card before the weights are fused"""
    tables_in_16_bits: bool = False
    """The code predictor's embeddings"""


WAYS = (
    Way("fused on the card, encoders there"),
    Way("fused on the card, encoders off first", encoders_first=True),
    Way("fused in RAM", fused_in_ram=True),
    Way("fused in RAM, the predictor's tables in 16 bits", fused_in_ram=True, tables_in_16_bits=True),
)


@dataclass(frozen=True)
class Weights:
    """Sizes in bytes, in the order in which they reach the card; talker float16, code predictor and codec float32."""

    tensors: list[tuple[int, int]]
    """(identity, bytes) of talker, code predictor and speaker encoder"""
    groups: list[list[int]]
    """Identities of weights that are fused"""
    tables: list[int]
    """Identities of the code predictor's embeddings, which are fused too"""
    speaker: list[int]
    encoder: list[int]
    """Bytes of the codec's encoder"""
    decoder: list[int]
    hidden: int


@dataclass(frozen=True)
class Outcome:
    plan: MemoryPlan
    codec_frames_that_fit: int
    idle_after_loading: int
    largest_hole: int
    peak_reserved: int


def replay(weights: Weights, cap_mib: int, way: Way) -> Outcome:
    """Raises OutOfMemory."""
    card = Allocator(cap_mib * MIB)
    load(card, weights, way)
    idle, holes = card.reserved - card.allocated, card.holes()
    noise = DRAWN_TOKENS + 15 * 2048
    row_bytes = noise * NOISE_FRAMES * (4 + 4 * 8) + 5 * 2 * 8 * 128 * 4 * 16 + CODEC_STATE_BYTES
    sizes = ModelSizes(28 * 2 * 8 * 128 * 2, row_bytes, WIDEST_FRAME_BYTES * LIVE_TENSORS)
    plan = plan_memory(sizes, usable_memory(10**12, card.cap, card.allocated, card.reserved, 1.0), ROWS_ON_CARD)
    allocate_batch(card, plan, noise)
    frames = frames_that_fit(card, plan.codec_frames)
    return Outcome(plan, frames, idle, holes[0] if holes else 0, card.peak_reserved)


def load(card: Allocator, weights: Weights, way: Way) -> None:
    groups = [*weights.groups, weights.tables]
    size_of = dict(weights.tensors)
    if way.tables_in_16_bits:
        size_of |= {identity: size_of[identity] // 2 for identity in weights.tables}
    fused_later = {identity for group in groups for identity in group[1:]}
    fused = {group[0]: sum(size_of[identity] for identity in group) for group in groups}
    handles: dict[int, Handle] = {}
    for identity, _ in weights.tensors:
        if not way.fused_in_ram:
            handles[identity] = card.malloc(size_of[identity])
        elif identity not in fused_later:
            handles[identity] = card.malloc(fused.get(identity, size_of[identity]))
    encoder = [card.malloc(size) for size in weights.encoder]
    for size in weights.decoder:
        card.malloc(size)

    def drop_encoders() -> None:
        for handle in encoder + [handles.pop(identity) for identity in weights.speaker]:
            card.free(handle)
        card.empty_cache()

    if way.encoders_first:
        drop_encoders()
    for group in groups if not way.fused_in_ram else []:
        card.malloc(fused[group[0]])
        for identity in group:
            card.free(handles.pop(identity))
        if len(group) == 3:  # q, k and v: the norms of their heads are fused too
            card.malloc(24 * 128 * 4)
    card.malloc(DRAWN_TOKENS * weights.hidden * 2)
    if not way.encoders_first:
        drop_encoders()


def allocate_batch(card: Allocator, plan: MemoryPlan, noise: int) -> None:
    """Keys and values as they grow, the rows' states, and noise once drawn."""
    card.malloc(noise * 4 * NOISE_FRAMES * plan.rows)
    for _ in range(5):
        card.malloc(plan.rows * 16 * 2 * 8 * 128 * 4)
    column_bytes = plan.rows * 2 * 8 * 128 * 2
    layers = [card.malloc(column_bytes * FIRST_COLUMNS) for _ in range(28)]
    columns = min(LATER_COLUMNS, max(COLUMN_STEP, plan.cells // plan.rows // COLUMN_STEP * COLUMN_STEP))
    for old in layers:
        card.malloc(column_bytes * columns)
        card.free(old)
    for _ in range(plan.rows):
        card.malloc(4 * 8 * 2 * 16 * 71 * 64)
    for handle in [card.malloc(noise * 8 * NOISE_FRAMES * plan.rows) for _ in range(4)]:
        card.free(handle)
    card.malloc(8 * MIB + 64 * 1024)  # a cuBLAS workspace


def frames_that_fit(card: Allocator, planned: int) -> int:
    """Of one decoder call; halved as the engine does when memory runs out."""
    frames = planned
    while frames >= 8:
        live: list[Handle] = []
        try:
            for _ in range(LIVE_TENSORS):
                live.append(card.malloc(WIDEST_FRAME_BYTES * frames))
        except OutOfMemory:
            frames //= 2
            continue
        finally:
            for handle in live:
                card.free(handle)
        return frames
    return 0


def smallest_cap_mib(weights: Weights, way: Way) -> int:
    """The smallest limit at which the model starts, to 12 MiB."""
    low, high = 2000, 7000
    while high - low > 12:
        middle = (low + high) // 2
        try:
            replay(weights, middle, way)
            high = middle
        except OutOfMemory:
            low = middle
    return high


def weights_of(name: str) -> Weights:
    """Of the published sizes, from the package's own modules without memory."""
    import_qwen_tts()
    import torch
    from qwen_tts.core import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration
    from transformers.modeling_utils import no_init_weights

    with torch.device("meta"), no_init_weights():
        inner: Any = Qwen3TTSForConditionalGeneration(Qwen3TTSConfig(**model_config(name)))
        codec: Any = Qwen3TTSTokenizerV2Model(Qwen3TTSTokenizerV2Config(**codec_config(whole_encoder=True)))
    talker = inner.talker
    talker.model.text_embedding = None  # stays in RAM
    wide = {id(tensor) for part in (talker.code_predictor, inner.speaker_encoder) for tensor in moved(part)}
    order = {id(tensor): tensor.numel() * (4 if id(tensor) in wide else 2) for tensor in moved(inner)}
    encoder = {id(tensor) for tensor in moved(codec.encoder)}
    groups = []
    for layer in [*talker.model.layers, *talker.code_predictor.model.layers]:
        attention, mlp = layer.self_attn, layer.mlp
        groups += [[attention.q_proj, attention.k_proj, attention.v_proj], [mlp.gate_proj, mlp.up_proj]]
    return Weights(
        list(order.items()),
        [[id(module.weight) for module in group] for group in groups],
        [id(module.weight) for module in talker.code_predictor.model.codec_embedding],
        list({id(tensor): None for tensor in moved(inner.speaker_encoder)}),
        [tensor.numel() * 4 for tensor in moved(codec.encoder)],
        [tensor.numel() * 4 for tensor in moved(codec) if id(tensor) not in encoder],
        talker.config.hidden_size,
    )


def moved(module: Any) -> Iterator[Any]:
    """Tensors in the order in which Module.to moves them: children first, then parameters, then buffers."""
    for child in module.children():
        yield from moved(child)
    for tensor in [*module._parameters.values(), *module._buffers.values()]:
        if tensor is not None:
            yield tensor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=("1.7b", "0.6b"), default="1.7b")
    name = parser.parse_args().model
    weights = weights_of(name)
    for way in WAYS:
        print(f"{name}, {way.name}: starts from {smallest_cap_mib(weights, way)} MiB on")
        for cap_mib in CAPS_MIB:
            try:
                print(f"  {cap_mib} MiB: {shown(replay(weights, cap_mib, way))}")
            except OutOfMemory as error:
                print(f"  {cap_mib} MiB: out of memory ({error})")
    return 0


def shown(outcome: Outcome) -> str:
    plan = outcome.plan
    after = f"{outcome.idle_after_loading / MIB:.0f} MiB idle, largest hole {outcome.largest_hole / MIB:.0f} MiB"
    return (
        f"{plan.rows} rows, {plan.cells} cells, {plan.codec_frames} frames ({outcome.codec_frames_that_fit} fit); "
        f"after loading {after}; peak {outcome.peak_reserved / MIB:.0f} MiB"
    )


if __name__ == "__main__":
    sys.exit(main())
