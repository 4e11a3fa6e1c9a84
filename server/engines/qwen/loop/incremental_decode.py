"""Rows heard while they are being spoken, so that a row can stop as soon as its listener has heard enough of it.

Knows no text and no dummy: a row's `StopCondition` (server/engines) says from when on it wants to be asked, and
answers. It is asked at fixed numbers of frames of its row, never "now": so where a row stops depends on what it says
alone, not on its neighbours, on the machine's pace or on how long an answer takes. Each frame is decoded once,
whether it is heard on the way or at the end.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from server.audio.samples import Audio, Samples
from server.engines import StopCondition
from server.engines.qwen.model.codec import Codec, Past

log = logging.getLogger("server.engines.qwen")

GoOn = Callable[[Sequence[tuple[Tensor, Past]]], list[tuple[Samples, Past]]]
NEVER = 2**31


@dataclass
class _Row:
    """What has been heard of one row."""

    stop: StopCondition | None
    past: Past
    every: int
    """Frames between two questions"""
    next: int
    """Frames at which the next one is due"""
    frames: int = 0
    """decoded"""
    waves: list[Samples] = field(default_factory=list)
    asked: deque[tuple[int, Future[bool]]] = field(default_factory=deque)
    """Frames and answer, in order"""
    enough: int | None = None
    """It was enough after so many frames."""

    def samples(self) -> Samples:
        return np.concatenate([np.zeros(0, np.float32), *self.waves])


class IncrementalDecoder:
    def __init__(self, codec: Codec, past: Past, go_on: GoOn, executor: Executor | None = None) -> None:
        """past: behind the reference. go_on: codec.go_on or what does the same within the memory there is.

        executor: listeners are asked there, while the card goes on; None asks them on the spot.
        """
        self.codec, self.past, self._go_on, self._executor = codec, past, go_on, executor
        self._rows: dict[int, _Row] = {}

    # --- what the loop asks for

    def expect(self, number: int, stop: StopCondition | None) -> None:
        """A row that will be spoken."""
        first, every = NEVER, 1
        if stop is not None:
            rate = self.codec.sample_rate / self.codec.samples_per_frame  # frames a second
            first, every = max(1, math.ceil(stop.first_s * rate)), max(1, round(stop.every_s * rate))
        self._rows[number] = _Row(stop, self.past, every, next=first)

    def again(self, number: int) -> None:
        """The row begins anew, from its first frame."""
        self.expect(number, self._rows[number].stop)

    def gone(self, number: int) -> None:
        self._rows.pop(number, None)

    def due(self, number: int, frames: int) -> bool:
        """Whether `enough` has something to do for a row of so many frames."""
        row = self._rows[number]
        return frames >= row.next or any(answered.done() for _, answered in row.asked)

    def enough(self, codes: Mapping[int, Tensor]) -> dict[int, int]:
        """Rows that may stop, and the frames after which they have said enough; codes: all frames of each so far."""
        for number in codes:
            self._settle(self._rows[number], wait=False)
        self._listen(codes)
        return {number: row.enough for number in codes if (row := self._rows[number]).enough is not None}

    # --- what the engine asks for

    def stopped(self, number: int, codes: Tensor) -> bool:
        """Whether a row that ran into its cap had said enough before: the answer may have been on its way."""
        self._listen({number: codes})
        self._settle(self._rows[number], wait=True)
        return self._rows[number].enough is not None

    def finish(self, codes: Mapping[int, Tensor]) -> dict[int, Samples]:
        """All samples of rows that are over, whether stopped or ended by themselves."""
        self._listen(codes)
        for number in codes:
            self._settle(self._rows[number], wait=True)
        left = {number: codes[number] for number in codes if self._rows[number].enough is None}
        self._decode({number: len(row) for number, row in left.items()}, left)
        return {number: self._whole(self._rows.pop(number)) for number in codes}

    def _whole(self, row: _Row) -> Samples:
        samples = row.samples()
        return samples if row.enough is None else samples[: row.enough * self.codec.samples_per_frame]

    def _listen(self, codes: Mapping[int, Tensor]) -> None:
        """Every question that has come due, in order, each after exactly its number of frames."""
        while due := {
            number: row.next
            for number, said in codes.items()
            if (row := self._rows[number]).next <= len(said) and row.enough is None
        }:
            self._decode(due, codes)
            for number in due:
                row = self._rows[number]
                self._ask(row)
                row.next += row.every

    def _decode(self, until: Mapping[int, int], codes: Mapping[int, Tensor]) -> None:
        numbers = [number for number, frames in until.items() if self._rows[number].frames < frames]
        pieces = [
            (codes[number][self._rows[number].frames : until[number]], self._rows[number].past) for number in numbers
        ]
        for number, (wave, past) in zip(numbers, self._go_on(pieces), strict=True):
            row = self._rows[number]
            row.waves.append(wave)
            row.past, row.frames = past, until[number]

    def _ask(self, row: _Row) -> None:
        assert row.stop is not None
        spoken = Audio(row.samples(), self.codec.sample_rate)
        if self._executor is not None:
            row.asked.append((row.frames, self._executor.submit(answer, row.stop, spoken)))
        elif answer(row.stop, spoken):
            row.enough = row.frames

    @staticmethod
    def _settle(row: _Row, wait: bool) -> None:
        """Takes the answers that are there, or all of them; the first yes counts."""
        while row.asked and row.enough is None and (wait or row.asked[0][1].done()):
            frames, answered = row.asked.popleft()
            if answered.result():
                row.enough = frames
                for _, later in row.asked:
                    later.cancel()


def answer(stop: StopCondition, spoken: Audio) -> bool:
    """A listener that breaks costs its row the early stop, and no other row anything."""
    try:
        return stop.enough(spoken)
    except Exception:  # whatever it is: the take can be spoken to its end without it
        log.exception("a listener failed after %.1f s; its take is spoken on", spoken.seconds)
        return False
