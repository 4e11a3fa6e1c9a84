"""Exceptions to HTTP answers: the only place that knows which exception gets which status."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from server.contract.codes import ErrorCode
from server.contract.http import HEADER_REQUEST_ID
from server.errors import NarratorError, Unavailable
from server.http.limits import BODY_PATIENCE_S, MAX_BODY_BYTES
from server.http.problems import problem, problem_headers

log = logging.getLogger("server.app")


def _answer(
    request: Request,
    code: ErrorCode,
    params: dict[str, Any],
    retry_after: int | None = None,
    more_headers: dict[str, str] | None = None,
) -> Response:
    body = problem(code, params, request.scope["state"]["request_id"])
    headers = problem_headers(code, retry_after) | (more_headers or {})
    return Response(body.model_dump_json(), body.status, headers)


async def narrator_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, NarratorError)
    retry_after = error.retry_after if isinstance(error, Unavailable) else None
    return _answer(request, error.code, error.params, retry_after)


async def body_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # The wrong value is left out: it may be NaN, which JSON cannot carry, or a narrator's text.
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    reason = f"{where}: {first['msg']}" if where else str(first["msg"])
    return _answer(request, ErrorCode.BODY_INVALID, {"reason": reason})


async def http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.scope["path"][:200]  # not request.url, which is made from the Host header
    if error.status_code == 404:
        return _answer(request, ErrorCode.NOT_FOUND, {"path": path})
    if error.status_code == 405:
        params = {"path": path, "method": request.method}
        return _answer(request, ErrorCode.METHOD_NOT_ALLOWED, params, more_headers=dict(error.headers or {}))
    if error.status_code == 408:
        return _answer(request, ErrorCode.REQUEST_SLOW, {"seconds": round(BODY_PATIENCE_S)})
    if error.status_code == 413:
        return _answer(request, ErrorCode.BODY_TOO_LARGE, {"limit": MAX_BODY_BYTES})
    if 400 <= error.status_code < 500:
        return _answer(request, ErrorCode.BODY_INVALID, {"reason": str(error.detail)})
    return _answer(request, ErrorCode.INTERNAL, {})


async def internal_error(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this answer, and uvicorn logs its traceback.
    request_id = request.scope["state"]["request_id"]
    log.error("request %s failed: %s", request_id, type(error).__name__)
    # RequestRecord adds the id to all other answers and does not see this one, which Starlette sends further out.
    return _answer(request, ErrorCode.INTERNAL, {}, more_headers={HEADER_REQUEST_ID: request_id})
