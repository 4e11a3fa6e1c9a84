"""What is known of one request while it is answered: its log line and the counters are made from it. Knows no HTTP.

The record travels in a context variable, since FastAPI stands between the middleware that opens the record and the
route that fills it. Tasks that are started for a request share its record.
"""

from __future__ import annotations

import hashlib
from contextvars import ContextVar
from dataclasses import dataclass

HASH_CHARS = 12
"""Of a text's SHA-256 in hexadecimal: enough to find a line again, and the start of its X-Text-SHA256."""


@dataclass
class Record:
    request_id: str
    method: str
    route: str
    """Path of the route, `-` for a path without a route: what a stranger typed is not logged."""
    status: int = 0
    """0 when the client disconnected before an answer was begun."""
    seconds: float = 0.0
    text_chars: int | None = None
    text_hash: str = ""
    takes: int | None = None
    doubtful: bool = False
    generation_seconds: float = 0.0
    audio_seconds: float = 0.0


_current: ContextVar[Record | None] = ContextVar("request", default=None)


def begin(record: Record) -> None:
    _current.set(record)


def current() -> Record | None:
    """The record of the request that this code runs for."""
    return _current.get()


def note_text(text: str) -> None:
    """Records the length and a short hash of the text, never the text itself."""
    if record := current():
        record.text_chars = len(text)
        record.text_hash = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARS]


def note_take(takes: int, doubtful: bool, generation_seconds: float, audio_seconds: float) -> None:
    if record := current():
        record.takes, record.doubtful = takes, doubtful
        record.generation_seconds, record.audio_seconds = generation_seconds, audio_seconds
