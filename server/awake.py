"""Keeps this PC from sleeping while work waits, and ten minutes after. Knows no HTTP; no failure here stops speech."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from server.terminal.messages import t
from server.wake_lock import WakeLock

log = logging.getLogger("server.awake")

AFTERWARDS_S = 600.0
"""A narrator who goes on after a pause must not find the PC asleep."""
LOOK_EVERY_S = 2.0
"""Seconds between two checks for work: far below the shortest time after which a system sleeps."""


@dataclass(frozen=True)
class Wakefulness:
    until: float | None = None
    """Monotonic; None: the PC may sleep."""


def after_look(before: Wakefulness, working: bool, now: float) -> Wakefulness:
    """The state from now on. working: whether any line waits or is being spoken."""
    if working:
        return Wakefulness(now + AFTERWARDS_S)
    if before.until is not None and now >= before.until:
        return Wakefulness()
    return before


class KeepAwake:
    """Checks for work at intervals. Says on the console once that the PC is kept awake, or that it cannot be."""

    def __init__(
        self,
        is_working: Callable[[], bool],
        say: Callable[[str], None],
        lock: Callable[[Callable[[str], None]], WakeLock] = WakeLock,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self.is_working = is_working
        self.say = say
        self.lock = lock
        self.look_every_s = look_every_s
        self._said = False

    async def run(self) -> None:
        """Runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        state = Wakefulness()
        held: WakeLock | None = None

        def tell(problem: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so the server has stopped
                loop.call_soon_threadsafe(self._tell, problem)

        try:
            while True:
                state = after_look(state, self.is_working(), loop.time())
                if state.until is not None and held is None:
                    held = self.lock(tell)
                elif state.until is None and held is not None:
                    log.info("the PC may sleep again")
                    held.release()
                    held = None
                await asyncio.sleep(self.look_every_s)
        finally:
            if held is not None:
                held.release()

    def _tell(self, problem: str) -> None:
        log.info("the PC is kept awake" if not problem else f"the PC cannot be kept awake: {problem}")
        if self._said:
            return
        self._said = True
        if problem:
            self.say(
                t(
                    "This PC could not be kept awake ({reason}). If it may go to sleep by itself, switch that off in "
                    "the system's settings for the night.",
                    reason=problem,
                )
            )
        else:
            self.say(t("This PC is kept awake while work waits, and ten minutes after."))
