"""The decode loop: rows in, codec codes out. Rows that finish leave at once, and waiting ones take their place.

Knows no text and no audio: a row is an embedded input, a seed and a cap. Nothing in a frame waits for the host. Every
few frames the host reads back what was drawn, takes out the rows that ended, and fills their places.
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
from server.engines.qwen.loop.slowdown import SlowdownWatch
from server.engines.qwen.model.code_predictor import CodePredictor
from server.engines.qwen.model.sampling import Sampling
from server.engines.qwen.model.talker import Talker
from server.terminal.messages import t


@dataclass(frozen=True)
class FinishedRow:
    id: int
    codes: Tensor
    """(frames, code groups) int64, on the CPU"""
    cap: int
    """of its RowInput"""
    ended: bool
    """False: reached its cap"""
    finite: bool
    """False: the model's numbers overflowed on the way"""


@dataclass
class Slot:
    """The host's side of a row that is being spoken."""

    input: RowInput
    blocks: list[Tensor] = field(default_factory=list)
    """(frames, code groups) each"""
    frames: int = 0

    @property
    def position(self) -> int:
        """The column that the next frame of this row writes."""
        return len(self.input.prefill) + self.frames


@dataclass
class Counters:
    """What a loop has done, for measurements."""

    steps: int = 0
    rows_stepped: int = 0
    """frames computed, over all rows"""
    frames_kept: int = 0
    read_backs: int = 0
    prefill_rows: int = 0
    prefill_columns: int = 0
    prefill_padded: int = 0
    restarts: int = 0
    stopped: int = 0
    """rows whose stop condition was met"""


class RowStopper(Protocol):
    """Judges rows while they are spoken, and says which of them may stop."""

    def due(self, number: int, frames: int) -> bool:
        """Whether a row of so many frames is to be judged now."""
        ...

    def rows_to_stop(self, codes: Mapping[int, Tensor]) -> Mapping[int, int]:
        """The rows that may stop, each with the number of its frames to keep.

        codes: all frames so far of each row that is due, (frames, code groups).
        """
        ...

    def restart(self, number: int) -> None:
        """The row will be spoken again from its first frame."""
        ...

    def drop(self, number: int) -> None:
        """The row was cancelled."""
        ...


