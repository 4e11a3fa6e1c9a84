"""Limits on requests: size, encoding and duration of a body, and requests a minute.

BodyLimit and RateLimit are ASGI middleware behind the key check, so that a request without the key never reaches them.
Time limits on headers and connections are in slow_clients.py.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.contract.codes import ErrorCode
from server.contract.http import PATH_METRICS
from server.http.problems import send_problem

MAX_BODY_BYTES = 64 * 1024
"""1,000 characters of text are at most 12 kB of JSON; the rest is room for unknown fields."""

BODY_PATIENCE_S = 10.0
"""Seconds from the first read of a body to its end. A whole body is a few packets."""


class BodyLimit:
    """Replaces FastAPI's max_body_size, which answers in plain text and, set on the app, before the key is checked."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES, patience_s: float = BODY_PATIENCE_S) -> None:
        self.app = app
        self.limit = limit
        self.patience_s = patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1")
        if encoding.strip().lower() not in ("identity", ""):
            # Decompression can make gigabytes of a few bytes, and a sentence does not need it.
            await send_problem(send, ErrorCode.BODY_ENCODED, {"encoding": encoding[:40]}, scope["state"]["request_id"])
            return
        announced = headers.get(b"content-length", b"0")
        too_long = announced.isdigit() and int(announced) > self.limit
        seen, whole = 0, False
        deadline: float | None = None

        async def limited() -> Message:
            nonlocal seen, whole, deadline
            if too_long:
                raise HTTPException(413)
            if whole:  # the next message is the client's disconnect, which has no time limit
                return await receive()
            now = asyncio.get_running_loop().time()
            deadline = now + self.patience_s if deadline is None else deadline
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > self.limit:  # a chunked body has no Content-Length
                raise HTTPException(413)
            return message

        scope["headers"] = as_json(scope["headers"])
        await self.app(scope, limited, send)


def as_json(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers with JSON as the body's type, unless it is a form with files.

    `curl -d` labels JSON as a form, PowerShell as text. No browser can misuse this, since none sends the key by itself.
    """
    kinds = [value.strip().lower() for name, value in headers if name == b"content-type"]
    if any(kind.startswith(b"multipart/") for kind in kinds):
        return headers
    others = [(name, value) for name, value in headers if name != b"content-type"]
    return [*others, (b"content-type", b"application/json")]


@dataclass(frozen=True)
class Bucket:
    """A token bucket. It is filled continuously, so that no minute can begin with the requests of two minutes."""

    left: float
    """Requests"""
    at: float
    """Monotonic"""


def take_one(bucket: Bucket, per_minute: int, now: float) -> tuple[Bucket, float]:
    """The bucket afterwards, and the seconds until a request may pass: 0 when this one passes."""
    left = min(float(per_minute), bucket.left + (now - bucket.at) * per_minute / 60)
    if left >= 1:
        return Bucket(left - 1, now), 0.0
    return Bucket(left, now), (1 - left) * 60 / per_minute


class RateLimit:
    """One bucket for the one key. Stands behind the key check, so that strangers cannot empty the bucket."""

    def __init__(self, app: ASGIApp, per_minute: int, open_paths: frozenset[str]) -> None:
        self.app = app
        self.per_minute = per_minute
        # Monitoring must reach a server whose narrator has used up the limit.
        self.free_paths = open_paths | {PATH_METRICS}
        self.bucket = Bucket(float(per_minute), time.monotonic())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self.free_paths:
            self.bucket, wait_s = take_one(self.bucket, self.per_minute, time.monotonic())
            if wait_s:
                after = math.ceil(wait_s)
                params = {"limit": self.per_minute, "retry_after": after}
                await send_problem(send, ErrorCode.RATE_LIMITED, params, scope["state"]["request_id"], after)
                return
        await self.app(scope, receive, send)
