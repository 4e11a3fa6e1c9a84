"""The bearer key, looked at before any body is read. Knows no route but the open ones.

ASGI middleware and not a FastAPI dependency: FastAPI parses the body first, so that a stranger's broken JSON would be
answered with 422 instead of 401.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from server.contract import HEADER_REQUEST_ID, OPEN_PATHS, Code
from server.problems import problem, problem_headers


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
        request_id = scope["state"]["request_id"]
        body = problem(Code.UNAUTHORIZED, {}, request_id).model_dump_json().encode()
        headers = problem_headers(Code.UNAUTHORIZED) | {
            "content-length": str(len(body)),
            # The body was not read, so this connection cannot carry another request.
            "connection": "close",
            HEADER_REQUEST_ID: request_id,
        }
        await send(
            {
                "type": "http.response.start",
                "status": 401,
                "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            }
        )
        await send({"type": "http.response.body", "body": body})
