"""Codec codes to samples, piece by piece. Each row continues from its own state; its first piece from the reference's.

Stock decodes the codes of reference and sentence together and throws the reference's samples away: with a reference of
ten seconds that is two thirds of the work. The decoder is causal and its state is small: the keys and values of 71
frames in each layer of its transformer, and the last inputs of each of its convolutions. `CodecState` holds both, so no
frame is decoded twice, however small the pieces. The result equals that of decoding everything together, up to the
order of additions (docs/dev/engine.md has the figures).

Knows no text and no batch: the caller decides which rows are decoded together, and when.
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
"""Padding allowed, as a share of a call's longest row; above it, decoding together saves nothing."""


@dataclass(frozen=True)
class CodecState:
    """The decoder's state after some frames of one row. Its tensors are never written to."""

    frames: int
    """Frames decoded so far; 0 for the initial state"""
    keys_values: Tensor
    """(layers, 2, heads, window - 1, head size): of the last frames, the newest on the right; zeros before the first"""
    tails: tuple[Tensor, ...]
    """(channels, inputs) each: the last inputs of every convolution that looks back, in the order in which they run"""


@dataclass
class CodecCounters:
    frames_given: int = 0
    frames_decoded: int = 0
    """frames that went through the convolutions, which are nine tenths of the work; padding included"""
    calls: int = 0


@dataclass
class _Piece:
    """A group of rows on its way through the decoder."""

    states: list[CodecState]
    """The state of each row before the piece"""
    lengths: list[int]
    """Frames of each row"""
    rate: int = 1
    """Inputs of the next convolution per frame"""
    tails: list[Tensor] = field(default_factory=list)
    """(rows, channels, inputs) each: the tails after the piece, as far as its convolutions have run"""


