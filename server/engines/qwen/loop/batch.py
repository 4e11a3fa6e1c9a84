"""The device's side of a batch: one tensor per property, one row per line that is being spoken.

Knows no text and no audio, and not when a row is over: it starts rows, computes a frame of each, and reads back what
was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from server.engines.qwen.model.code_predictor import CodePredictor
from server.engines.qwen.model.sampling import Sampling, gumbel, penalised, pick
from server.engines.qwen.model.talker import Talker

MIN_FRAMES = 2
"""Before this many frames the end of speech is not drawn: stock's min_new_tokens."""


@dataclass(frozen=True)
class RowInput:
    id: int
    prefill: Tensor
    """(length, hidden), on the talker's device and in its format"""
    trailing: Tensor
    """(frames, hidden): added to each frame's embedding; the last one stands for all later frames"""
    seed: int
    cap: int
    """stock's max_new_tokens: a row that has not ended after cap - 1 frames has failed"""
    min_frames: int = MIN_FRAMES
    """Before this many frames the end of speech is not drawn."""


@dataclass(frozen=True)
class SyncSchedule:
    """How often the host reads back, and how far ahead noise is drawn."""

    sync_frames: int
    """Frames between two read-backs"""
    noise_frames: int
    """Frames whose noise is drawn at once"""


def choose_schedule(device: str) -> SyncSchedule:
    """device: `cuda` or `cpu`.

    On a card a read-back waits for all queued work and costs some 50 to 100 microseconds; between two of them, a row
    that has ended is still given frames. On a CPU reading back is free.
    """
    return (
        SyncSchedule(sync_frames=4, noise_frames=4) if device == "cuda" else SyncSchedule(sync_frames=1, noise_frames=8)
    )


