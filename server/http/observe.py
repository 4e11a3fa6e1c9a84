"""Gives each request its id, its log line and its counts."""

from __future__ import annotations

import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.contract.http import HEADER_REQUEST_ID, PATH_CLONE
from server.http.logs import log_request
from server.http.metrics import Metrics
from server.http.record import Record, begin


class RequestRecord:
    """Gives each request an id, sends the id back with any answer, then logs and counts the request."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> None:
        self.app = app
        self.metrics = metrics
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        route = scope["path"] if scope["path"] in self.paths else "-"
        record = Record(uuid.uuid4().hex[:16], scope["method"][:20], route)
        begin(record)
        scope.setdefault("state", {})["request_id"] = record.request_id
        name = HEADER_REQUEST_ID.lower().encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = [pair for pair in message.get("headers", []) if pair[0].lower() != name]
                message["headers"] = [*headers, (name, record.request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:  # any error is raised again; only its status is recorded here
            record.status = record.status or 500  # Starlette answers the error further out
            raise
        finally:
            record.seconds = time.perf_counter() - started
            log_request(record)
            if route == PATH_CLONE:
                self.metrics.observe(record)


class Speaking:
    """Counts the requests for speech that came with the key and are not answered yet."""

    requests = 0


class CountSpeech:
    def __init__(self, app: ASGIApp, speaking: Speaking, metrics: Metrics) -> None:
        self.app = app
        self.speaking = speaking
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH_CLONE:
            await self.app(scope, receive, send)
            return
        self.speaking.requests += 1
        with self.metrics.concurrent.track_inprogress():
            try:
                await self.app(scope, receive, send)
            finally:
                self.speaking.requests -= 1