class DecodeLoop:
    """Decodes rows from prefill to end, as many at a time as the plan allows."""

    def __init__(
        self,
        talker: Talker,
        predictor: CodePredictor,
        sampling: Sampling,
        plan: MemoryPlan,
        schedule: SyncSchedule,
        announce: Callable[[str], None] = lambda _phrase: None,
        use_graphs: bool | None = None,
        watch: SlowdownWatch | None = None,
    ) -> None:
        """use_graphs: None means yes on CUDA and no elsewhere. watch: with the best times recorded for this card."""
        self.plan, self.schedule, self.announce = plan, schedule, announce
        self.counters = Counters()
        self.batch = Batch(talker, predictor, sampling, plan.rows, schedule)
        on_cuda = talker.layers.device.type == "cuda"
        self.runner = FrameRunner(self.batch, on_cuda if use_graphs is None else use_graphs, announce)
        # On a CPU other programs come and go, and fewer rows would only be slower still.
        self.watch = (watch or SlowdownWatch()) if on_cuda else None
        self._deferred: list[RowInput] = []
        """Rows that did not fit after all: they start before any new one, and say the same as they would have."""
        self._noise_left = 0
        self._just_started = False
        """The next read-back waits for a prefill too, so its time says nothing about frames."""
        self._stopper: RowStopper | None = None

    @torch.inference_mode()
    def run(
        self,
        more: Callable[[int], Sequence[RowInput]],
        deliver: Callable[[list[FinishedRow]], None],
        is_cancelled: Callable[[int], bool],
        stopper: RowStopper | None = None,
    ) -> None:
        """Decodes until no row is left and `more` gives none.

        more: asked for at most so many rows whenever places are free. deliver: given the rows that ended, at each
        read-back. stopper: asked at each read-back which rows may stop before they end by themselves.
        Raises torch.OutOfMemoryError when even a single row does not fit.
        """
        active: list[Slot] = []
        # Rows that an error left deferred in an earlier run were answered there.
        self._deferred, self._stopper = [], stopper
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
                self._restart_smaller([slot.input for slot in active] + starting)
                active = []
                continue
            self._remove(active, [slot for slot, _ in ended])
            stopped: list[tuple[Slot, FinishedRow]] | None = None
            with contextlib.suppress(torch.OutOfMemoryError):
                stopped = self._stopped(active)
            if stopped is None:
                self._restart_smaller([slot.input for slot in active])
                active, stopped = [], []
            self._remove(active, [slot for slot, _ in stopped])
            if ended or stopped:
                deliver([finished for _, finished in ended + stopped])

    def _cancel(self, active: list[Slot], is_cancelled: Callable[[int], bool]) -> None:
        cancelled = [slot for slot in active if is_cancelled(slot.input.id)]
        self._remove(active, cancelled)
        if self._stopper is not None:
            for slot in cancelled:
                self._stopper.drop(slot.input.id)

    def _stopped(self, active: list[Slot]) -> list[tuple[Slot, FinishedRow]]:
        """The rows that stop now, with the frames that are kept of them."""
        stopper = self._stopper
        if stopper is None:
            return []
        due = {slot.input.id: torch.cat(slot.blocks) for slot in active if stopper.due(slot.input.id, slot.frames)}
        frames_of = stopper.rows_to_stop(due) if due else {}
        stopped = []
        for slot in active:
            frames, row = frames_of.get(slot.input.id), slot.input
            if frames is not None:
                stopped.append((slot, FinishedRow(row.id, due[row.id][:frames], row.cap, ended=True, finite=True)))
                self.counters.stopped += 1
                self.counters.frames_kept += frames
        return stopped

    def _admit(self, more: Callable[[int], Sequence[RowInput]], active: list[Slot]) -> list[RowInput]:
        free = rows_that_fit(self.plan, self._columns_wanted(active, [])) - len(active)
        taken, self._deferred = self._deferred[: max(0, free)], self._deferred[max(0, free) :]
        if len(taken) < free and not self._deferred:
            taken += more(free - len(taken))
        # Keys and values have one width for all rows: a long prefill leaves room for fewer, and the rest waits.
        while len(active) + len(taken) > max(1, rows_that_fit(self.plan, self._columns_wanted(active, taken))):
            if not taken:
                break
            self._deferred.insert(0, taken.pop())
        return taken

    def _columns_wanted(self, active: list[Slot], starting: Sequence[RowInput]) -> int:
        needed = max([slot.position for slot in active] + [len(row.prefill) for row in starting], default=0)
        needed += self.schedule.sync_frames + 1
        present, wanted = self.batch.kv.columns, columns_for(needed)
        # Once long rows have left, memory for a few wide rows becomes memory for many narrow ones.
        crowded = rows_that_fit(self.plan, max(present, 1)) < self.plan.rows
        return present if needed <= present and not (crowded and 2 * wanted <= present) else wanted

    def _start(self, active: list[Slot], starting: list[RowInput]) -> None:
        self._reshape(active, self._columns_wanted(active, starting), len(active) + len(starting))
        for group in groups_within([len(row.prefill) for row in starting], PREFILL_COLUMNS):
            inputs = starting[: len(group)]  # groups are neighbours, in order
            self.batch.start(len(active), inputs)
            active.extend(Slot(row) for row in inputs)
            # At once: when memory runs out at a later group, these rows are among the active ones and nowhere else.
            del starting[: len(group)]
            self._noise_left = 0
            self._just_started = True
            lengths = [len(row.prefill) for row in inputs]
            self.counters.prefill_rows += len(inputs)
            self.counters.prefill_columns += sum(lengths)
            self.counters.prefill_padded += max(lengths) * len(lengths)

    def _make_room(self, active: list[Slot]) -> None:
        """Room for the next frames. Where grown rows leave room for fewer, the youngest are deferred and restart."""
        columns = self._columns_wanted(active, [])
        fits = rows_that_fit(self.plan, columns)
        for slot in reversed(active[fits:]):
            self._deferred.insert(0, slot.input)
            self._note_restart(slot.input)
        del active[fits:]
        self._reshape(active, columns, len(active))

    def _note_restart(self, row: RowInput) -> None:
        self.counters.restarts += 1
        if self._stopper is not None:
            self._stopper.restart(row.id)

    def _reshape(self, active: list[Slot], columns: int, rows: int) -> None:
        kv = self.batch.kv
        rows = max(rows, rows_that_fit(self.plan, columns))
        if columns != kv.columns or rows > kv.rows:
            kv.reshape(rows, columns, len(active))
            self.batch.grow_tables(columns)
            self.runner.forget()

    def _advance(self, active: list[Slot]) -> list[tuple[Slot, FinishedRow]]:
        """The frames up to the next read-back, and the rows that ended in them."""
        frames, started = self.schedule.sync_frames, time.perf_counter()
        captures, with_graphs = self.runner.captures, self.runner.use_graphs
        rows = self.runner.rows_for(len(active))
        self.batch.positions[len(active) : rows] = 0  # idle slots of a graph write where nothing reads
        width = width_for(max(slot.position for slot in active) + frames)
        width = min(width, self.batch.kv.columns)
        for number in range(frames):
            if self._noise_left == 0:
                self.batch.draw_noise(rows)
                self._noise_left = self.schedule.noise_frames
            noise = self.batch.noise[:rows, self.schedule.noise_frames - self._noise_left]
            self._noise_left -= 1
            self.batch.codes[:rows, number] = self.runner.frame(rows, width, noise)
        self.counters.steps += frames
        self.counters.rows_stepped += frames * len(active)
        self.counters.read_backs += 1
        blocks, following, finite = self.batch.read_back(len(active), frames)
        step_ms = (time.perf_counter() - started) * 1000 / frames
        if with_graphs and not self.runner.use_graphs:
            self._reset_baseline()
        elif not self._just_started and self.runner.captures == captures:
            self._check_speed(len(active), step_ms)
        self._just_started = False
        ended = []
        for slot, block, next_code, is_finite in zip(active, blocks, following, finite, strict=True):
            finished = self._collect(slot, block, next_code, is_finite)
            if finished is not None:
                self.counters.frames_kept += len(finished.codes)
                ended.append((slot, finished))
        return ended

    def _collect(self, slot: Slot, block: Tensor, next_code: int, finite: bool) -> FinishedRow | None:
        """Adds a row's new frames; returns the finished row if it is over.

        block: the new frames, (frames, code groups). next_code: code 0 of the frame after them.
        """
        end = self.batch.talker.end
        ends = (block[:, 0] == end).nonzero()
        over = len(ends) > 0
        kept = block[: int(ends[0])] if over else block
        slot.blocks.append(kept)
        slot.frames += len(block)
        frames, cap = sum(map(len, slot.blocks)), slot.input.cap
        over = over or next_code == end
        if not (over or frames >= cap - 1 or not finite):
            return None
        codes = torch.cat(slot.blocks)[: cap - 1]
        # As stock: a row whose last allowed token is the end of speech counts as one that did not end.
        return FinishedRow(slot.input.id, codes, cap, ended=over and frames < cap - 1, finite=finite)

    def _remove(self, active: list[Slot], leaving: list[Slot]) -> None:
        """Takes rows out of the batch; the last ones move into their places."""
        for slot in leaving:
            at = next(index for index, other in enumerate(active) if other is slot)
            last = active.pop()
            if last is not slot:
                self.batch.move(len(active), at)
                active[at] = last

    def _reset_baseline(self) -> None:
        """Graphs are off, so frame times have a new baseline: start measuring again."""
        if self.watch is not None:
            self.watch = SlowdownWatch()

    def _check_speed(self, rows: int, step_ms: float) -> None:
        slowdown = self.watch.note(rows, step_ms) if self.watch is not None else None
        if slowdown is None:
            return
        self.plan = replace(self.plan, rows=max(1, self.plan.rows // 2))
        self.announce(
            t(
                "Warning: the GPU has become slow: {now} ms a frame with {rows} lines at a time, {usual} ms before. "
                "Going on with {fewer} lines at a time. Close other programs that use the GPU; on Windows, set "
                "the power plan to best performance.",
                now=round(slowdown.now_ms),
                usual=round(slowdown.baseline_ms),
                rows=slowdown.rows,
                fewer=self.plan.rows,
            )
        )

    def _restart_smaller(self, inputs: list[RowInput]) -> None:
        """After memory ran out: all rows restart, in a smaller batch."""
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
        self._deferred = inputs + self._deferred
        for row in inputs:
            self._note_restart(row)
        self.batch.kv.reshape(0, 0, 0)
        self.runner.forget()
        if self.batch.talker.layers.device.type == "cuda":
            torch.cuda.empty_cache()