class Batch:
    """One tensor per property, one row per slot."""

    def __init__(
        self, talker: Talker, predictor: CodePredictor, sampling: Sampling, rows: int, schedule: SyncSchedule
    ) -> None:
        """rows: the number of slots."""
        self.talker, self.predictor, self.sampling = talker, predictor, sampling
        layers, device = talker.layers, talker.layers.device
        self.kv = layers.key_values(rows, 0)
        self.noise_size = talker.tokens + predictor.codes * predictor.tokens
        self.slots = torch.arange(rows, device=device)
        self.state = torch.zeros(rows, layers.hidden, dtype=layers.dtype, device=device)
        """the talker's last state"""
        self.first = torch.zeros(rows, dtype=torch.int64, device=device)
        """code 0 of the next frame"""
        self.positions = torch.zeros(rows, dtype=torch.int64, device=device)
        self.steps = torch.zeros(rows, dtype=torch.int64, device=device)
        """how many times the row has drawn code 0"""
        self.min_frames = torch.zeros(rows, dtype=torch.int64, device=device)
        self.seeds = torch.zeros(rows, dtype=torch.int64, device=device)
        self.factors = torch.ones(rows, talker.tokens, device=device)
        """repetition penalty of each token"""
        self.trailing = torch.zeros(rows, 1, layers.hidden, dtype=layers.dtype, device=device)
        self.health = torch.zeros(rows, device=device)
        """0; nan for good once a state was not finite"""
        self.noise = torch.zeros(rows, schedule.noise_frames, self.noise_size, device=device)
        self.codes = torch.zeros(rows, schedule.sync_frames, predictor.codes + 1, dtype=torch.int64, device=device)
        self.grow_tables(0)

    def grow_tables(self, columns: int) -> None:
        """Rotary tables and column numbers for this many columns of keys and values."""
        self.cos, self.sin = self.talker.layers.rope(columns)
        self.numbers = torch.arange(columns, device=self.talker.layers.device)

    def start(self, first_slot: int, inputs: Sequence[RowInput]) -> None:
        """Prefills the slots from first_slot on, and draws code 0 of each row's first frame."""
        slots = self.slots[first_slot : first_slot + len(inputs)]
        self._set_trailing(first_slot, inputs)
        self.kv.clear(slots)
        at = slice(first_slot, first_slot + len(inputs))
        for tensor, values in (
            (self.positions, [len(row.prefill) for row in inputs]),
            (self.seeds, [row.seed for row in inputs]),
            (self.min_frames, [row.min_frames for row in inputs]),
        ):
            tensor[at] = torch.tensor(values, device=tensor.device)
        self.steps[at] = 0
        self.factors[at] = 1.0
        self.health[at] = 0.0
        state = self.talker.start([row.prefill for row in inputs], self.kv, slots, self.cos, self.sin)
        self.state[at] = state
        noise = gumbel(self.seeds[at], self.steps[at], 1, self.noise_size)[:, 0, : self.talker.tokens]
        self._draw_first(at, state, noise * self.sampling.first.temperature)

    def draw_noise(self, rows: int) -> None:
        """Noise of the next frames; each row's from its own counter."""
        if not (self.sampling.first.sample or self.sampling.rest.sample):
            return
        noise = gumbel(self.seeds[:rows], self.steps[:rows], self.noise.shape[1], self.noise_size)
        noise[..., : self.talker.tokens] *= self.sampling.first.temperature
        noise[..., self.talker.tokens :] *= self.sampling.rest.temperature
        self.noise[:rows] = noise

    def frame(self, rows: int, width: int, noise: Tensor) -> Tensor:
        """The codes of one frame of the first `rows` slots, (rows, code groups). Writes to the batch's tensors only.

        width: columns that attention reads. noise: (rows, noise size).
        """
        at = slice(0, rows)
        state, first = self.state[at], self.first[at]
        embedded = F.embedding(first, self.talker.embedding)
        rest_noise = noise[:, self.talker.tokens :].view(rows, self.predictor.codes, self.predictor.tokens)
        rest, last = self.predictor.frame(state, embedded, rest_noise, self.sampling.rest)
        codes = torch.cat((first[:, None], rest), 1)
        x = (self.predictor.embedded(rest) + embedded + self._trailing_of(at)).to(state.dtype)
        positions = self.positions[at]
        columns = self.slots[at] * self.kv.columns + positions
        state = self.talker.step(x, positions, self.kv, width, columns, self.cos, self.sin, self.numbers)
        self.state[at] = state
        # A nan or inf in either state makes 0 * sum nan, and nan stays nan.
        self.health[at].add_(state.sum(-1, dtype=torch.float32) + last.sum(-1, dtype=torch.float32), alpha=0)
        positions += 1
        self._draw_first(at, state, noise[:, : self.talker.tokens])
        return codes

    def changed_by_a_frame(self) -> list[Tensor]:
        """The tensors that `frame` writes to, besides keys and values."""
        return [self.state, self.first, self.positions, self.steps, self.factors, self.health]

    def read_back(self, rows: int, frames: int) -> tuple[Tensor, list[int], list[bool]]:
        """The only wait for the device: the last frames' codes, (rows, frames, code groups), on the CPU.

        With each row's code 0 of the next frame, and whether its numbers were finite so far.
        """
        finite = torch.isfinite(self.health[:rows]).long()
        codes = self.codes[:rows, :frames].reshape(rows, -1)
        together = torch.cat((codes, self.first[:rows, None], finite[:, None]), 1).cpu()
        blocks = together[:, :-2].view(rows, frames, -1)
        return blocks, together[:, -2].tolist(), [bool(value) for value in together[:, -1].tolist()]

    def move(self, source: int, target: int) -> None:
        """Copies a row into another slot; the source slot is free afterwards."""
        self.kv.move(source, target)
        for tensor in (*self.changed_by_a_frame(), self.min_frames, self.seeds, self.trailing, self.noise):
            tensor[target] = tensor[source]

    def _draw_first(self, at: slice, state: Tensor, noise: Tensor) -> None:
        logits = self.talker.logits(state)
        factors = self.factors[at]
        if self.sampling.repetition_penalty != 1.0:
            logits = penalised(logits, factors)
        logits[:, self.talker.end].masked_fill_(self.steps[at] < self.min_frames[at], float("-inf"))
        drawn = pick(logits, noise, self.sampling.first)
        self.first[at] = drawn
        factors.scatter_(1, drawn[:, None], self.sampling.repetition_penalty)
        self.steps[at] += 1

    def _trailing_of(self, at: slice) -> Tensor:
        last = self.trailing.shape[1] - 1
        if last == 0:
            return self.trailing[at, 0]
        # `steps` is one more than the row's frames: code 0 of the next frame has been drawn.
        return self.trailing[self.slots[at], (self.steps[at] - 1).clamp(0, last)]

    def _set_trailing(self, first_slot: int, inputs: Sequence[RowInput]) -> None:
        longest = max(len(row.trailing) for row in inputs)
        if longest > self.trailing.shape[1]:
            more = longest - self.trailing.shape[1]
            self.trailing = torch.cat((self.trailing, self.trailing[:, -1:].expand(-1, more, -1)), 1)
        for slot, row in enumerate(inputs, first_slot):
            self.trailing[slot] = row.trailing[-1]
            self.trailing[slot, : len(row.trailing)] = row.trailing
