"""Time limits below ASGI: how long a request's head may take, and how a connection is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.contract.codes import ErrorCode
from server.contract.http import MEDIA_PROBLEM
from server.http.problems import problem

HEAD_PATIENCE_S = 10.0
"""Seconds from the connection, or from the first byte of a later request, to the end of the headers."""

LINGER_S = 2.0
"""Seconds for which the rest of a body is read and thrown away after its request was answered. Closing at once would
make the client's system drop the answer (a reset overtakes it); waiting for the body's end could take for ever."""

KEEP_ALIVE_S = 15.0
"""Seconds after which an idle connection is closed. Longer than clients keep theirs (httpx: 5 s): otherwise the server
would sometimes close a connection just as the client sends its next request."""


class TimeoutProtocol(H11Protocol):
    """uvicorn's h11 protocol with time limits: uvicorn alone waits for ever for the rest of a request.

    One timer for each connection limits the current wait; single bytes that arrive do not restart the timer. Overrides
    private parts of uvicorn, so pyproject.toml holds uvicorn to one minor version.
    """

    head_patience_s = HEAD_PATIENCE_S
    linger_s = LINGER_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waits_for = ""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for("head")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_for("")
        super().connection_lost(exc)

    def _update_timer(self) -> None:
        """Starts, keeps or ends the timer by the connection's state after an event."""
        state = self.conn.their_state
        if self.transport.is_closing():
            self._wait_for("")
        elif state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait_for("head")
        elif state is h11.SEND_BODY and self.cycle is not None and self.cycle.response_complete:
            self._wait_for("rest of a body that nobody reads")
        elif state is not h11.IDLE or self._waits_for != "head" or self.cycle is not None:
            self._wait_for("")

    def _wait_for(self, what: str) -> None:
        if what == self._waits_for:
            return
        self._waits_for = what
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if what:
            patience_s = self.head_patience_s if what == "head" else self.linger_s
            self._timer = self.loop.call_later(patience_s, self._give_up)

    def _give_up(self) -> None:
        if self._waits_for == "head" and self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse(ErrorCode.REQUEST_SLOW, {"seconds": round(self.head_patience_s)})
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Overridden to answer with a problem. While another answer is being sent, only the connection is closed."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(ErrorCode.REQUEST_BROKEN, {})
        self.transport.close()

    def _refuse(self, code: ErrorCode, params: dict[str, Any]) -> None:
        refusal = problem(code, params, "")
        body = refusal.model_dump_json().encode()
        headers = [
            (b"content-type", MEDIA_PROBLEM.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (h11.Response(status_code=refusal.status, headers=headers), h11.Data(data=body)):
            self.transport.write(self.conn.send(event) or b"")
