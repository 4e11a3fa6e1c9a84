"""create_app(...): lifespan, middleware, and the one table that turns exceptions into answers."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.auth import BearerKey
from server.contract import HEADER_REQUEST_ID, Code
from server.errors import NarratorError, Unavailable
from server.limits import MAX_BODY_BYTES, BodyLimit
from server.problems import problem, problem_headers
from server.routes import add_routes
from server.settings import Settings
from server.supervisor import Supervisor

log = logging.getLogger("server.app")


def create_app(settings: Settings, supervisor: Supervisor) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await supervisor.start()
        try:
            yield
        finally:
            await supervisor.stop()

    app = FastAPI(
        title="overnight-narrator",
        lifespan=lifespan,
        # Clients that forget the Content-Type are harmless here: no browser can send the key by itself.
        strict_content_type=False,
    )
    add_routes(app, settings, supervisor)
    app.add_exception_handler(NarratorError, _narrator_error)
    app.add_exception_handler(RequestValidationError, _body_invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit)
    app.add_middleware(BearerKey, key=settings.api_key.get_secret_value().encode())
    app.add_middleware(RequestId)
    return app


class RequestId:
    """Gives each request an id and sends it back, whatever the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex[:16]
        scope.setdefault("state", {})["request_id"] = request_id
        name = HEADER_REQUEST_ID.lower().encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [pair for pair in message.get("headers", []) if pair[0].lower() != name]
                message["headers"] = [*headers, (name, request_id.encode())]
            await send(message)

        await self.app(scope, receive, send_with_id)


def _answer(request: Request, code: Code, params: dict[str, Any], retry_after: int | None = None) -> Response:
    body = problem(code, params, request.scope["state"]["request_id"])
    return Response(body.model_dump_json(), body.status, problem_headers(code, retry_after))


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
    path = request.url.path
    if error.status_code == 404:
        return _answer(request, Code.NOT_FOUND, {"path": path})
    if error.status_code == 405:
        return _answer(request, Code.METHOD_NOT_ALLOWED, {"path": path, "method": request.method})
    if error.status_code == 413:
        return _answer(request, Code.BODY_TOO_LARGE, {"limit": MAX_BODY_BYTES})
    if 400 <= error.status_code < 500:
        return _answer(request, Code.BODY_INVALID, {"reason": str(error.detail)})
    return _answer(request, Code.INTERNAL, {})


async def _internal(request: Request, error: Exception) -> Response:
    # Starlette raises it again after this answer, and uvicorn logs the traceback.
    log.error("request %s failed: %s", request.scope["state"]["request_id"], type(error).__name__)
    return _answer(request, Code.INTERNAL, {})
