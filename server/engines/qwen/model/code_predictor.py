"""The code predictor by hand: codes 1 to 15 of a frame from the talker's state and code 0.

Stock runs a whole transformers generate() for these fifteen small steps in each frame of 80 ms: a new cache, new
masks and new logits processors every time. Here the same fifteen steps run on memory that is allocated once.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from server.engines.qwen.model.layers import DecoderLayers, KeyValues, fuse_rows
from server.engines.qwen.model.sampling import Draw, pick


class CodePredictor:
    def __init__(self, module: Any, rows: int) -> None:
        """module: the stock talker.code_predictor; rows: the largest batch.

        Raises LoopUnsupported.
        """
        model = module.model
        self.layers = DecoderLayers(model.layers, model.norm, model.rotary_emb, module.config)
        self.codes = int(module.config.num_code_groups) - 1
        """Codes per frame without code 0: 15"""
        self.tokens = int(module.config.vocab_size)
        self.table = fuse_rows(list(model.codec_embedding))
        """(codes * tokens, talker's hidden): the embeddings of codes 1 to 15, one after another"""
        self.tables = torch.split(self.table, self.tokens)
        self.offsets = torch.arange(self.codes, device=self.layers.device) * self.tokens  # (codes,)
        self.heads: list[Tensor] = [head.weight.detach() for head in module.lm_head]
        self.project: nn.Module = module.small_to_mtp_projection
        self.cos, self.sin = self.layers.rope(self.codes + 1)
        self.resize(rows)

    def resize(self, rows: int) -> None:
        """Allocates keys and values for another largest batch."""
        self.kv: KeyValues = self.layers.key_values(rows, self.codes + 1)
        device = self.layers.device
        self._slots = torch.arange(rows, device=device)
        starts = self._slots * self.kv.columns
        self._columns = [starts + column for column in range(self.codes + 1)]

    def frame(self, state: Tensor, first: Tensor, noise: Tensor | None, draw: Draw) -> tuple[Tensor, Tensor]:
        """Codes 1 to 15 of a frame, (rows, 15), and the last step's state: not finite if any step's was not.

        state: the talker's, (rows, talker's hidden). first: the embedding of code 0, the same shape.
        noise: (rows, 15, tokens), as `pick` takes it.
        """
        rows = state.shape[0]
        x = self.project(torch.stack((state, first), 1).to(self.layers.dtype))
        h = self.layers.start(x, self.cos, self.sin, self.kv, self._slots[:rows])[:, 1]
        drawn: list[Tensor] = []
        for number, head in enumerate(self.heads):
            if number:
                column = number + 1
                h = self.layers.step(
                    self.project(F.embedding(drawn[-1], self.tables[number - 1])),
                    self.cos[column : column + 1],
                    self.sin[column : column + 1],
                    self.kv,
                    self.kv.views(rows, column + 1),
                    self._columns[column][:rows],
                    None,
                )
            logits = F.linear(self.layers.normed(h, self.layers.norm), head).float()
            drawn.append(pick(logits, None if noise is None else noise[:, number], draw))
        return torch.stack(drawn, 1), h

    def embedded(self, codes: Tensor) -> Tensor:
        """The sum of the embeddings of codes 1 to 15, (rows, 15): (rows, talker's hidden)."""
        return F.embedding(codes + self.offsets, self.table).sum(1)
