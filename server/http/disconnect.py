"""Stops the work for a request when its client disconnects. Knows no speech."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

Result = TypeVar("Result")


class CallerGone(Exception):
    """The client has disconnected before its answer was made."""


async def while_connected(work: Coroutine[Any, Any, Result], receive: Receive) -> Result:
    """The work's result. The request's body must have been read before.

    Raises CallerGone after cancelling the work when the client disconnects.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_until_disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise CallerGone
    finally:
        for task in (working, leaving):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):  # the result was taken above, or is not wanted
                await task


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
