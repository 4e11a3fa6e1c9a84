"""What is known of one request while it is answered: for its log line and for the counters. Knows no HTTP library.

A context variable and not an argument: the middleware that opens the record and the route that fills it have FastAPI
between them. Tasks started for a request share its record.
"""

from __future__ import annotations

import hashlib
from contextvars import ContextVar
from dataclasses import dataclass

HASH_CHARS = 12
"""First characters of the SHA-256 of a text: enough to find a line again, and the start of its X-Text-SHA256."""


@dataclass
class Record:
    request_id: str
    method: str
    route: str
    """The route's own path, `-` where there is none: what a stranger typed may hold anything."""
    status: int = 0
    """0 where no answer was begun: the client had gone."""
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
    """Its length and a short hash; the text itself is kept nowhere."""
    if record := current():
        record.text_chars = len(text)
        record.text_hash = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARS]


def note_take(takes: int, doubtful: bool, generation_seconds: float, audio_seconds: float) -> None:
    if record := current():
        record.takes, record.doubtful = takes, doubtful
        record.generation_seconds, record.audio_seconds = generation_seconds, audio_seconds
