"""Codes to samples, piece by piece: each row goes on from where its last piece ended, the first one from the reference.

Stock decodes the reference's codes and the sentence's together and throws the front away: with a reference of ten
seconds that is two thirds of the work. The decoder is causal, and what it keeps of the past is little: the keys and
values of 71 frames in each layer of its transformer, and the last inputs of each of its convolutions. Here both are
kept (`Past`), so no frame is decoded twice, however small the pieces; the result is that of decoding everything
together, up to the order of additions (docs/dev/engine.md has the figures).

Knows no text and no batch: which rows are decoded together, and when, is its caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from server.audio.samples import Samples
from server.engines.qwen.load.memory import groups_within
from server.engines.qwen.model.layers import LoopUnsupported

MAX_PADDING = 0.15
"""Of the longest row of a call: more would cost what decoding together saves."""


@dataclass(frozen=True)
class Past:
    """What the decoder knows of the frames before, of one row. Its tensors are never written to."""

    frames: int
    """So many frames were before; 0: none."""
    keys_values: Tensor
    """(layers, 2, heads, window - 1, head size): the last frames', ending on the right; zeros where there were none"""
    tails: tuple[Tensor, ...]
    """(channels, inputs) each: the last inputs of every convolution, in the order in which they are run"""


@dataclass
class CodecCounters:
    frames_given: int = 0
    frames_decoded: int = 0
    """through the convolutions, which are nine tenths of the work; padding included"""
    calls: int = 0


@dataclass
class _Piece:
    """A group of rows on its way through the decoder."""

    pasts: list[Past]
    lengths: list[int]
    """Frames of each row"""
    rate: int = 1
    """Inputs of the convolution at hand per frame"""
    tails: list[Tensor] = field(default_factory=list)
    """(rows, channels, inputs) each: what is kept so far"""


