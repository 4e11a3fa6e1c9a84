"""create_app(...): lifespan, middleware, and the one table that turns exceptions into answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import console
from server.auth import BearerKey, KnownHost
from server.awake import KeepAwake
from server.contract import HEADER_REQUEST_ID, OPEN_PATHS, PATH_CLONE, Code
from server.errors import NarratorError, Unavailable
from server.hosts import Hosts, parse_hosts
from server.limits import BODY_PATIENCE_S, MAX_BODY_BYTES, BodyLimit, RateLimit
from server.logs import log_request
from server.metrics import Metrics
from server.problems import problem, problem_headers
from server.record import Record, begin
from server.routes import add_metrics_route, add_routes
from server.settings import Settings
from server.supervisor import Supervisor

log = logging.getLogger("server.app")


def create_app(settings: Settings, supervisor: Supervisor, say: Callable[[str], None] = console.say) -> FastAPI:
    """say: for what a person at the console should know while the server runs."""
    speaking = Speaking()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await supervisor.start()
        awake = asyncio.create_task(KeepAwake(lambda: speaking.requests > 0, say).run(), name="keeps the PC awake")
        try:
            yield
        finally:
            awake.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await awake
            await supervisor.stop()

    app = FastAPI(
        title="overnight-narrator",
        lifespan=lifespan,
        # Clients that forget the Content-Type are harmless here: no browser can send the key by itself.
        strict_content_type=False,
    )
    metrics = Metrics(supervisor)
    add_routes(app, settings, supervisor)
    add_metrics_route(app, metrics)
    app.add_exception_handler(NarratorError, _narrator_error)
    app.add_exception_handler(RequestValidationError, _body_invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit)
    app.add_middleware(CountSpeech, speaking=speaking, metrics=metrics)
    if settings.rate_limit:
        app.add_middleware(RateLimit, per_minute=settings.rate_limit, open_paths=OPEN_PATHS)
    app.add_middleware(BearerKey, key=settings.api_key.get_secret_value().encode())
    app.add_middleware(KnownHost, hosts=Hosts(parse_hosts(settings.allowed_hosts)))
    paths = frozenset(str(getattr(route, "path", "")) for route in app.routes)
    app.add_middleware(RequestRecord, metrics=metrics, paths=paths)
    return app


class RequestRecord:
    """Gives each request an id and sends it back, whatever the answer; then logs and counts it."""

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
        except Exception:  # whatever it was goes on outwards; here only the log learns of it
            record.status = record.status or 500  # answered further out, by Starlette
            raise
        finally:
            record.seconds = time.perf_counter() - started
            log_request(record)
            if route == PATH_CLONE:
                self.metrics.observe(record)


class Speaking:
    """How many requests for speech, of those with the key, are not answered yet."""

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


def _answer(
    request: Request,
    code: Code,
    params: dict[str, Any],
    retry_after: int | None = None,
    more_headers: dict[str, str] | None = None,
) -> Response:
    body = problem(code, params, request.scope["state"]["request_id"])
    headers = problem_headers(code, retry_after) | (more_headers or {})
    return Response(body.model_dump_json(), body.status, headers)


async def _narrator_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, NarratorError)
    retry_after = error.retry_after if isinstance(error, Unavailable) else None
    return _answer(request, error.code, error.params, retry_after)


async def _body_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # The value itself is left out: it may be what JSON cannot carry (NaN), or somebody's text.
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    reason = f"{where}: {first['msg']}" if where else str(first["msg"])
    return _answer(request, Code.BODY_INVALID, {"reason": reason})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.scope["path"][:200]  # not request.url: that is made from the Host header
    if error.status_code == 404:
        return _answer(request, Code.NOT_FOUND, {"path": path})
    if error.status_code == 405:
        params = {"path": path, "method": request.method}
        return _answer(request, Code.METHOD_NOT_ALLOWED, params, more_headers=dict(error.headers or {}))
    if error.status_code == 408:
        return _answer(request, Code.REQUEST_SLOW, {"seconds": round(BODY_PATIENCE_S)})
    if error.status_code == 413:
        return _answer(request, Code.BODY_TOO_LARGE, {"limit": MAX_BODY_BYTES})
    if 400 <= error.status_code < 500:
        return _answer(request, Code.BODY_INVALID, {"reason": str(error.detail)})
    return _answer(request, Code.INTERNAL, {})


async def _internal(request: Request, error: Exception) -> Response:
    # Starlette raises it again after this answer, and uvicorn logs where it happened.
    request_id = request.scope["state"]["request_id"]
    log.error("request %s failed: %s", request_id, type(error).__name__)
    # This answer comes from outside of RequestRecord, which would have added the id.
    return _answer(request, Code.INTERNAL, {}, more_headers={HEADER_REQUEST_ID: request_id})