class Codec:
    def __init__(self, tokenizer: Any, frames_at_once: int) -> None:
        """tokenizer: the stock Qwen3TTSTokenizer. frames_at_once: most frames of one decoder call, over all rows.

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
        self.initial_state = self._initial_state()

    @torch.inference_mode()
    def state_after(self, codes: Tensor | None) -> CodecState:
        """The state after a voice's reference codes, (frames, code groups); the initial state without a reference."""
        state = self.initial_state
        if codes is None:
            return state
        for piece in torch.split(codes, max(1, self.frames_at_once)):
            if len(piece):
                _, (state,) = self._decode_piece([piece], [state])
        return state

    @torch.inference_mode()
    def decode_next(self, rows: Sequence[tuple[Tensor, CodecState]]) -> list[tuple[Samples, CodecState]]:
        """The samples of each row's next frames, and the state after them.

        rows: codes of the next frames, (frames, code groups), and the state before them.
        Long rows are split over several decoder calls and short ones share one, so that no call exceeds frames_at_once.
        Raises torch.OutOfMemoryError.
        """
        done: list[tuple[Samples, CodecState] | None] = [None] * len(rows)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
        sizes = [len(rows[index][0]) for index in order]
        for group in groups_within(sizes, self.frames_at_once, MAX_PADDING):
            indices = [order[index] for index in group]
            for index, result in zip(indices, self._together([rows[index] for index in indices]), strict=True):
                done[index] = result
        return [result for result in done if result is not None]

    def decode(self, takes: Sequence[Tensor], state: CodecState) -> list[Samples]:
        """The samples of each take, (frames, code groups), decoded from this state on."""
        return [samples for samples, _ in self.decode_next([(take, state) for take in takes])]

    def _together(self, rows: list[tuple[Tensor, CodecState]]) -> list[tuple[Samples, CodecState]]:
        codes, states = [row[0] for row in rows], [row[1] for row in rows]
        decoded: list[list[Samples]] = [[] for _ in rows]
        at_once = max(1, self.frames_at_once // len(rows))
        for start in range(0, max(len(row) for row in codes), at_once):
            # Rows that have ended take no part in later calls.
            here = [index for index, row in enumerate(codes) if len(row) > start]
            pieces = [codes[i][start : start + at_once] for i in here]
            samples, after = self._decode_piece(pieces, [states[i] for i in here])
            for index, wave, state in zip(here, samples, after, strict=True):
                decoded[index].append(wave)
                states[index] = state
        nothing = np.zeros(0, np.float32)
        return [(np.concatenate([nothing, *waves]), state) for waves, state in zip(decoded, states, strict=True)]

    def _decode_piece(self, codes: list[Tensor], states: list[CodecState]) -> tuple[list[Samples], list[CodecState]]:
        """One call of the decoder. Rows are padded on the right: the decoder is causal."""
        piece = _Piece(states, [len(row) for row in codes])
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
            CodecState(state.frames + length, keys_values[:, row], tuple(tails[row] for tails in piece.tails))
            for row, (state, length) in enumerate(zip(states, piece.lengths, strict=True))
        ]
        return samples, after

    # --- the transformer

    def _attend(self, x: Tensor, piece: _Piece) -> tuple[Tensor, Tensor]:
        """Runs the transformer over x, (rows, frames, channels).

        Returns x's shape, and the keys and values of the next states: (layers, rows, 2, heads, window - 1, head size).
        """
        transformer = self.decoder.pre_transformer
        h = transformer.input_proj(x)
        positions = torch.arange(x.shape[1], device=x.device) + torch.tensor(
            [[state.frames] for state in piece.states], device=x.device
        )
        cos, sin = (part.unsqueeze(1) for part in transformer.rotary_emb(h, positions))  # (rows, 1, frames, head size)
        mask = self._mask(piece, x.shape[1])
        kept = []
        for number, layer in enumerate(transformer.layers):
            # (2, rows, heads, window - 1, head size)
            past = torch.stack([state.keys_values[number] for state in piece.states], 1)
            attended, keys_values = _attention(layer.self_attn, layer.input_layernorm(h), cos, sin, past, mask)
            h = h + layer.self_attn_layer_scale(attended)
            h = h + layer.mlp_layer_scale(layer.mlp(layer.post_attention_layernorm(h)))
            kept.append(
                torch.stack([keys_values[:, row, :, n : n + self._window] for row, n in enumerate(piece.lengths)])
            )
        out: Tensor = transformer.output_proj(transformer.norm(h))
        return out, torch.stack(kept)

    def _mask(self, piece: _Piece, frames: int) -> Tensor:
        """(rows, 1, frames, window - 1 + frames), bool: each frame attends to itself and to the window before it.

        Columns before a row's first frame are masked.
        """
        column = torch.arange(-self._window, frames, device=self.device)
        back = torch.arange(frames, device=self.device)[:, None] - column  # (frames, columns): frames back
        within = (back >= 0) & (back <= self._window)
        first = torch.tensor([[-state.frames] for state in piece.states], device=self.device)
        exists = column >= first  # (rows, columns)
        return within & exists[:, None, None]

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
        raise AssertionError(kind)  # _modules refuses any other kind

    def _residual(self, module: Any, x: Tensor, piece: _Piece) -> Tensor:
        """Holds the codec's largest tensors, so it copies as few as it can (docs/dev/log.md, 2026-11-27)."""
        tail = int(module.conv1.padding)
        wide = self._with_tails(x, tail, piece)
        self._snake(module.act1, x, wide[:, :, tail:])
        self._keep_tails(wide, tail, piece)
        y: Tensor = module.conv1.conv(wide)
        del wide
        out: Tensor = module.conv2.conv(self._snake(module.act2, y, y))
        return out.add_(x)

    def _snake(self, module: Any, x: Tensor, out: Tensor) -> Tensor:
        """x + sin(alpha x)**2 / beta, for which the stock module takes five passes; out may be x."""
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
        """x with the last inputs of the piece before in front; the last inputs of x are kept for the next piece."""
        if tail == 0:
            return x
        wide = self._with_tails(x, tail, piece)
        wide[:, :, tail:] = x
        self._keep_tails(wide, tail, piece)
        return wide

    @staticmethod
    def _with_tails(x: Tensor, tail: int, piece: _Piece) -> Tensor:
        """Room for x with the last inputs of the piece before in front; the room itself is not filled."""
        wide = x.new_empty(x.shape[0], x.shape[1], tail + x.shape[2])
        wide[:, :, :tail] = torch.stack([state.tails[len(piece.tails)] for state in piece.states])
        return wide

    @staticmethod
    def _keep_tails(x: Tensor, tail: int, piece: _Piece) -> None:
        # Copies, since views would keep all of x in memory; one operation for all rows.
        ends = [n * piece.rate for n in piece.lengths]
        piece.tails.append(torch.stack([x[row, :, end : end + tail] for row, end in enumerate(ends)]))

    def _initial_state(self) -> CodecState:
        """Zeros, as stock pads the first frame."""
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
        return CodecState(0, keys_values, tuple(tails))


