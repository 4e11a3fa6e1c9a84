"""Waiting for a server that is away, busy or loading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from client.errors import NotAServer, ServerAway, ServerBusy, ServerError
from client.run.report import Report
from client.voice_server.api import VoiceServer
from server.contract.http import Health
from server.terminal.messages import t

FIRST_PATIENCE_S = 120.0
"""Limit for a server that never answered: its address is probably wrong."""

PAUSES_S = (1.0, 2.0, 5.0, 10.0, 15.0)
"""Between attempts to reach a server that is away; the last one repeats."""

LOADING_PAUSE_S = 1.0

Result = TypeVar("Result")

ServerDied = Callable[[], str | None]
"""A sentence when the process of --local's server has ended; None while it runs, and for every other server."""


@dataclass
class Patience:
    """How long a server that is away is waited for, and what is told meanwhile."""

    report: Report
    limit_s: float
    stop: asyncio.Event
    reached: bool = False
    """Whether the server has answered before in this run."""
    server_died: ServerDied = lambda: None
    asked: int = 0
    """Requests for speech that are under way."""
    _away_since: float | None = None
    """On the monotonic clock: the wall clock may be put forward or back in the night."""
    _wait_reported: bool = False

    def limit(self) -> float:
        return self.limit_s if self.reached else min(self.limit_s, FIRST_PATIENCE_S)

    async def after(self, error: ServerAway | ServerBusy, attempt: int) -> None:
        """Waits before the next attempt. Raises `error` when the outage has lasted too long, or the run is stopped."""
        now_s = time.monotonic()
        if self._away_since is None:
            self._away_since = now_s
        waited = now_s - self._away_since
        if (sentence := self.server_died()) is not None:
            raise ServerError(sentence)
        if waited >= self.limit() or self.stop.is_set():
            raise error
        # A queue that is full for a moment is normal, so the first ServerBusy is not reported.
        if not (isinstance(error, ServerBusy) and attempt == 0 and self.reached):
            self._wait_reported = True
            self.report.waiting(str(error), waited, self.limit())
        pause = PAUSES_S[min(attempt, len(PAUSES_S) - 1)]
        if isinstance(error, ServerBusy):
            pause = error.retry_after_s
        await _sleep_unless(self.stop, min(pause, max(0.1, self.limit() - waited)))
        if self.stop.is_set():  # one more attempt could hang for as long as a connection takes
            raise error

    def answered(self) -> None:
        self.reached = True
        self._away_since = None
        if self._wait_reported:
            self._wait_reported = False
            self.report.server_back()


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


async def patiently(ask: Callable[[], Awaitable[Result]], patience: Patience) -> Result:
    """Asks until there is an answer. Raises the server's final refusal, or the last outage when patience ends."""
    attempt = 0
    while True:
        try:
            result = await ask()
        except (ServerAway, ServerBusy) as error:
            await patience.after(error, attempt)
            attempt += 1
        except ServerError:
            patience.answered()
            raise
        else:
            patience.answered()
            return result


async def ready_server(server: VoiceServer, patience: Patience) -> Health:
    """The server's health as soon as it can speak. Raises ServerError when patience ends before."""

    async def ask() -> Health:
        try:
            health = await server.health()
        except NotAServer:
            # From a server that answered before, a proxy's error page; at the first contact, a wrong address.
            if patience.reached:
                raise ServerBusy(t("Something else answers in the server's place."), PAUSES_S[-1]) from None
            raise
        if not health.ready:
            patience.reached = True
            if health.status == "error":
                raise ServerBusy(t("The server is there but cannot speak. Its own window says why."), PAUSES_S[-1])
            raise ServerBusy(t("The server is loading its voice; this can take minutes."), LOADING_PAUSE_S)
        return health

    return await patiently(ask, patience)
