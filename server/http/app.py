"""create_app(...): the routes, what stands before them, and what runs beside them. Decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from server.awake import KeepAwake
from server.contract.http import OPEN_PATHS
from server.errors import NarratorError
from server.http.auth import BearerKey, KnownHost
from server.http.error_answers import body_invalid, http_error, internal_error, narrator_error
from server.http.limits import BodyLimit, RateLimit
from server.http.metrics import Metrics
from server.http.observe import CountSpeech, RequestRecord, Speaking
from server.http.speech import add_routes
from server.http.status import add_metrics_route
from server.network import parse_hosts
from server.settings import Settings
from server.terminal import console
from server.worker.supervisor import Supervisor


def create_app(settings: Settings, supervisor: Supervisor, say: Callable[[str], None] = console.say) -> FastAPI:
    """say: prints a sentence on the server's console while it runs."""
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
        # A request without Content-Type is harmless here: no browser can send the key by itself.
        strict_content_type=False,
    )
    metrics = Metrics(supervisor)
    add_routes(app, settings, supervisor)
    add_metrics_route(app, metrics)
    app.add_exception_handler(NarratorError, narrator_error)
    app.add_exception_handler(RequestValidationError, body_invalid)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, internal_error)
    # Starlette calls the middleware that was added last first.
    app.add_middleware(BodyLimit)
    app.add_middleware(CountSpeech, speaking=speaking, metrics=metrics)
    if settings.rate_limit:
        app.add_middleware(RateLimit, per_minute=settings.rate_limit, open_paths=OPEN_PATHS)
    app.add_middleware(BearerKey, key=settings.api_key.get_secret_value().encode())
    app.add_middleware(KnownHost, allowed=parse_hosts(settings.allowed_hosts))
    paths = frozenset(str(getattr(route, "path", "")) for route in app.routes)
    app.add_middleware(RequestRecord, metrics=metrics, paths=paths)
    return app
