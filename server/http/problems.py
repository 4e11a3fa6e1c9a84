"""Errors as RFC 9457 problem details: a code for machines and an English sentence for people."""

from __future__ import annotations

from typing import Any

from starlette.types import Send

from server.contract.codes import SENTENCES, STATUS, ErrorCode, Problem
from server.contract.http import HEADER_REQUEST_ID, MEDIA_PROBLEM


def problem(code: ErrorCode, params: dict[str, Any], request_id: str) -> Problem:
    params = {**params, "request_id": request_id} if code is ErrorCode.INTERNAL else params
    params = {name: _sendable(value) for name, value in params.items()}
    return Problem(
        type=f"urn:overnight-narrator:problem:{code}",
        title=code.value.replace("_", " ").capitalize(),
        status=STATUS[code],
        detail=SENTENCES[code].format(**params),
        code=code.value,
        params=params,
        request_id=request_id,
    )


def _sendable(value: Any) -> Any:
    """JSON can bring in half a surrogate pair (`\\ud800`), which UTF-8 cannot encode."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def problem_headers(code: ErrorCode, retry_after: int | None = None) -> dict[str, str]:
    headers = {"content-type": MEDIA_PROBLEM}
    if code is ErrorCode.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="overnight-narrator"'
    if retry_after is not None:
        headers["retry-after"] = str(max(1, retry_after))
    return headers


async def send_problem(
    send: Send, code: ErrorCode, params: dict[str, Any], request_id: str, retry_after: int | None = None
) -> None:
    """Sends a whole answer from middleware, where FastAPI's handlers do not reach. The body may still be unread."""
    body = problem(code, params, request_id).model_dump_json().encode()
    headers = problem_headers(code, retry_after) | {"content-length": str(len(body)), HEADER_REQUEST_ID: request_id}
    await send(
        {
            "type": "http.response.start",
            "status": STATUS[code],
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
