"""The decode loop: rows in, codes out. Rows that finish leave at once, and waiting ones take their place.

Knows no text and no audio: a row is a prompt that is embedded already, a seed and a cap. Nothing in a frame waits for
the host; every few frames the host looks at what was drawn, takes out the rows that ended, and fills their places.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from server.engines.qwen.load.memory import (
    PREFILL_COLUMNS,
    MemoryPlan,
    columns_for,
    groups_within,
    rows_that_fit,
    smaller,
    width_for,
)
from server.engines.qwen.loop.batch import Batch, RowInput, SyncSchedule
from server.engines.qwen.loop.cuda_graphs import FrameRunner
from server.engines.qwen.loop.slowdown import SpeedWatch
from server.engines.qwen.model.code_predictor import CodePredictor
from server.engines.qwen.model.sampling import Sampling
from server.engines.qwen.model.talker import Talker
from server.terminal.messages import t


@dataclass(frozen=True)
class FinishedRow:
    id: int
    codes: Tensor
    """(frames, code groups) int64, on the CPU"""
    ended: bool
    """False: stopped at its cap"""
    finite: bool
    """False: the model's numbers overflowed on the way"""


@dataclass
class Slot:
    """The host's side of a row that is being spoken."""

    prompt: RowInput
    blocks: list[Tensor] = field(default_factory=list)
    """(frames, code groups) each"""
    frames: int = 0

    @property
    def position(self) -> int:
        """The column that its next frame writes."""
        return len(self.prompt.embedded) + self.frames


@dataclass
class Counters:
    """What a loop has done, for measurements."""

    steps: int = 0
    rows_stepped: int = 0
    """frames computed, over all rows"""
    frames_kept: int = 0
    looks: int = 0
    prefill_rows: int = 0
    prefill_columns: int = 0
    prefill_padded: int = 0
    restarts: int = 0
    stopped: int = 0
    """rows that a listener had heard enough of"""


class RowStopper(Protocol):
    """Hears rows while they are spoken, and says which of them may stop."""

    def due(self, number: int, frames: int) -> bool:
        """Whether a row of so many frames is to be heard now."""
        ...

    def enough(self, codes: Mapping[int, Tensor]) -> Mapping[int, int]:
        """codes: all frames of each row that is due. Returns how many frames of a row are enough, where they are."""
        ...

    def again(self, number: int) -> None:
        """The row begins anew."""
        ...

    def gone(self, number: int) -> None:
        """Nobody wants the row any more."""
        ...


