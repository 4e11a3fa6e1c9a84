"""Decodes rows while they are spoken, so that a row can stop as soon as its stop condition is met.

Knows no text and no dummy: a row's `StopCondition` (server/engines) says from when on it wants to be asked, and
answers. It is asked at fixed numbers of frames of its row, never "now": so where a row stops depends on what it says
alone, not on its neighbours, on the machine's speed or on how long an answer takes. Each frame is decoded once,
whether on the way or at the end.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from server.audio.samples import Audio, Samples
from server.engines import StopCondition
from server.engines.qwen.loop.decode_loop import RowStopper
from server.engines.qwen.model.codec import Codec, CodecState

log = logging.getLogger("server.engines.qwen")

DecodeNext = Callable[[Sequence[tuple[Tensor, CodecState]]], list[tuple[Samples, CodecState]]]
NEVER = 2**31


class TakeDecoder(RowStopper, Protocol):
    """Makes samples of the rows of one run."""

    def expect(self, number: int, stop: StopCondition | None) -> None:
        """A row that will be spoken."""
        ...

    def is_met(self, number: int, codes: Tensor) -> bool:
        """Whether the stop condition of a row that reached its cap was met by then; codes: all its frames."""
        ...

    def finish(self, codes: Mapping[int, Tensor]) -> dict[int, Samples]:
        """The samples of rows that are over; codes: all frames of each, (frames, code groups)."""
        ...


@dataclass
class _RowState:
    """What has been decoded and asked of one row."""

    stop: StopCondition | None
    codec: CodecState
    every: int
    """Frames between two questions"""
    next: int
    """Frames at which the next question is due"""
    frames: int = 0
    """decoded"""
    waves: list[Samples] = field(default_factory=list)
    asked: deque[tuple[int, Future[bool]]] = field(default_factory=deque)
    """Frames and answer, in order"""
    stop_frames: int | None = None
    """The frames after which the condition was met"""

    def samples(self) -> Samples:
        return np.concatenate([np.zeros(0, np.float32), *self.waves])


class IncrementalDecoder:
    def __init__(
        self, codec: Codec, reference: CodecState, decode_next: DecodeNext, executor: Executor | None = None
    ) -> None:
        """reference: the codec's state behind the reference. decode_next: codec.decode_next, or a function that does
        the same within the memory there is.

        executor: stop conditions are asked there, while the card goes on; None asks them in the caller's thread.
        """
        self.codec, self.reference, self._decode_next, self._executor = codec, reference, decode_next, executor
        self._rows: dict[int, _RowState] = {}

    # --- called by the loop

    def expect(self, number: int, stop: StopCondition | None) -> None:
        first, every = NEVER, 1
        if stop is not None:
            rate = self.codec.sample_rate / self.codec.samples_per_frame  # frames a second
            first, every = max(1, math.ceil(stop.first_s * rate)), max(1, round(stop.every_s * rate))
        self._rows[number] = _RowState(stop, self.reference, every, next=first)

    def restart(self, number: int) -> None:
        self.expect(number, self._rows[number].stop)

    def drop(self, number: int) -> None:
        self._rows.pop(number, None)

    def due(self, number: int, frames: int) -> bool:
        """Whether a row of so many frames has a question to be asked, or an answer to be taken."""
        row = self._rows[number]
        return frames >= row.next or any(answer.done() for _, answer in row.asked)

    def rows_to_stop(self, codes: Mapping[int, Tensor]) -> dict[int, int]:
        for number in codes:
            self._take_answers(self._rows[number], wait=False)
        self._ask_all_due(codes)
        return {number: row.stop_frames for number in codes if (row := self._rows[number]).stop_frames is not None}

    # --- called by the engine

    def is_met(self, number: int, codes: Tensor) -> bool:
        """Waits for answers that are on their way: where a row stops must not depend on how fast they come."""
        self._ask_all_due({number: codes})
        self._take_answers(self._rows[number], wait=True)
        return self._rows[number].stop_frames is not None

    def finish(self, codes: Mapping[int, Tensor]) -> dict[int, Samples]:
        self._ask_all_due(codes)
        for number in codes:
            self._take_answers(self._rows[number], wait=True)
        left = {number: codes[number] for number in codes if self._rows[number].stop_frames is None}
        self._decode({number: len(row) for number, row in left.items()}, left)
        return {number: self._kept(self._rows.pop(number)) for number in codes}

    def _kept(self, row: _RowState) -> Samples:
        samples = row.samples()
        return samples if row.stop_frames is None else samples[: row.stop_frames * self.codec.samples_per_frame]

    def _ask_all_due(self, codes: Mapping[int, Tensor]) -> None:
        """Asks every question that has come due, in order, each after exactly its number of frames."""
        while due := {
            number: row.next
            for number, said in codes.items()
            if (row := self._rows[number]).next <= len(said) and row.stop_frames is None
        }:
            self._decode(due, codes)
            for number in due:
                row = self._rows[number]
                self._ask(row)
                row.next += row.every

    def _decode(self, until: Mapping[int, int], codes: Mapping[int, Tensor]) -> None:
        numbers = [number for number, frames in until.items() if self._rows[number].frames < frames]
        pieces = [
            (codes[number][self._rows[number].frames : until[number]], self._rows[number].codec) for number in numbers
        ]
        for number, (wave, state) in zip(numbers, self._decode_next(pieces), strict=True):
            row = self._rows[number]
            row.waves.append(wave)
            row.codec, row.frames = state, until[number]

    def _ask(self, row: _RowState) -> None:
        assert row.stop is not None
        so_far = Audio(row.samples(), self.codec.sample_rate)
        if self._executor is not None:
            row.asked.append((row.frames, self._executor.submit(ask_safely, row.stop, so_far)))
        elif ask_safely(row.stop, so_far):
            row.stop_frames = row.frames

    @staticmethod
    def _take_answers(row: _RowState, wait: bool) -> None:
        """Takes the answers that have come, or waits for all of them; the first yes counts."""
        while row.asked and row.stop_frames is None and (wait or row.asked[0][1].done()):
            frames, answer = row.asked.popleft()
            if answer.result():
                row.stop_frames = frames
                for _, later in row.asked:
                    later.cancel()


def ask_safely(stop: StopCondition, so_far: Audio) -> bool:
    """False for a stop condition that raises: its own row loses the early stop, and no other row anything."""
    try:
        return stop.is_met(so_far)
    except Exception:  # a bug of any kind: the take can be spoken to its end without it
        log.exception("a listener failed after %.1f s; its take is spoken on", so_far.seconds)
        return False


class WholeReferenceDecoder:
    """CODEC_CONTEXT=whole: each take is decoded at its end together with the reference, as stock does.

    Nothing is decoded on the way, so no stop condition is asked.
    """

    def __init__(self, tokenizer: Any, reference: Tensor) -> None:
        """tokenizer: the stock Qwen3TTSTokenizer. reference: (frames, code groups)."""
        self.tokenizer, self.reference = tokenizer, reference

    def expect(self, number: int, stop: StopCondition | None) -> None:
        pass

    def restart(self, number: int) -> None:
        pass

    def drop(self, number: int) -> None:
        pass

    def due(self, number: int, frames: int) -> bool:
        return False

    def rows_to_stop(self, codes: Mapping[int, Tensor]) -> dict[int, int]:
        return {}

    def is_met(self, number: int, codes: Tensor) -> bool:
        return False

    def finish(self, codes: Mapping[int, Tensor]) -> dict[int, Samples]:
        return {number: self._decoded(take) for number, take in codes.items()}

    def _decoded(self, take: Tensor) -> Samples:
        """The samples behind the reference's."""
        codes = torch.cat((self.reference, take.to(self.reference.device)))
        waves, _ = self.tokenizer.decode([{"audio_codes": codes}])
        skipped = len(self.reference) * self.tokenizer.get_decode_upsample_rate()
        return np.asarray(waves[0][skipped:], np.float32)
