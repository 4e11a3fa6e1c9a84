"""A frame of the whole batch as one CUDA graph: one launch instead of a thousand. The eager path is always there.

On a GTX 1060 under Windows a launch costs 10 to 20 microseconds, and a frame has some 1,500 of them; as a graph a frame
has one. A graph replays fixed addresses and shapes, so there is a graph for each number of rows and each width of
attention that occurs; the batch's tensors never change their addresses. When a capture fails for any reason but memory,
such as an old driver, frames run eagerly from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from server.errors import one_line
from server.terminal.messages import t

if TYPE_CHECKING:
    from server.engines.qwen.loop.batch import Batch

ROW_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128)
WARM_UPS = 2
"""Frames run before a capture: cuBLAS allocates its workspaces in the first run, which a capture does not allow."""
MAX_TRAILING = 1
"""Frames of `trailing` up to which graphs are used: text that is fed along with the speech changes shapes from row to
row, and narration never uses that layout."""


class FrameRunner:
    """Runs a batch's frame: eagerly, or as a graph where there is CUDA."""

    def __init__(self, batch: Batch, use_graphs: bool, announce: Callable[[str], None]) -> None:
        self.batch, self.use_graphs, self.announce = batch, use_graphs, announce
        self._graphs: dict[tuple[int, int], Any] = {}
        self._noise = torch.zeros_like(batch.noise[:, 0])
        self._codes = torch.zeros_like(batch.codes[:, 0])
        self._pool: Any = None
        self._stream: Any = None
        """The same for all captures: each stream keeps a cuBLAS workspace for the life of the process."""
        self.captures = 0

    def rows_for(self, rows: int) -> int:
        """How many slots a frame of so many rows runs over; at most those that have keys and values."""
        if not self.use_graphs:
            return rows
        bucket = next((size for size in ROW_BUCKETS if size >= rows), rows)
        return min(bucket, len(self.batch.slots), self.batch.kv.rows)

    def forget(self) -> None:
        """Deletes all graphs: keys and values have moved to other addresses."""
        self._graphs.clear()
        # A pool whose graphs have all gone must not be captured into again (vLLM #28426).
        self._pool = None

    def frame(self, rows: int, width: int, noise: Tensor) -> Tensor:
        """The codes of one frame, (rows, code groups). noise: (rows, noise size).

        Raises torch.OutOfMemoryError.
        """
        if not self.use_graphs or self.batch.trailing.shape[1] > MAX_TRAILING:
            return self.batch.frame(rows, width, noise)
        self._noise[:rows] = noise
        graph = self._graphs.get((rows, width))
        if graph is None:
            graph = self._captured(rows, width)
            if graph is None:
                return self.batch.frame(rows, width, noise)
            self._graphs[rows, width] = graph
        graph.replay()
        return self._codes[:rows]

    def _captured(self, rows: int, width: int) -> Any:
        """The graph; the batch is left as it was. None when it cannot be captured: frames then run eagerly for good.

        Raises torch.OutOfMemoryError: a smaller batch may have room for the graph.
        """
        before = [tensor.clone() for tensor in self.batch.changed_by_a_frame()]
        try:
            return self._capture(rows, width)
        except RuntimeError as error:
            # Ending a broken capture fails too, and that second error hides the first.
            cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
            if is_out_of_memory(cause):
                raise torch.OutOfMemoryError(str(cause)) from error
            self.use_graphs = False
            self.forget()
            self.announce(
                t("CUDA graphs cannot be used ({reason}); speaking goes on without, slower.", reason=one_line(cause))
            )
            return None
        finally:
            # Warming up computed real frames; later frames write over their keys and values.
            for tensor, value in zip(self.batch.changed_by_a_frame(), before, strict=True):
                tensor.copy_(value)

    def _capture(self, rows: int, width: int) -> Any:
        home = torch.cuda.current_stream()
        if self._stream is None:
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        try:
            self._stream.wait_stream(home)
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    self._codes[:rows] = self.batch.frame(rows, width, self._noise[:rows])
            home.wait_stream(self._stream)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                self._codes[:rows] = self.batch.frame(rows, width, self._noise[:rows])
        finally:
            # A capture that fails half-way leaves the capture's stream the current one.
            torch.cuda.set_stream(home)
        self._pool = self._pool or graph.pool()
        self.captures += 1
        return graph


def is_out_of_memory(error: BaseException) -> bool:
    """Instantiating a graph reports a lack of memory as another kind of error than allocating does."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)
