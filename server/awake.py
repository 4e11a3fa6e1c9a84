"""Keeps this PC from sleeping while work waits, and ten minutes after. Knows no HTTP; no failure here stops speech."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from server.terminal.messages import t

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


class Hold:
    """Keeps the PC awake from the constructor to release().

    Runs in a thread of its own: Windows ties the request to the thread that makes it, and D-Bus may take seconds.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        """tell: called once, from another thread, with "" or the reason why the PC cannot be kept awake."""
        self._tell = tell
        self._over = threading.Event()
        threading.Thread(target=self._run, name="keeps the PC awake", daemon=True).start()

    def release(self) -> None:
        self._over.set()

    def _run(self) -> None:
        try:
            from wakepy import keep

            with keep.running(on_fail="pass") as mode:
                self._tell("" if mode.active else "no method worked on this system")
                self._over.wait()
        except Exception as error:  # desktops fail here in many ways, and speech must go on
            self._tell(f"{type(error).__name__}: {error}")


class KeepAwake:
    """Checks for work at intervals. Says on the console once that the PC is kept awake, or that it cannot be."""

    def __init__(
        self,
        is_working: Callable[[], bool],
        say: Callable[[str], None],
        hold: Callable[[Callable[[str], None]], Hold] = Hold,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self.is_working = is_working
        self.say = say
        self.hold = hold
        self.look_every_s = look_every_s
        self._said = False

    async def run(self) -> None:
        """Runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        state = Wakefulness()
        held: Hold | None = None

        def tell(problem: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so the server has stopped
                loop.call_soon_threadsafe(self._tell, problem)

        try:
            while True:
                state = after_look(state, self.is_working(), loop.time())
                if state.until is not None and held is None:
                    held = self.hold(tell)
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