class DecodeLoop:
    """Rows of a batch from prompt to end, as many at a time as the plan allows."""

    def __init__(
        self,
        talker: Talker,
        predictor: CodePredictor,
        sampling: Sampling,
        plan: MemoryPlan,
        pace: SyncSchedule,
        announce: Callable[[str], None] = lambda _phrase: None,
        use_graphs: bool | None = None,
        speed: SpeedWatch | None = None,
    ) -> None:
        """use_graphs: None takes them where there is CUDA. speed: with what is known of this card."""
        self.plan, self.pace, self.announce = plan, pace, announce
        self.counters = Counters()
        self.batch = Batch(talker, predictor, sampling, plan.rows, pace)
        on_cuda = talker.stack.device.type == "cuda"
        self.runner = FrameRunner(self.batch, on_cuda if use_graphs is None else use_graphs, announce)
        # On a CPU other programs come and go, and fewer rows would only be slower still.
        self.speed = (speed or SpeedWatch()) if on_cuda else None
        self._put_back: list[RowInput] = []
        """Rows that did not fit after all; they are begun again before any new one, and say the same."""
        self._noise_left = 0
        self._just_started = False
        """The next look waits for prompts, too: its time says nothing about frames."""
        self._listener: RowStopper | None = None

    @torch.inference_mode()
    def run(
        self,
        more: Callable[[int], Sequence[RowInput]],
        deliver: Callable[[list[FinishedRow]], None],
        is_cancelled: Callable[[int], bool],
        listener: RowStopper | None = None,
    ) -> None:
        """Until no row speaks and `more` gives none.

        more: asked for at most so many prompts whenever places are free. deliver: given the rows that ended, as soon as
        the host looks. listener: asked at each look, which rows may stop before they end by themselves.
        Raises torch.OutOfMemoryError when even a single row does not fit.
        """
        active: list[Slot] = []
        # What an error left behind in an earlier run has been answered there.
        self._put_back, self._listener = [], listener
        while True:
            self._cancel(active, is_cancelled)
            starting = self._admit(more, active)
            if not active and not starting:
                return
            ended: list[tuple[Slot, FinishedRow]] | None = None
            try:
                self._start(active, starting)
                self._make_room(active)
                ended = self._advance(active)
            except torch.OutOfMemoryError:
                pass  # answered below: while an exception is alive, so are the tensors of its frames
            if ended is None:
                self._retreat([slot.prompt for slot in active] + starting)
                active = []
                continue
            self._drop(active, [slot for slot, _ in ended])
            stopped: list[tuple[Slot, FinishedRow]] | None = None
            with contextlib.suppress(torch.OutOfMemoryError):
                stopped = self._stopped(active)
            if stopped is None:
                self._retreat([slot.prompt for slot in active])
                active, stopped = [], []
            self._drop(active, [slot for slot, _ in stopped])
            if ended or stopped:
                deliver([spoken for _, spoken in ended + stopped])

    def _cancel(self, active: list[Slot], is_cancelled: Callable[[int], bool]) -> None:
        gone = [slot for slot in active if is_cancelled(slot.prompt.id)]
        self._drop(active, gone)
        if self._listener is not None:
            for slot in gone:
                self._listener.gone(slot.prompt.id)

    def _stopped(self, active: list[Slot]) -> list[tuple[Slot, FinishedRow]]:
        """The rows of which enough has been heard."""
        listener = self._listener
        if listener is None:
            return []
        due = {slot.prompt.id: torch.cat(slot.blocks) for slot in active if listener.due(slot.prompt.id, slot.frames)}
        enough = listener.enough(due) if due else {}
        stopped = []
        for slot in active:
            frames = enough.get(slot.prompt.id)
            if frames is not None:
                stopped.append(
                    (slot, FinishedRow(slot.prompt.id, due[slot.prompt.id][:frames], ended=True, finite=True))
                )
                self.counters.stopped += 1
                self.counters.frames_kept += frames
        return stopped

    def _admit(self, more: Callable[[int], Sequence[RowInput]], active: list[Slot]) -> list[RowInput]:
        free = rows_that_fit(self.plan, self._columns_wanted(active, [])) - len(active)
        taken, self._put_back = self._put_back[: max(0, free)], self._put_back[max(0, free) :]
        if len(taken) < free and not self._put_back:
            taken += more(free - len(taken))
        # A long prompt makes every row long: what then no longer fits waits for its turn.
        while len(active) + len(taken) > max(1, rows_that_fit(self.plan, self._columns_wanted(active, taken))):
            if not taken:
                break
            self._put_back.insert(0, taken.pop())
        return taken

    def _columns_wanted(self, active: list[Slot], starting: Sequence[RowInput]) -> int:
        needed = max([slot.position for slot in active] + [len(prompt.embedded) for prompt in starting], default=0)
        needed += self.pace.look_frames + 1
        there, wanted = self.batch.kv.columns, columns_for(needed)
        # Long rows that have gone leave narrow memory for many rows in place of wide memory for few.
        crowded = rows_that_fit(self.plan, max(there, 1)) < self.plan.rows
        return there if needed <= there and not (crowded and 2 * wanted <= there) else wanted

    def _start(self, active: list[Slot], starting: list[RowInput]) -> None:
        self._reshape(active, self._columns_wanted(active, starting), len(active) + len(starting))
        for group in groups_within([len(prompt.embedded) for prompt in starting], PREFILL_COLUMNS):
            prompts = starting[: len(group)]  # groups are neighbours, in order
            self.batch.start(len(active), prompts)
            active.extend(Slot(prompt) for prompt in prompts)
            # At once: when memory runs out at a later group, these are among the active ones and nowhere else.
            del starting[: len(group)]
            self._noise_left = 0
            self._just_started = True
            lengths = [len(prompt.embedded) for prompt in prompts]
            self.counters.prefill_rows += len(prompts)
            self.counters.prefill_columns += sum(lengths)
            self.counters.prefill_padded += max(lengths) * len(lengths)

    def _make_room(self, active: list[Slot]) -> None:
        """For the next frames; when the rows have grown so long that fewer fit, the youngest begin again later."""
        columns = self._columns_wanted(active, [])
        fits = rows_that_fit(self.plan, columns)
        for slot in reversed(active[fits:]):
            self._put_back.insert(0, slot.prompt)
            self._begins_again(slot.prompt)
        del active[fits:]
        self._reshape(active, columns, len(active))

    def _begins_again(self, prompt: RowInput) -> None:
        self.counters.restarts += 1
        if self._listener is not None:
            self._listener.again(prompt.id)

    def _reshape(self, active: list[Slot], columns: int, rows: int) -> None:
        kv = self.batch.kv
        rows = max(rows, rows_that_fit(self.plan, columns))
        if columns != kv.columns or rows > kv.rows:
            kv.reshape(rows, columns, len(active))
            self.batch.reach(columns)
            self.runner.forget()

    def _advance(self, active: list[Slot]) -> list[tuple[Slot, FinishedRow]]:
        """The frames up to the next look, and the rows that ended in them."""
        frames, started = self.pace.look_frames, time.perf_counter()
        captures, with_graphs = self.runner.captures, self.runner.use_graphs
        rows = self.runner.rows_for(len(active))
        self.batch.positions[len(active) : rows] = 0  # idle slots of a graph write where nobody reads
        width = width_for(max(slot.position for slot in active) + frames)
        width = min(width, self.batch.kv.columns)
        for number in range(frames):
            if self._noise_left == 0:
                self.batch.draw_noise(rows)
                self._noise_left = self.pace.noise_frames
            noise = self.batch.noise[:rows, self.pace.noise_frames - self._noise_left]
            self._noise_left -= 1
            self.batch.codes[:rows, number] = self.runner.frame(rows, width, noise)
        self.counters.steps += frames
        self.counters.rows_stepped += frames * len(active)
        self.counters.looks += 1
        blocks, following, sound = self.batch.look(len(active), frames)
        step_ms = (time.perf_counter() - started) * 1000 / frames
        if with_graphs and not self.runner.use_graphs:
            self._usual_is_over()
        elif not self._just_started and self.runner.captures == captures:
            self._watch(len(active), step_ms)
        self._just_started = False
        ended = []
        for slot, block, begun, is_sound in zip(active, blocks, following, sound, strict=True):
            spoken = self._hear(slot, block, begun, is_sound)
            if spoken is not None:
                self.counters.frames_kept += len(spoken.codes)
                ended.append((slot, spoken))
        return ended

    def _hear(self, slot: Slot, block: Tensor, following: int, sound: bool) -> FinishedRow | None:
        """What a row has become, if it is over. block: its last frames; following: code 0 of the one after them."""
        end = self.batch.talker.end
        ends = (block[:, 0] == end).nonzero()
        over = len(ends) > 0
        kept = block[: int(ends[0])] if over else block
        slot.blocks.append(kept)
        slot.frames += len(block)
        frames = sum(map(len, slot.blocks))
        over = over or following == end
        if not (over or frames >= slot.prompt.cap - 1 or not sound):
            return None
        codes = torch.cat(slot.blocks)[: slot.prompt.cap - 1]
        # As stock: a row whose last allowed token is the end of speech counts as one that did not end.
        return FinishedRow(slot.prompt.id, codes, ended=over and frames < slot.prompt.cap - 1, finite=sound)

    def _drop(self, active: list[Slot], gone: list[Slot]) -> None:
        """Takes rows out; the last ones move into their places."""
        for slot in gone:
            at = next(index for index, other in enumerate(active) if other is slot)
            last = active.pop()
            if last is not slot:
                self.batch.move(len(active), at)
                active[at] = last

    def _usual_is_over(self) -> None:
        """Without graphs every frame is slower, and fewer rows would not help: what was usual counts no more."""
        if self.speed is not None:
            self.speed = SpeedWatch()

    def _watch(self, rows: int, step_ms: float) -> None:
        slowdown = self.speed.note(rows, step_ms) if self.speed is not None else None
        if slowdown is None:
            return
        self.plan = replace(self.plan, rows=max(1, self.plan.rows // 2))
        self.announce(
            t(
                "Warning: the GPU has become slow: {now} ms a frame with {rows} lines at a time, {usual} ms before. "
                "Going on with {fewer} lines at a time. Close other programs that use the GPU; on Windows, set "
                "the power plan to best performance.",
                now=round(slowdown.now_ms),
                usual=round(slowdown.usual_ms),
                rows=slowdown.rows,
                fewer=self.plan.rows,
            )
        )

    def _retreat(self, prompts: list[RowInput]) -> None:
        """After memory ran out: everything begins again, in a smaller batch."""
        plan = smaller(self.plan)
        if plan is None:
            raise torch.OutOfMemoryError("a single row does not fit")
        self.announce(
            t(
                "The GPU's memory is short: going on with {fewer} lines at a time instead of {rows}.",
                fewer=plan.rows,
                rows=self.plan.rows,
            )
        )
        self.plan = plan
        self._put_back = prompts + self._put_back
        for prompt in prompts:
            self._begins_again(prompt)
        self.batch.kv.reshape(0, 0, 0)
        self.runner.forget()
        if self.batch.talker.stack.device.type == "cuda":
            torch.cuda.empty_cache()
