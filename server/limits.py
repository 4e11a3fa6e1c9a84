"""How much of a request is read. Stands behind the key, so that a stranger is answered before any of this."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 64 * 1024
"""A thousand characters of text are at most 12 kB of JSON; the rest is room for unknown fields."""


class BodyLimit:
    """Not FastAPI's max_body_size: that answers in plain text, and before the key when it is set on the app."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        too_long = announced.isdigit() and int(announced) > self.limit
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            if too_long:
                raise HTTPException(413)
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:  # a chunked body announces nothing
                raise HTTPException(413)
            return message

        await self.app(scope, limited, send)
