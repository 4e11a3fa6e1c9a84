"""The device's side of a batch: one tensor per property, one row per line that is being spoken.

Knows no text, no audio and no end: it starts rows, computes a frame of each, and tells what was drawn when asked.
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
"""No end of speech before: stock's min_new_tokens."""


@dataclass(frozen=True)
class RowInput:
    id: int
    embedded: Tensor
    """(length, hidden), on the talker's device and in its format"""
    trailing: Tensor
    """(frames, hidden): what is added to each frame's embedding; the last one stands for all later frames"""
    seed: int
    cap: int
    """stock's max_new_tokens: a row fails that has not ended after cap - 1 frames"""
    shortest: int = MIN_FRAMES
    """No end of speech before this many frames."""


@dataclass(frozen=True)
class SyncSchedule:
    """How often the host looks, and how far noise is drawn ahead."""

    look_frames: int
    noise_frames: int


def choose_schedule(device: str) -> SyncSchedule:
    """On a card each look costs a wait for all that was queued, some 50 to 100 microseconds, and saves the frames that
    an ended row would still be given; on a CPU looking is free."""
    return (
        SyncSchedule(look_frames=4, noise_frames=4) if device == "cuda" else SyncSchedule(look_frames=1, noise_frames=8)
    )


class Batch:
    """The device's side: one tensor per property, one row per slot."""

    def __init__(
        self, talker: Talker, predictor: CodePredictor, sampling: Sampling, rows: int, pace: SyncSchedule
    ) -> None:
        self.talker, self.predictor, self.sampling = talker, predictor, sampling
        stack, device = talker.stack, talker.stack.device
        self.kv = stack.key_values(rows, 0)
        self.noise_size = talker.tokens + predictor.codes * predictor.tokens
        self.slots = torch.arange(rows, device=device)
        self.state = torch.zeros(rows, stack.hidden, dtype=stack.dtype, device=device)
        """the talker's last state"""
        self.first = torch.zeros(rows, dtype=torch.int64, device=device)
        """code 0 of the frame that comes next"""
        self.positions = torch.zeros(rows, dtype=torch.int64, device=device)
        self.steps = torch.zeros(rows, dtype=torch.int64, device=device)
        """how many first codes the row has drawn"""
        self.shortest = torch.zeros(rows, dtype=torch.int64, device=device)
        self.seeds = torch.zeros(rows, dtype=torch.int64, device=device)
        self.factors = torch.ones(rows, talker.tokens, device=device)
        """repetition penalty of each token"""
        self.trailing = torch.zeros(rows, 1, stack.hidden, dtype=stack.dtype, device=device)
        self.health = torch.zeros(rows, device=device)
        """0, or nan for good once a state was not finite"""
        self.noise = torch.zeros(rows, pace.noise_frames, self.noise_size, device=device)
        self.codes = torch.zeros(rows, pace.look_frames, predictor.codes + 1, dtype=torch.int64, device=device)
        self.reach(0)

    def reach(self, columns: int) -> None:
        """Tables for this many positions."""
        self.cos, self.sin = self.talker.stack.rope(columns)
        self.numbers = torch.arange(columns, device=self.talker.stack.device)

    def start(self, first_slot: int, prompts: Sequence[RowInput]) -> None:
        """Fills the slots from first_slot on, and draws the first code of each row."""
        slots = self.slots[first_slot : first_slot + len(prompts)]
        self._set_trailing(first_slot, prompts)
        self.kv.clear(slots)
        at = slice(first_slot, first_slot + len(prompts))
        for tensor, values in (
            (self.positions, [len(prompt.embedded) for prompt in prompts]),
            (self.seeds, [prompt.seed for prompt in prompts]),
            (self.shortest, [prompt.shortest for prompt in prompts]),
        ):
            tensor[at] = torch.tensor(values, device=tensor.device)
        self.steps[at] = 0
        self.factors[at] = 1.0
        self.health[at] = 0.0
        state = self.talker.start([prompt.embedded for prompt in prompts], self.kv, slots, self.cos, self.sin)
        self.state[at] = state
        noise = gumbel(self.seeds[at], self.steps[at], 1, self.noise_size)[:, 0, : self.talker.tokens]
        self._draw_first(at, state, noise * self.sampling.first.temperature)

    def draw_noise(self, rows: int) -> None:
        """For the frames that come next; each row's from its own counter."""
        if not (self.sampling.first.sample or self.sampling.rest.sample):
            return
        noise = gumbel(self.seeds[:rows], self.steps[:rows], self.noise.shape[1], self.noise_size)
        noise[..., : self.talker.tokens] *= self.sampling.first.temperature
        noise[..., self.talker.tokens :] *= self.sampling.rest.temperature
        self.noise[:rows] = noise

    def frame(self, rows: int, width: int, noise: Tensor) -> Tensor:
        """One frame of the first `rows` slots: its codes, (rows, code groups). Touches nothing but the batch's tensors.

        noise: (rows, noise size).
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
        # Any nan in either state makes the sum nan, and nan it stays.
        self.health[at].add_(state.sum(-1, dtype=torch.float32) + last.sum(-1, dtype=torch.float32), alpha=0)
        positions += 1
        self._draw_first(at, state, noise[:, : self.talker.tokens])
        return codes

    def changed_by_a_frame(self) -> list[Tensor]:
        """Beside keys and values."""
        return [self.state, self.first, self.positions, self.steps, self.factors, self.health]

    def look(self, rows: int, frames: int) -> tuple[Tensor, list[int], list[bool]]:
        """The one wait for the device: codes of the last frames, what each row begins next, and whether it is sound."""
        sound = torch.isfinite(self.health[:rows]).long()
        codes = self.codes[:rows, :frames].reshape(rows, -1)
        seen = torch.cat((codes, self.first[:rows, None], sound[:, None]), 1).cpu()
        blocks = seen[:, :-2].view(rows, frames, -1)
        return blocks, seen[:, -2].tolist(), [bool(value) for value in seen[:, -1].tolist()]

    def move(self, source: int, target: int) -> None:
        """A row into another slot; source may be used again afterwards."""
        self.kv.move(source, target)
        for tensor in (*self.changed_by_a_frame(), self.shortest, self.seeds, self.trailing, self.noise):
            tensor[target] = tensor[source]

    def _draw_first(self, at: slice, state: Tensor, noise: Tensor) -> None:
        logits = self.talker.logits(state)
        factors = self.factors[at]
        if self.sampling.repetition_penalty != 1.0:
            logits = penalised(logits, factors)
        logits[:, self.talker.end].masked_fill_(self.steps[at] < self.shortest[at], float("-inf"))
        drawn = pick(logits, noise, self.sampling.first)
        self.first[at] = drawn
        factors.scatter_(1, drawn[:, None], self.sampling.repetition_penalty)
        self.steps[at] += 1

    def _trailing_of(self, at: slice) -> Tensor:
        last = self.trailing.shape[1] - 1
        if last == 0:
            return self.trailing[at, 0]
        # steps is frames + 1 while a row speaks.
        return self.trailing[self.slots[at], (self.steps[at] - 1).clamp(0, last)]

    def _set_trailing(self, first_slot: int, prompts: Sequence[RowInput]) -> None:
        longest = max(len(prompt.trailing) for prompt in prompts)
        if longest > self.trailing.shape[1]:
            more = longest - self.trailing.shape[1]
            self.trailing = torch.cat((self.trailing, self.trailing[:, -1:].expand(-1, more, -1)), 1)
        for slot, prompt in enumerate(prompts, first_slot):
            self.trailing[slot] = prompt.trailing[-1]
            self.trailing[slot, : len(prompt.trailing)] = prompt.trailing
