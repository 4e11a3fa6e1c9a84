"""The talker by hand: prompts in, then a frame of every row at a time. Knows no text, no seeds and no end of speech.

Rows begin at column 0 of their keys and values and are padded on the right, unlike stock, which pads on the left: the
causal mask alone then hides the padding, positions are the same for all rows, and a row that takes the place of a
finished one is started exactly as a row of a new batch is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from server.engines.qwen.model.layers import DecoderLayers, KeyValues


class Talker:
    def __init__(self, module: Any, forbidden_from: int, end: int) -> None:
        """module: the stock talker. forbidden_from: codes from here on are control codes. end: the one that is allowed.

        Raises LoopUnsupported.
        """
        model = module.model
        self.stack = DecoderLayers(model.layers, model.norm, model.rotary_emb, module.config)
        self.embedding: Tensor = model.codec_embedding.weight.detach()
        head: Tensor = module.codec_head.weight.detach()
        # Only what may be drawn: the other thousand rows would be computed to be forbidden. Codes keep their numbers.
        self.head = torch.cat((head[:forbidden_from], head[end : end + 1]))
        self.end = forbidden_from
        """The end of speech among the logits."""
        self.tokens = forbidden_from + 1

    def start(self, prompts: Sequence[Tensor], kv: KeyValues, slots: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Fills these slots with prompts of (length, hidden); returns the state behind the last one of each."""
        lengths = [len(prompt) for prompt in prompts]
        padded = torch.nn.utils.rnn.pad_sequence(list(prompts), batch_first=True)
        h = self.stack.start(padded, cos, sin, kv, slots)
        rows = torch.arange(len(prompts), device=h.device)
        last = torch.tensor(lengths, device=h.device) - 1
        return self.stack.normed(h[rows, last], self.stack.norm)

    def step(
        self,
        x: Tensor,
        positions: Tensor,
        kv: KeyValues,
        width: int,
        columns: Tensor,
        cos: Tensor,
        sin: Tensor,
        numbers: Tensor,
    ) -> Tensor:
        """One frame of each row: (rows, hidden), normed.

        positions: the column that each row writes, (rows,). numbers: 0, 1, 2, ..., at least width of them.
        """
        mask = torch.zeros(len(x), width, dtype=x.dtype, device=x.device)
        mask.masked_fill_(numbers[:width] > positions[:, None], float("-inf"))
        h = self.stack.step(
            x, cos[positions], sin[positions], kv, kv.views(len(x), width), columns, mask[:, None, None]
        )
        return self.stack.normed(h, self.stack.norm)

    def logits(self, state: Tensor) -> Tensor:
        """(rows, tokens) float32"""
        return F.linear(state, self.head).float()
