"""Qwen3 decoder layers run by hand, on the stock modules' own weights. Knows neither codes nor text.

Talker and code predictor have the same kind of layer (RMS norm, grouped-query attention with normed queries and keys,
SwiGLU), so this module runs both. Differences from the stock forward: one matrix product for queries, keys and values
and one for gate and up; keys and values written into memory that is allocated once; no cache objects, no masks made per
layer, no hidden states kept. The stock weights become views of the fused matrices: the stock model goes on working on
the same numbers, and no weight is in memory twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LoopUnsupported(Exception):
    """The model differs from what the loop was written for. The message is a short English phrase."""


@dataclass(frozen=True)
class LayerWeights:
    input_norm: Tensor
    qkv: Tensor
    """((heads + 2 * kv heads) * head size, hidden)"""
    qk_norm: Tensor
    """(heads + kv heads, head size): the norm's weight of each head, queries first"""
    out_t: Tensor
    """(heads * head size, hidden), transposed for addmm, which adds the product to the residual"""
    mlp_norm: Tensor
    gate_up: Tensor
    """(2 * intermediate, hidden)"""
    down_t: Tensor
    """(intermediate, hidden), transposed"""


class KeyValues:
    """Keys and values of all layers, allocated once. A row's key and value of one column are neighbours in memory.

    Every row begins at column 0, at any length: no padding on the left, nothing to move when a row takes another's
    place, and a row attends over the same columns alone and in any batch.
    """

    def __init__(
        self, layers: int, rows: int, columns: int, heads: int, head_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.rows, self.columns, self.heads, self.head_size = rows, columns, heads, head_size
        # Zeros: a masked column still enters the sum with weight 0, and 0 * nan is nan.
        self.data = [
            torch.zeros(rows, columns, 2, heads, head_size, dtype=dtype, device=device) for _layer in range(layers)
        ]
        self._make_views()

    def _make_views(self) -> None:
        self.flat = [layer.view(self.rows * self.columns, 2 * self.heads, self.head_size) for layer in self.data]
        """per layer: (rows * columns, 2 * kv heads, head size)"""
        self._views: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}

    def views(self, rows: int, width: int) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the first rows and columns, per layer: (rows, kv heads, width, head size) each."""
        found = self._views.get((rows, width))
        if found is None:
            found = [
                (layer[:rows, :width, 0].transpose(1, 2), layer[:rows, :width, 1].transpose(1, 2))
                for layer in self.data
            ]
            self._views[rows, width] = found
        return found

    def write_rows(self, layer: int, slots: Tensor, states: Tensor) -> None:
        """Writes states, (rows, length, 2, kv heads, head size), into columns 0 to length - 1 of these slots."""
        self.data[layer][slots, : states.shape[1]] = states

    def clear(self, slots: Tensor) -> None:
        for layer in self.data:
            layer[slots] = 0

    def move(self, source: int, target: int) -> None:
        """Copies all columns, unused ones too: an earlier row may have left nan there, and 0 * nan is nan."""
        for layer in self.data:
            layer[target] = layer[source]

    def reshape(self, rows: int, columns: int, kept_rows: int) -> None:
        """Allocates other bounds and copies the first kept_rows, layer by layer: only one layer is in memory twice."""
        kept_columns = min(columns, self.columns)
        for number, old in enumerate(self.data):
            new = old.new_zeros(rows, columns, *old.shape[2:])
            new[:kept_rows, :kept_columns] = old[:kept_rows, :kept_columns]
            self.data[number] = new
            # The views keep the old memory alive too.
            self.flat[number] = new
            self._views.clear()
        self.rows, self.columns = rows, columns
        self._make_views()


class DecoderLayers:
    def __init__(self, layers: Iterable[nn.Module], norm: nn.Module, rotary: Any, config: Any) -> None:
        """The modules of a stock talker or code predictor; their weights become views of the fused ones.

        Raises LoopUnsupported.
        """
        modules: list[Any] = list(layers)
        _refuse_other_kinds(modules, config)
        first: Any = modules[0].self_attn
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.groups = self.heads // self.kv_heads
        self.head_size: int = first.head_dim
        self.eps = float(config.rms_norm_eps)
        self.weights = [fuse(module, self.heads, self.kv_heads) for module in modules]
        self.norm: Tensor = _weight(norm)
        self.hidden = self.norm.shape[0]
        self.dtype, self.device = self.norm.dtype, self.norm.device
        # Computed again in float32: converting a model to bfloat16 rounds the module's buffer of frequencies.
        self._frequencies, self._scaling = rotary.rope_init_fn(rotary.config, self.device)
        self.rope(1)

    def rope(self, positions: int) -> tuple[Tensor, Tensor]:
        """Rotary tables for positions 0 and on: cosines, and sines that are negative in the first half.

        (positions, 1, head size) each.
        """
        # The talker's positions have three channels, all equal for speech, so interleaving changes nothing.
        angles = torch.outer(
            torch.arange(positions, device=self.device, dtype=torch.float32), self._frequencies.float()
        )
        cos, sin = angles.cos() * self._scaling, angles.sin() * self._scaling
        return (
            torch.cat((cos, cos), -1).to(self.dtype).unsqueeze(1),
            torch.cat((-sin, sin), -1).to(self.dtype).unsqueeze(1),
        )

    def key_values(self, rows: int, columns: int) -> KeyValues:
        return KeyValues(len(self.weights), rows, columns, self.kv_heads, self.head_size, self.dtype, self.device)

    def bytes_per_column(self) -> int:
        """Bytes of keys and values of one column of one row, all layers together."""
        return len(self.weights) * 2 * self.kv_heads * self.head_size * self.dtype.itemsize

    def start(self, x: Tensor, cos: Tensor, sin: Tensor, kv: KeyValues, slots: Tensor) -> Tensor:
        """Prefills slots from column 0 on. Shorter rows are padded on the right, where no attention reaches.

        x: (rows, length, hidden). cos, sin: as `rope` gives them, length positions at least. slots: (rows,).
        Returns x's shape, without the last norm.
        """
        rows, length, _ = x.shape
        cos, sin = cos[:length], sin[:length]
        h = x.reshape(rows * length, self.hidden)
        for number, layer in enumerate(self.weights):
            qkv = F.linear(self.normed(h, layer.input_norm), layer.qkv)
            qkv = qkv.view(rows, length, self.heads + 2 * self.kv_heads, self.head_size)
            qk = self._rotate(qkv[:, :, : self.heads + self.kv_heads], layer.qk_norm, cos, sin)
            keys, values = qk[:, :, self.heads :], qkv[:, :, self.heads + self.kv_heads :]
            kv.write_rows(number, slots, torch.stack((keys, values), 2))
            # Keys and values are repeated by hand: the memory-efficient kernel, the only one on old cards, has no
            # enable_gqa.
            attended = F.scaled_dot_product_attention(
                qk[:, :, : self.heads].transpose(1, 2),
                keys.repeat_interleave(self.groups, 2).transpose(1, 2),
                values.repeat_interleave(self.groups, 2).transpose(1, 2),
                is_causal=True,
            )
            h = self._add_to_residual(h, attended.transpose(1, 2).reshape(rows * length, -1), layer)
        return h.view(rows, length, self.hidden)

    def step(
        self,
        h: Tensor,
        cos: Tensor,
        sin: Tensor,
        kv: KeyValues,
        views: list[tuple[Tensor, Tensor]],
        columns: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """One more column of each row.

        h: (rows, hidden). cos, sin: (rows or 1, 1, head size). views: of kv.views. columns: row * kv.columns + column,
        (rows,). mask: added to the scores, (rows, 1, 1, width); None where every column of the views counts.
        Returns (rows, hidden), without the last norm.
        """
        rows = h.shape[0]
        rotated = self.heads + self.kv_heads
        for layer, flat, (keys, values) in zip(self.weights, kv.flat, views, strict=True):
            qkv = F.linear(self.normed(h, layer.input_norm), layer.qkv)
            qkv = qkv.view(rows, rotated + self.kv_heads, self.head_size)
            qk = self._rotate(qkv[:, :rotated], layer.qk_norm, cos, sin)
            flat.index_copy_(0, columns, torch.cat((qk[:, self.heads :], qkv[:, rotated:]), 1))
            # Queries that share a key take the place of a sequence's positions, so no key is repeated.
            queries = qk[:, : self.heads].view(rows, self.kv_heads, self.groups, self.head_size)
            attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
            h = self._add_to_residual(h, attended.reshape(rows, -1), layer)
        return h

    def normed(self, h: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(h, (h.shape[-1],), weight, self.eps)

    def _rotate(self, heads: Tensor, weight: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Norm and rotary positions of queries and keys together; (..., heads, head size)."""
        normed = F.rms_norm(heads, (self.head_size,), None, self.eps) * weight
        return torch.addcmul(normed * cos, normed.roll(self.head_size // 2, -1), sin)

    def _add_to_residual(self, h: Tensor, attended: Tensor, layer: LayerWeights) -> Tensor:
        """Adds attention's output projection, then the MLP; h: (rows, hidden)."""
        h = torch.addmm(h, attended, layer.out_t)
        gate, up = F.linear(self.normed(h, layer.mlp_norm), layer.gate_up).chunk(2, -1)
        return torch.addmm(h, F.silu(gate) * up, layer.down_t)


def fuse(module: Any, heads: int, kv_heads: int) -> LayerWeights:
    """A layer's weights. Those that read the same input are fused, and the stock modules' become views of them."""
    attention, mlp = module.self_attn, module.mlp
    return LayerWeights(
        input_norm=_weight(module.input_layernorm),
        qkv=fuse_rows([attention.q_proj, attention.k_proj, attention.v_proj]),
        qk_norm=torch.cat(
            (
                _weight(attention.q_norm).expand(heads, -1),
                _weight(attention.k_norm).expand(kv_heads, -1),
            )
        ).contiguous(),
        out_t=_weight(attention.o_proj).t(),
        mlp_norm=_weight(module.post_attention_layernorm),
        gate_up=fuse_rows([mlp.gate_proj, mlp.up_proj]),
        down_t=_weight(mlp.down_proj).t(),
    )


def fuse_rows(modules: list[Any]) -> Tensor:
    """One tensor of the modules' weights, which become views of it. A second call returns the same tensor."""
    weights = [_weight(module) for module in modules]
    sizes = [len(weight) for weight in weights]
    base = weights[0]._base
    if base is not None and len(base) == sum(sizes) and all(weight._base is base for weight in weights):
        return base
    fused = torch.cat(weights)
    for module, part in zip(modules, torch.split(fused, sizes), strict=True):
        module.weight.data = part
    return fused


def _weight(module: Any) -> Tensor:
    weight: Tensor = module.weight.detach()
    return weight


def _refuse_other_kinds(modules: list[Any], config: Any) -> None:
    attention = modules[0].self_attn
    if config.hidden_act != "silu":
        raise LoopUnsupported(f"activation {config.hidden_act}")
    if attention.q_proj.bias is not None or attention.o_proj.bias is not None:
        raise LoopUnsupported("attention with bias")
    if any(module.self_attn.sliding_window for module in modules):
        raise LoopUnsupported("sliding window attention")
    if attention.head_dim % 2 or config.num_attention_heads % config.num_key_value_heads:
        raise LoopUnsupported("head sizes")