def state_bytes(state: CodecState) -> int:
    """Bytes that a row keeps on the device while it is decoded in pieces."""
    return state.keys_values.nbytes + sum(tail.nbytes for tail in state.tails)


def _attention(module: Any, x: Tensor, cos: Tensor, sin: Tensor, past: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attention's output for x, (rows, frames, hidden), and all keys and values, (2, rows, heads, columns, head size).

    past: keys and values before x, (2, rows, heads, window - 1, head size). mask: bool, as `_mask` makes it.
    """
    rows, frames, _ = x.shape

    def heads(projection: Any) -> Tensor:
        projected: Tensor = projection(x)
        return projected.view(rows, frames, -1, module.head_dim).transpose(1, 2)

    queries = _rotated(heads(module.q_proj), cos, sin)
    new = torch.stack((_rotated(heads(module.k_proj), cos, sin), heads(module.v_proj)))
    keys_values = torch.cat((past, new), 3)
    keys, values = keys_values.repeat_interleave(module.num_key_value_groups, 2)
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=module.scaling)
    attended: Tensor = module.o_proj(out.transpose(1, 2).reshape(rows, frames, -1))
    return attended, keys_values


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: the two halves of each head are the coordinates that are rotated."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


# --- the decoder's modules


def _kind(module: Any) -> str:
    """The name of the class without the package's prefixes"""
    name = type(module).__name__
    return next((kind for kind in KINDS if name.endswith(kind)), name)


KINDS = ("CausalTransConvNet", "CausalConvNet", "ResidualUnit", "ConvNeXtBlock", "SnakeBeta")


def _modules(decoder: Any) -> tuple[list[Any], list[Any]]:
    """The modules before and behind the transformer, in the order in which they run.

    Raises LoopUnsupported for kinds whose look-back is not known.
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
    """alpha and 1 / beta of each snake activation by its id, (channels, 1): stock computes both again in every call."""
    inside = [part for module in modules for part in module.modules() if _kind(part) == "SnakeBeta"]
    with torch.inference_mode():
        return {
            id(snake): (snake.alpha.exp()[:, None], (1.0 / (snake.beta.exp() + snake.no_div_by_zero))[:, None])
            for snake in inside
        }


def _convolutions(modules: Sequence[Any]) -> list[Any]:
    """The convolutions that may look back, in the order in which they run."""
    parts: dict[str, Callable[[Any], list[Any]]] = {
        "CausalConvNet": lambda module: [module],
        "CausalTransConvNet": lambda module: [module],
        "ResidualUnit": lambda module: [module.conv1, module.conv2],
        "ConvNeXtBlock": lambda module: [module.dwconv],
    }
    return [part for module in modules for part in parts.get(_kind(module), lambda _module: [])(module)]


def tail_of(module: Any) -> int:
    """Inputs before the present one that a convolution reads"""
    if _kind(module) == "CausalConvNet":
        return int(module.padding)
    kernel, stride = int(module.conv.kernel_size[0]), int(module.conv.stride[0])
    return math.ceil((kernel - stride) / stride)
