"""Draws codes on the device, each row from a stream of its own. Knows no model.

The processing is that of transformers' generate(): repetition penalty, forbidden tokens, temperature, top-k, top-p, in
this order. The draw is the Gumbel-max trick: the largest of logit / temperature + noise is a draw from the softmax.
The noise of a row is a function of its seed, its frame and the token alone (SplitMix64, by counter). So a take does not
depend on its neighbours, on when it joined the batch, or on the device. And no draw waits for the host, as
torch.multinomial's does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
MIX_1, MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MANTISSA_BITS = 23
"""One bit less than float32 has: the largest uniform number is then below 1, and its Gumbel value is finite."""


@dataclass(frozen=True)
class Draw:
    """The sampling settings of one kind of code."""

    sample: bool = True
    """False takes the most likely token."""
    temperature: float = 0.9
    top_k: int = 50
    """0 keeps all tokens."""
    top_p: float = 1.0


@dataclass(frozen=True)
class Sampling:
    first: Draw = Draw()
    """Of code 0 of a frame, drawn by the talker"""
    rest: Draw = Draw()
    """Of codes 1 to 15, drawn by the code predictor"""
    repetition_penalty: float = 1.05
    """Of codes 0 that the row has drawn already"""


def pick(logits: Tensor, noise: Tensor | None, draw: Draw) -> Tensor:
    """One token a row: (rows,) int64.

    logits: (rows, tokens) float32. noise: the same shape, Gumbel noise times temperature; not read when `draw` does not
    sample.
    """
    if not draw.sample or noise is None:
        return logits.argmax(-1)
    tokens = logits.shape[-1]
    kept = draw.top_k if 0 < draw.top_k < tokens else tokens
    if kept == tokens and draw.top_p >= 1.0:
        return (logits + noise).argmax(-1)
    values, ids = logits.topk(kept)
    scores = values + noise.gather(1, ids)
    if draw.top_p < 1.0:
        probabilities = (values / draw.temperature).softmax(-1)
        above = probabilities.cumsum(-1) - probabilities
        scores = scores.masked_fill(above >= draw.top_p, float("-inf"))
    return ids.gather(1, scores.argmax(-1, keepdim=True)).squeeze(1)


def penalised(logits: Tensor, factors: Tensor) -> Tensor:
    """Logits after the repetition penalty, (rows, tokens).

    factors: (rows, tokens), 1 where a token has not been drawn, the penalty where it has.
    """
    # Stock multiplies negative logits and divides positive ones: the smaller of both, as the penalty is at least 1.
    return torch.minimum(logits * factors, logits / factors)


def gumbel(seeds: Tensor, steps: Tensor, count: int, size: int) -> Tensor:
    """Gumbel noise of `count` steps, from each row's own step on: (rows, count, size) float32.

    seeds, steps: (rows,) int64. size: numbers a step.
    """
    counters = torch.arange(count * size, device=seeds.device) + 1  # (count * size,)
    starts = _mix(seeds * signed(GOLDEN) + signed(MIX_1)) + steps * signed(size * GOLDEN)
    bits = _mix(starts[:, None] + counters * signed(GOLDEN))
    top = (bits >> (64 - MANTISSA_BITS)) & (2**MANTISSA_BITS - 1)
    uniform = (top.float() + 0.5) * 2.0**-MANTISSA_BITS
    noise: Tensor = uniform.log_().neg_().log_().neg_()
    return noise.view(len(seeds), count, size)


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's output function (Steele, Lea, Flood 2014); 64-bit integers wrap around in torch as they do in C."""
    z = (z ^ _shifted(z, 30)) * signed(MIX_1)
    z = (z ^ _shifted(z, 27)) * signed(MIX_2)
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Logical shift to the right: torch's own shift is arithmetic and copies the sign."""
    shifted: Tensor = (z >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def signed(value: int) -> int:
    """The same 64 bits as a signed number, since torch takes no unsigned ones."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value
