"""The connection to the server, with what httpx does not do by itself: notice a server that vanished without a word.

A PC that is switched off or falls asleep closes no connection, and speech may rightly take minutes. So the operating
system probes a silent peer (TCP keep-alive), and an answer that has begun must not pause.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterable

import httpx

BODY_STALL_S = 60.0
"""Longest pause within an answer: the server sends its first byte when the whole answer is made."""
MAX_BODY_BYTES = 256 * 1024 * 1024
"""Far more than any sentence has; a larger answer comes from no voice-server."""
ALIVE_IDLE_S, ALIVE_EVERY_S, ALIVE_TRIES = 30, 10, 6
"""A vanished peer is noticed after 90 s."""


def keepalive_options(platform: str) -> list[tuple[int, int, int]]:
    """The socket options for TCP keep-alive, by the names that this system has for them."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    idle = "TCP_KEEPALIVE" if platform == "darwin" else "TCP_KEEPIDLE"
    for name, value in ((idle, ALIVE_IDLE_S), ("TCP_KEEPINTVL", ALIVE_EVERY_S), ("TCP_KEEPCNT", ALIVE_TRIES)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


class WatchedBody(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, stall_s: float) -> None:
        self.inner, self.stall_s = inner, stall_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks, received = aiter(self.inner), 0
        while True:
            try:
                async with asyncio.timeout(self.stall_s):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise httpx.ReadTimeout("the answer stopped in the middle") from error
            received += len(chunk)
            if received > MAX_BODY_BYTES:
                raise httpx.ReadError("the answer does not end")
            yield chunk

    async def aclose(self) -> None:
        await self.inner.aclose()


class WatchedTransport(httpx.AsyncBaseTransport):
    def __init__(self, stall_s: float = BODY_STALL_S, options: Iterable[tuple[int, int, int]] | None = None) -> None:
        self.stall_s = stall_s
        self.inner = httpx.AsyncHTTPTransport(
            trust_env=False,
            # A large card wants more lines at a time than httpx's 100 connections; how many, the server says.
            limits=httpx.Limits(max_connections=None),
            socket_options=list(keepalive_options(sys.platform) if options is None else options),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self.inner.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=WatchedBody(response.stream, self.stall_s),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self.inner.aclose()
