"""Codes to samples, without decoding the reference again for every sentence.

Stock decodes the reference's codes and the sentence's together and throws the front away: with a reference of ten
seconds that is two thirds of the work. What the decoder keeps of the past is little: its transformer looks back over
72 frames, one layer on top of the other, and its convolutions over ten. So the reference is decoded once, and kept
from it are the transformer's keys and values and its last ten output frames; each sentence goes on from there. The
result is that of decoding everything together, up to the order of additions (docs/engine.md has the figures).

Long rows go through in pieces, each going on from the one before, so that memory is bounded.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from server.audio import Samples
from server.engines.qwen.memory import groups_within

MOST_PADDING = 0.15
"""Of the longest row of a call: more would cost what decoding together saves."""


@dataclass(frozen=True)
class Past:
    """What the decoder knows of the frames before: of one row, or of several side by side."""

    cache: Any
    """the transformer's keys and values, a transformers DynamicCache; None before the first frame"""
    quantised: Tensor
    """(rows, channels, frames): the last inputs of the first convolution"""
    latents: Tensor
    """(rows, frames, channels): the transformer's last outputs, which the convolutions look back on"""


@dataclass
class CodecCounters:
    frames_given: int = 0
    frames_decoded: int = 0
    """through the convolutions, which are nine tenths of the work; padding and looking back included"""


class Codec:
    def __init__(self, tokenizer: Any, frames_at_once: int) -> None:
        """tokenizer: the stock Qwen3TTSTokenizer. frames_at_once: bound of one call, over all rows."""
        self.decoder: Any = tokenizer.model.decoder
        self.samples_per_frame = int(tokenizer.get_decode_upsample_rate())
        self.sample_rate = int(tokenizer.get_output_sample_rate())
        self.frames_at_once = frames_at_once
        self.counters = CodecCounters()
        self.device = next(self.decoder.parameters()).device
        self.context = context_frames(self.decoder)
        self._early = int(self.decoder.pre_conv.padding)

    @torch.inference_mode()
    def remember(self, codes: Tensor | None) -> Past | None:
        """The state after these codes, (frames, code groups): a voice's reference. None of None or nothing."""
        if codes is None or len(codes) == 0:
            return None
        _, past = self._latents(codes.to(self.device).t()[None], None)
        return past

    @torch.inference_mode()
    def decode(self, takes: Sequence[Tensor], past: Past | None) -> list[Samples]:
        """The samples of each take, (frames, code groups), as if it came right after what is remembered."""
        done: list[Samples | None] = [None] * len(takes)
        order = sorted(range(len(takes)), key=lambda index: len(takes[index]))
        sizes = [len(takes[index]) + self.context for index in order]
        for group in groups_within(sizes, self.frames_at_once, MOST_PADDING):
            rows = [order[index] for index in group]
            for row, samples in zip(rows, self._decode_together([takes[row] for row in rows], past), strict=True):
                done[row] = samples
        return [samples for samples in done if samples is not None]

    def _decode_together(self, takes: list[Tensor], past: Past | None) -> list[Samples]:
        lengths = [len(take) for take in takes]
        # Padding stands behind the end, and nothing here looks ahead.
        codes = torch.nn.utils.rnn.pad_sequence(list(takes), batch_first=True).to(self.device).transpose(1, 2)
        at_once = max(1, self.frames_at_once // len(takes) - self.context)
        if past is not None:
            past = repeated(past, len(takes))
        pieces = []
        for piece in torch.split(codes, at_once, 2):
            waves, past = self._go_on(piece, past)
            pieces.append(waves.float().cpu())
        self.counters.frames_given += sum(lengths)
        samples = torch.cat(pieces, -1)
        return [
            np.ascontiguousarray(samples[row, : length * self.samples_per_frame].numpy())
            for row, length in enumerate(lengths)
        ]

    def _go_on(self, codes: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """codes: (rows, code groups, frames). Returns samples (rows, samples), and what the next piece needs."""
        latents, after = self._latents(codes, past)
        wave = latents.permute(0, 2, 1)
        for blocks in self.decoder.upsample:
            for block in blocks:
                wave = block(wave)
        for block in self.decoder.decoder:
            wave = block(wave)
        self.counters.frames_decoded += latents.shape[0] * latents.shape[1]
        new = codes.shape[2] * self.samples_per_frame
        return wave[:, 0, -new:].clamp(-1, 1), after

    def _latents(self, codes: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """The transformer's outputs of these frames, behind those that the convolutions look back on."""
        quantised = self.decoder.quantizer.decode(codes)
        if past is not None:
            quantised = torch.cat((past.quantised, quantised), 2)
        hidden = self.decoder.pre_conv(quantised)[:, :, -codes.shape[2] :].transpose(1, 2)
        out = self.decoder.pre_transformer(
            inputs_embeds=hidden, past_key_values=past.cache if past is not None else None, use_cache=True
        )
        latents = out.last_hidden_state
        if past is not None:
            latents = torch.cat((past.latents, latents), 1)
        # Clones: a view would keep the whole of it in memory.
        after = Past(
            out.past_key_values,
            quantised[:, :, max(0, quantised.shape[2] - self._early) :].clone(),
            latents[:, max(0, latents.shape[1] - self.context) :].clone(),
        )
        return latents, after


def repeated(past: Past, rows: int) -> Past:
    """Side by side for so many rows; the original stays as it is."""
    cache = copy.deepcopy(past.cache)
    cache.batch_repeat_interleave(rows)
    return Past(cache, past.quantised.expand(rows, -1, -1), past.latents.expand(rows, -1, -1))


def context_frames(decoder: Any) -> int:
    """How many frames the convolutions behind the transformer look back on: ten, in the 12 Hz codec.

    Counted from the samples back to the frames; each transposed convolution overlaps with one input of its own.
    """
    back = 0  # inputs of the module at hand that lie before the first sample wanted
    modules = [*(block for blocks in decoder.upsample for block in blocks), *decoder.decoder]
    for module in reversed(modules):
        for part in reversed(list(getattr(module, "block", [module]))):
            back = _looks_back(part, back)
    return back


def _looks_back(part: Any, back: int) -> int:
    name = type(part).__name__
    if name.endswith("CausalTransConvNet"):
        stride = int(part.conv.stride[0])
        return math.ceil((back + int(part.conv.kernel_size[0]) - stride) / stride)
    if name.endswith("CausalConvNet"):
        return back + int(part.padding)
    if name.endswith("ResidualUnit"):
        return back + int(part.conv1.padding) + int(part.conv2.padding)
    if name.endswith("ConvNeXtBlock"):
        return back + int(part.dwconv.padding)
    return back
