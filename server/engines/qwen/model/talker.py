"""The talker by hand: prefills rows, then steps all of them by one frame. Knows no text, no seeds and no end of speech.

Rows begin at column 0 of their keys and values and are padded on the right; stock pads on the left. Padding on the
right is hidden by the causal mask alone, positions are the same for all rows, and a row that takes the place of a
finished one starts exactly as a row of a new batch does.
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
        """module: the stock talker. forbidden_from: the first control code. end: the end of speech, the only control
        code that may be drawn.

        Raises LoopUnsupported.
        """
        model = module.model
        self.layers = DecoderLayers(model.layers, model.norm, model.rotary_emb, module.config)
        self.embedding: Tensor = model.codec_embedding.weight.detach()
        head: Tensor = module.codec_head.weight.detach()
        # Keep only the logits that may be sampled; the 1,000 control codes would be masked anyway. Codes keep their
        # numbers.
        self.head = torch.cat((head[:forbidden_from], head[end : end + 1]))
        self.end = forbidden_from
        """Index of the end of speech among the logits"""
        self.tokens = forbidden_from + 1

    def start(self, prefills: Sequence[Tensor], kv: KeyValues, slots: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Prefills these slots; the state at each row's last position, (rows, hidden), normed.

        prefills: (length, hidden) each.
        """
        lengths = [len(prefill) for prefill in prefills]
        padded = torch.nn.utils.rnn.pad_sequence(list(prefills), batch_first=True)
        h = self.layers.start(padded, cos, sin, kv, slots)
        rows = torch.arange(len(prefills), device=h.device)
        last = torch.tensor(lengths, device=h.device) - 1
        return self.layers.normed(h[rows, last], self.layers.norm)

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
        """The state after one more frame of each row: (rows, hidden), normed.

        x: the frame's embedding, (rows, hidden). positions: the column that each row writes, (rows,). width: columns
        that attention reads. columns: as in DecoderLayers.step. numbers: 0, 1, 2, ..., at least width of them.
        """
        mask = torch.zeros(len(x), width, dtype=x.dtype, device=x.device)
        mask.masked_fill_(numbers[:width] > positions[:, None], float("-inf"))
        h = self.layers.step(
            x, cos[positions], sin[positions], kv, kv.views(len(x), width), columns, mask[:, None, None]
        )
        return self.layers.normed(h, self.layers.norm)

    def logits(self, state: Tensor) -> Tensor:
        """(rows, tokens) float32"""
        return F.linear(state, self.head).float()
