"""Who gets in: the names that this machine answers to, and the bearer key. Before any body is read.

ASGI middleware and not a FastAPI dependency: FastAPI parses the body first, so that a stranger's broken JSON would be
answered with 422 instead of 401. Knows no route but the open ones.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from server.contract.codes import ErrorCode
from server.contract.http import OPEN_PATHS
from server.http.problems import send_problem
from server.network import Hosts, host_name


def is_authorized(headers: Iterable[tuple[bytes, bytes]], key: bytes) -> bool:
    """Exactly one Authorization header, `Bearer KEY`, compared as bytes in constant time."""
    values = [value for name, value in headers if name.lower() == b"authorization"]
    if len(values) != 1 or not key:
        return False
    scheme, _, given = values[0].partition(b" ")
    # Both are evaluated: the time must not tell which was wrong.
    right_scheme = scheme.lower() == b"bearer"
    right_key = hmac.compare_digest(given, key)
    return right_scheme and right_key


class BearerKey:
    def __init__(self, app: ASGIApp, key: bytes) -> None:
        self.app = app
        self.key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or is_authorized(scope["headers"], self.key):
            await self.app(scope, receive, send)
            return
        await send_problem(send, ErrorCode.UNAUTHORIZED, {}, scope["state"]["request_id"])


class KnownHost:
    """The open paths too: what they tell is for this network and not for a web page that pretends to be this server."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self.app = app
        self.hosts = hosts
        self._reading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        arrived_at = (scope.get("server") or ("",))[0]
        # Without a Host (HTTP/1.0) it is no browser, and so nobody's page.
        if all([await self._knows(value, arrived_at) for value in given]):
            await self.app(scope, receive, send)
            return
        await send_problem(send, ErrorCode.HOST_UNKNOWN, {"host": given[0][:80]}, scope["state"]["request_id"])

    async def _knows(self, value: str, arrived_at: str) -> bool:
        name = host_name(value)
        if not name or self.hosts.knows(name, arrived_at):
            return bool(name)
        async with self._reading:  # those who ask meanwhile wait for the same reading
            if not self.hosts.knows(name, arrived_at) and self.hosts.may_read(time.monotonic()):
                await asyncio.to_thread(self.hosts.read_now, time.monotonic())
        return self.hosts.knows(name, arrived_at)
