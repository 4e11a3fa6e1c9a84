"""What the parent writes to its worker."""

from __future__ import annotations

import io
import queue
from typing import Any

from server.worker.frames import read_frame
from server.worker.process import write_frames


class Pipe(io.BytesIO):
    """A worker's standard input that notes what is written at a time, and is read after it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: Any, /) -> int:
        self.pieces.append(bytes(data))
        return len(data)


def test_lines_handed_over_together_reach_the_worker_in_one_piece() -> None:
    """Written one by one, its engine began with the first alone in two of three bursts."""
    outbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    headers = [{"do": "speak", "id": number} for number in range(12)]
    for header in (*headers, None):
        outbox.put(header)
    pipe = Pipe()
    write_frames(pipe, outbox)
    (piece,) = pipe.pieces
    received = io.BytesIO(piece)
    assert [read_frame(received)[0] for _ in headers] == headers
    assert pipe.closed, "which tells the worker to end"
