"""Frames between the server's parent and its worker: a JSON header and raw bytes. Knows nothing of speech.

Not multiprocessing's queues: a lock stays locked when the process that holds it is killed, and a worker is a process
that may be killed. Nothing is pickled.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import IO, Any

_SIZES = struct.Struct(">II")
MAX_BYTES = 1 << 30


class PipeClosed(Exception):
    """The process at the other end has ended, between two frames or in the middle of one."""


def write_frame(stream: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    """Raises PipeClosed."""
    _write(stream, _frame(header, body))


def write_headers(stream: IO[bytes], headers: Iterable[dict[str, Any]]) -> None:
    """Frames without bodies, all in one write: a reader that waits for the first frame finds the others there too.

    Raises PipeClosed.
    """
    _write(stream, b"".join(_frame(header) for header in headers))


def _frame(header: dict[str, Any], body: bytes = b"") -> bytes:
    head = json.dumps(header).encode("ascii")
    return _SIZES.pack(len(head), len(body)) + head + body


def _write(stream: IO[bytes], data: bytes) -> None:
    try:
        stream.write(data)
        stream.flush()
    except (OSError, ValueError) as error:  # ValueError: the file object is closed already
        raise PipeClosed from error


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Blocks until a whole frame is there. Raises PipeClosed."""
    head_size, body_size = _SIZES.unpack(_read_exactly(stream, _SIZES.size))
    if head_size > MAX_BYTES or body_size > MAX_BYTES:
        raise PipeClosed(f"not a frame: sizes {head_size} and {body_size}")
    header = json.loads(_read_exactly(stream, head_size))
    return header, _read_exactly(stream, body_size)


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    chunks = []
    while size:
        try:
            chunk = stream.read(size)
        except (OSError, ValueError) as error:
            raise PipeClosed from error
        if not chunk:
            raise PipeClosed
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)
