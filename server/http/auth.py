"""Checks the Host header and the bearer key of a request before its body is read.

ASGI middleware and not a FastAPI dependency: FastAPI parses the body first, so that a stranger's broken JSON would be
answered with 422 instead of 401. Knows only the open routes.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from server.contract.codes import ErrorCode
from server.contract.http import OPEN_PATHS
from server.http.problems import send_problem
from server.network import cannot_be_rebound, host_name, read_own_names

log = logging.getLogger("server.auth")

READ_AGAIN_S = 5.0
"""A stranger's names must not keep a thread busy: a name server that does not answer takes seconds."""


def is_authorized(headers: Iterable[tuple[bytes, bytes]], key: bytes) -> bool:
    """Exactly one Authorization header, `Bearer KEY`, compared as bytes in constant time."""
    values = [value for name, value in headers if name.lower() == b"authorization"]
    if len(values) != 1 or not key:
        return False
    scheme, _, given = values[0].partition(b" ")
    # Scheme and key are both compared: the time must not tell which of them was wrong.
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
    """Refuses requests under a stranger's name. Applies to open paths as well: protects /health from DNS rebinding."""

    def __init__(
        self,
        app: ASGIApp,
        allowed: frozenset[str],
        read_own: Callable[[], frozenset[str]] = read_own_names,
    ) -> None:
        """allowed: from ALLOWED_HOSTS. read_own: this machine's names; called in a thread."""
        self.app = app
        self.allowed = allowed
        self.read_own = read_own
        self._own: frozenset[str] = frozenset()
        self._reading: asyncio.Task[frozenset[str]] | None = None
        self._read_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        # A request without Host (HTTP/1.0) comes from no browser, so no web page can have sent it.
        if all([await self._knows(host_name(value)) for value in given]):
            await self.app(scope, receive, send)
            return
        await send_problem(send, ErrorCode.HOST_UNKNOWN, {"host": given[0][:80]}, scope["state"]["request_id"])

    async def _knows(self, name: str) -> bool:
        if not name or cannot_be_rebound(name) or name in self.allowed or name in self._own:
            return bool(name)
        return name in await self._read_names()

    async def _read_names(self) -> frozenset[str]:
        """This machine's names, at most READ_AGAIN_S old: the network's domain may come or change while we run."""
        now = asyncio.get_running_loop().time()
        if self._reading is None or (self._reading.done() and now - self._read_at >= READ_AGAIN_S):
            self._read_at = now
            self._reading = asyncio.create_task(asyncio.to_thread(self.read_own))
        try:
            self._own = await asyncio.shield(self._reading)  # shielded: the caller may leave, others need the names
        except OSError as error:
            log.warning("this machine's names cannot be read: %s", error)
        return self._own
