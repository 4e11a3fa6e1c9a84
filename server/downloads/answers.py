"""What to ask a server for, and what its answer means. Plain data: knows neither network nor disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MAX_WAIT_S = 300.0
"""Longest wait that a server may ask for; the Hugging Face hub counts requests in windows of five minutes."""
MIN_ADVANCE = 1 << 20
"""Bytes that count as progress: a connection that breaks after every few bytes is not tried for ever."""


@dataclass(frozen=True)
class Source:
    """One file on a server."""

    url: str
    size: int | None = None
    """bytes, if published"""
    sha256: str | None = None
    """64 hex digits, if published"""


@dataclass(frozen=True)
class PartNote:
    """Which file a part on this disk belongs to. A part without its note cannot be continued."""

    url: str
    etag: str | None
    sha256: str | None
    size: int | None


@dataclass(frozen=True)
class Resume:
    start: int
    """First byte to ask for."""
    if_range: str | None = None
    """The ETag under which the part was begun: a server that has another file now sends it whole."""


AnswerKind = Literal["whole", "rest", "over", "again", "missing", "refused", "wrong_size"]


@dataclass(frozen=True)
class Answer:
    """`whole`: the file from its first byte; `rest`: from the byte asked for; `over`: nothing fits, ask from the first
    byte; `again`: not now; `missing`, `refused`, `wrong_size`: asking again changes nothing."""

    kind: AnswerKind
    total: int | None = None
    """bytes of the whole file, if the answer tells"""
    wait_s: float = 0.0


def resume_from(have: int, note: PartNote | None, source: Source) -> Resume:
    """Where to go on with a part of `have` bytes. A published hash names a file for good; without one the ETag must."""
    if not have or note is None or (source.size is not None and have > source.size):
        return Resume(0)
    if source.sha256 is not None:
        return Resume(have if note.sha256 == source.sha256 else 0)
    if note.url == source.url and note.sha256 is None and is_strong(note.etag):
        return Resume(have, note.etag)
    return Resume(0)


def safe_length(have: int, size: int | None, sync_bytes: int) -> int:
    """Bytes of an earlier program's part that are surely on the disk: whole synced steps, and one byte less than the
    file at most, since a request for no byte has no good answer."""
    most = have if size is None else min(have, size - 1)
    return max(0, most // sync_bytes * sync_bytes)


def is_strong(etag: str | None) -> bool:
    """RFC 9110, 13.1.5: a weak ETag must not stand in If-Range."""
    return etag is not None and etag.startswith('"')


def judge(status: int, headers: Mapping[str, str], asked: Resume, source: Source, *, moved: bool) -> Answer:
    """headers: names in lower case. moved: the answer is of another host, to which the asked one redirected."""
    if status in (200, 206):
        return _judge_body(status, headers, asked, source)
    if status == 416:
        return Answer("over")
    if status in (408, 425, 429) or status >= 500:
        return Answer("again", wait_s=asked_wait_s(headers))
    # The signature of an address in a store of files runs out after an hour; the hub gives a new one.
    if status == 403 and moved:
        return Answer("again")
    return Answer("missing" if status in (404, 410) else "refused")


def _judge_body(status: int, headers: Mapping[str, str], asked: Resume, source: Source) -> Answer:
    if status == 206:
        begin, total = content_range(headers.get("content-range", ""))
        if begin != asked.start or is_encoded(headers):
            return Answer("over")
        if asked.if_range and headers.get("etag", asked.if_range) != asked.if_range:
            return Answer("over")
    else:
        length = headers.get("content-length", "")
        total = int(length) if length.isdecimal() and not is_encoded(headers) else None
    if total is not None and source.size is not None and total != source.size:
        return Answer("wrong_size", total)
    return Answer("rest" if status == 206 else "whole", total)


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Whether lengths and ranges count compressed bytes, against what was asked for."""
    return headers.get("content-encoding", "identity").casefold() != "identity"


def content_range(value: str) -> tuple[int | None, int | None]:
    """First byte and size of the whole file, None for what it does not tell: `bytes 100-199/1000` is (100, 1000)."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", value.strip(), re.ASCII)
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def asked_wait_s(headers: Mapping[str, str]) -> float:
    """Seconds that a busy server asks for: Retry-After, or the end of the hub's window in `RateLimit: "api";r=0;t=55`.

    0 where the server asks for none, or gives a date.
    """
    found = re.fullmatch(r"\s*(\d+)\s*", headers.get("retry-after", ""), re.ASCII) or re.search(
        r"\br=0;\s*t=(\d+)", headers.get("ratelimit", ""), re.ASCII
    )
    return min(float(found[1]), MAX_WAIT_S) if found else 0.0


@dataclass
class Tries:
    """Counts the tries without progress; progress sets the count to 0."""

    pauses_s: tuple[float, ...]
    mark: int = 0
    """Bytes from which progress counts."""
    failed: int = 0

    def next_pause_s(self, done: int, asked_s: float = 0.0) -> float | None:
        """Seconds to wait before the next try, at least what the server asked for; None when the tries are used up."""
        if done >= self.mark + MIN_ADVANCE:
            self.mark, self.failed = done, 0
        if self.failed >= len(self.pauses_s):
            return None
        self.failed += 1
        return max(self.pauses_s[self.failed - 1], asked_s)
