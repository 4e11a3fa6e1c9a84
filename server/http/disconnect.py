"""Work for a caller stops when the caller has gone. Knows no speech."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

Result = TypeVar("Result")


class CallerGone(Exception):
    """Nobody is left to be answered."""


async def while_connected(work: Coroutine[Any, Any, Result], receive: Receive) -> Result:
    """The work's result; the work is cancelled as soon as the connection closes. The body must have been read.

    Raises CallerGone.
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
            with contextlib.suppress(asyncio.CancelledError, Exception):  # its outcome interests nobody any more
                await task


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