class Codec:
    def __init__(self, tokenizer: Any, frames_at_once: int) -> None:
        """tokenizer: the stock Qwen3TTSTokenizer. frames_at_once: bound of one call, over all rows.

        Raises LoopUnsupported.
        """
        self.decoder: Any = tokenizer.model.decoder
        self.samples_per_frame = int(tokenizer.get_decode_upsample_rate())
        self.sample_rate = int(tokenizer.get_output_sample_rate())
        self.frames_at_once = frames_at_once
        self.counters = CodecCounters()
        self.device = next(self.decoder.parameters()).device
        self._before, self._behind = _modules(self.decoder)
        self._snakes = _snakes(self._behind)
        self._window = int(self.decoder.config.sliding_window) - 1
        self.nothing = self._nothing()

    @torch.inference_mode()
    def remember(self, codes: Tensor | None) -> Past:
        """The state after these codes, (frames, code groups): a voice's reference. Without any, that of a beginning."""
        past = self.nothing
        if codes is None:
            return past
        for piece in torch.split(codes, max(1, self.frames_at_once)):
            if len(piece):
                _, (past,) = self._go_on([piece], [past])
        return past

    @torch.inference_mode()
    def go_on(self, rows: Sequence[tuple[Tensor, Past]]) -> list[tuple[Samples, Past]]:
        """The samples of each row's next frames, (frames, code groups), and what its frames after them need.

        Long rows go through in several calls, short ones together, so that no call exceeds frames_at_once.
        """
        done: list[tuple[Samples, Past] | None] = [None] * len(rows)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
        sizes = [len(rows[index][0]) for index in order]
        for group in groups_within(sizes, self.frames_at_once, MAX_PADDING):
            indices = [order[index] for index in group]
            for index, result in zip(indices, self._together([rows[index] for index in indices]), strict=True):
                done[index] = result
        return [result for result in done if result is not None]

    def decode(self, takes: Sequence[Tensor], past: Past) -> list[Samples]:
        """The samples of each take, (frames, code groups), as if it came right after what is remembered."""
        return [samples for samples, _ in self.go_on([(take, past) for take in takes])]

    def _together(self, rows: list[tuple[Tensor, Past]]) -> list[tuple[Samples, Past]]:
        codes, pasts = [row[0] for row in rows], [row[1] for row in rows]
        heard: list[list[Samples]] = [[] for _ in rows]
        at_once = max(1, self.frames_at_once // len(rows))
        for start in range(0, max(len(row) for row in codes), at_once):
            # Rows that are shorter than the longest may have none left: they sit out.
            here = [index for index, row in enumerate(codes) if len(row) > start]
            samples, after = self._go_on([codes[i][start : start + at_once] for i in here], [pasts[i] for i in here])
            for index, wave, past in zip(here, samples, after, strict=True):
                heard[index].append(wave)
                pasts[index] = past
        nothing = np.zeros(0, np.float32)
        return [(np.concatenate([nothing, *waves]), past) for waves, past in zip(heard, pasts, strict=True)]

    def _go_on(self, codes: list[Tensor], pasts: list[Past]) -> tuple[list[Samples], list[Past]]:
        """One call of the decoder. Rows are padded on the right: nothing here looks ahead."""
        piece = _Piece(pasts, [len(row) for row in codes])
        padded = torch.nn.utils.rnn.pad_sequence(codes, batch_first=True).to(self.device)  # (rows, frames, groups)
        x = self.decoder.quantizer.decode(padded.transpose(1, 2))  # (rows, channels, frames)
        x = self._through(self._before, x, piece)
        x, keys_values = self._attend(x.transpose(1, 2), piece)
        wave = self._through(self._behind, x.transpose(1, 2), piece)[:, 0].clamp(-1, 1).float().cpu()
        self.counters.calls += 1
        self.counters.frames_given += sum(piece.lengths)
        self.counters.frames_decoded += padded.shape[0] * padded.shape[1]
        samples = [
            np.ascontiguousarray(row[: length * self.samples_per_frame].numpy())
            for row, length in zip(wave, piece.lengths, strict=True)
        ]
        after = [
            Past(past.frames + length, keys_values[:, row], tuple(tails[row] for tails in piece.tails))
            for row, (past, length) in enumerate(zip(pasts, piece.lengths, strict=True))
        ]
        return samples, after

    # --- the transformer

    def _attend(self, x: Tensor, piece: _Piece) -> tuple[Tensor, Tensor]:
        """x: (rows, frames, channels). Returns the same, and the keys and values for the next piece.

        Those: (layers, rows, 2, heads, window - 1, head size).
        """
        transformer = self.decoder.pre_transformer
        h = transformer.input_proj(x)
        positions = torch.arange(x.shape[1], device=x.device) + torch.tensor(
            [[past.frames] for past in piece.pasts], device=x.device
        )
        cos, sin = (part.unsqueeze(1) for part in transformer.rotary_emb(h, positions))  # (rows, 1, frames, head size)
        mask = self._mask(piece, x.shape[1])
        kept = []
        for number, layer in enumerate(transformer.layers):
            past = torch.stack([one.keys_values[number] for one in piece.pasts], 1)  # (2, rows, heads, window, size)
            attended, keys_values = _attention(layer.self_attn, layer.input_layernorm(h), cos, sin, past, mask)
            h = h + layer.self_attn_layer_scale(attended)
            h = h + layer.mlp_layer_scale(layer.mlp(layer.post_attention_layernorm(h)))
            kept.append(
                torch.stack([keys_values[:, row, :, n : n + self._window] for row, n in enumerate(piece.lengths)])
            )
        out: Tensor = transformer.output_proj(transformer.norm(h))
        return out, torch.stack(kept)

    def _mask(self, piece: _Piece, frames: int) -> Tensor:
        """(rows, 1, frames, window + frames): each frame sees itself and the window before it, where there was any."""
        column = torch.arange(-self._window, frames, device=self.device)
        back = torch.arange(frames, device=self.device)[:, None] - column  # (frames, columns): so many frames ago
        seen = (back >= 0) & (back <= self._window)
        begun = torch.tensor([[-past.frames] for past in piece.pasts], device=self.device)
        there = column >= begun  # (rows, columns)
        return seen & there[:, None, None]

    # --- the convolutions

    def _through(self, modules: Sequence[Any], x: Tensor, piece: _Piece) -> Tensor:
        for module in modules:
            x = self._run(module, x, piece)
        return x

    def _run(self, module: Any, x: Tensor, piece: _Piece) -> Tensor:
        kind = _kind(module)
        if kind == "CausalConvNet":
            return self._convolve(module, x, piece)
        if kind == "CausalTransConvNet":
            return self._transpose(module, x, piece)
        if kind == "SnakeBeta":
            return self._snake(module, x, torch.empty_like(x))
        if kind == "ResidualUnit":
            return self._residual(module, x, piece)
        if kind == "ConvNeXtBlock":
            y = module.norm(self._convolve(module.dwconv, x, piece).transpose(1, 2))
            y = module.gamma * module.pwconv2(module.act(module.pwconv1(y)))
            return torch.add(x, y.transpose(1, 2))
        raise AssertionError(kind)  # _modules has seen them all

    def _residual(self, module: Any, x: Tensor, piece: _Piece) -> Tensor:
        """The largest tensors of the codec are here, so nothing is copied needlessly (docs/dev/log.md, 2026-11-27)."""
        tail = int(module.conv1.padding)
        wide = self._with_tails(x, tail, piece)
        self._snake(module.act1, x, wide[:, :, tail:])
        self._keep_tails(wide, tail, piece)
        y: Tensor = module.conv1.conv(wide)
        del wide
        out: Tensor = module.conv2.conv(self._snake(module.act2, y, y))
        return out.add_(x)

    def _snake(self, module: Any, x: Tensor, out: Tensor) -> Tensor:
        """x + sin(alpha x)**2 / beta, as the module does it in five passes; out may be x."""
        alpha, scale = self._snakes[id(module)]
        return torch.addcmul(x, torch.mul(x, alpha).sin_().square_(), scale, out=out)

    def _convolve(self, module: Any, x: Tensor, piece: _Piece) -> Tensor:
        out: Tensor = module.conv(self._behind_tails(x, int(module.padding), piece))
        return out

    def _transpose(self, module: Any, x: Tensor, piece: _Piece) -> Tensor:
        stride, count = int(module.conv.stride[0]), x.shape[2]
        tail = tail_of(module)
        out: Tensor = module.conv(self._behind_tails(x, tail, piece))
        piece.rate *= stride
        return out[:, :, tail * stride : (tail + count) * stride]

    def _behind_tails(self, x: Tensor, tail: int, piece: _Piece) -> Tensor:
        """x behind the last inputs of the piece before; its own last ones are kept."""
        if tail == 0:
            return x
        wide = self._with_tails(x, tail, piece)
        wide[:, :, tail:] = x
        self._keep_tails(wide, tail, piece)
        return wide

    @staticmethod
    def _with_tails(x: Tensor, tail: int, piece: _Piece) -> Tensor:
        """Room for x, or what is made of it, behind the last inputs of the piece before."""
        wide = x.new_empty(x.shape[0], x.shape[1], tail + x.shape[2])
        wide[:, :, :tail] = torch.stack([past.tails[len(piece.tails)] for past in piece.pasts])
        return wide

    @staticmethod
    def _keep_tails(x: Tensor, tail: int, piece: _Piece) -> None:
        # Copied, as views would keep all of x in memory; by one operation for all rows, not one for each.
        ends = [n * piece.rate for n in piece.lengths]
        piece.tails.append(torch.stack([x[row, :, end : end + tail] for row, end in enumerate(ends)]))

    def _nothing(self) -> Past:
        """Before the first frame: stock pads with zeros, too."""
        config = self.decoder.config
        layers, heads = len(self.decoder.pre_transformer.layers), config.num_key_value_heads
        head_size = int(self.decoder.pre_transformer.layers[0].self_attn.head_dim)
        weight = next(self.decoder.parameters())
        keys_values = weight.new_zeros(layers, 2, heads, self._window, head_size)
        tails = [
            weight.new_zeros(int(module.conv.in_channels), tail_of(module))
            for module in _convolutions([*self._before, *self._behind])
            if tail_of(module)
        ]
        return Past(0, keys_values, tuple(tails))


def past_bytes(past: Past) -> int:
    """What a row keeps on the device while it is decoded in pieces."""
    return past.keys_values.nbytes + sum(tail.nbytes for tail in past.tails)


def _attention(module: Any, x: Tensor, cos: Tensor, sin: Tensor, past: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What attention makes of x, (rows, frames, hidden), and all keys and values, (2, rows, heads, columns, size)."""
    rows, frames, _ = x.shape

    def heads(projection: Any) -> Tensor:
        projected: Tensor = projection(x)
        return projected.view(rows, frames, -1, module.head_dim).transpose(1, 2)

    queries = _turned(heads(module.q_proj), cos, sin)
    new = torch.stack((_turned(heads(module.k_proj), cos, sin), heads(module.v_proj)))
    keys_values = torch.cat((past, new), 3)
    keys, values = keys_values.repeat_interleave(module.num_key_value_groups, 2)
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=module.scaling)
    attended: Tensor = module.o_proj(out.transpose(1, 2).reshape(rows, frames, -1))
    return attended, keys_values


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: the halves of each head are the two coordinates that are turned."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


# --- what the decoder is made of


def _kind(module: Any) -> str:
    """The class without the package's prefixes."""
    name = type(module).__name__
    return next((kind for kind in KINDS if name.endswith(kind)), name)


KINDS = ("CausalTransConvNet", "CausalConvNet", "ResidualUnit", "ConvNeXtBlock", "SnakeBeta")


def _modules(decoder: Any) -> tuple[list[Any], list[Any]]:
    """Before and behind the transformer, one after another.

    Raises LoopUnsupported for what is not known to look back on nothing else.
    """
    before = [decoder.pre_conv]
    behind = [block for blocks in decoder.upsample for block in blocks]
    for module in decoder.decoder:
        behind += list(getattr(module, "block", [module]))
    for module in [*before, *behind]:
        if _kind(module) not in KINDS:
            raise LoopUnsupported(f"codec with {_kind(module)}")
        if _kind(module) == "ResidualUnit" and module.conv2.padding:
            raise LoopUnsupported("codec whose residual units look back twice")
    for layer in decoder.pre_transformer.layers:
        if not all(isinstance(norm, torch.nn.Identity) for norm in (layer.self_attn.q_norm, layer.self_attn.k_norm)):
            raise LoopUnsupported("codec with normed queries")
    return before, behind


def _snakes(modules: Sequence[Any]) -> dict[int, tuple[Tensor, Tensor]]:
    """alpha and 1 / beta of each snake activation by its id, (channels, 1): the modules make them anew each time."""
    inside = [part for module in modules for part in module.modules() if _kind(part) == "SnakeBeta"]
    with torch.inference_mode():
        return {
            id(snake): (snake.alpha.exp()[:, None], (1.0 / (snake.beta.exp() + snake.no_div_by_zero))[:, None])
            for snake in inside
        }


def _convolutions(modules: Sequence[Any]) -> list[Any]:
    """Those that may look back, in the order in which they are run."""
    parts: dict[str, Callable[[Any], list[Any]]] = {
        "CausalConvNet": lambda module: [module],
        "CausalTransConvNet": lambda module: [module],
        "ResidualUnit": lambda module: [module.conv1, module.conv2],
        "ConvNeXtBlock": lambda module: [module.dwconv],
    }
    return [part for module in modules for part in parts.get(_kind(module), lambda _module: [])(module)]


def tail_of(module: Any) -> int:
    """How many inputs before the present one a convolution needs."""
    if _kind(module) == "CausalConvNet":
        return int(module.padding)
    kernel, stride = int(module.conv.kernel_size[0]), int(module.conv.stride[0])
    return math.ceil((kernel - stride) / stride)
