"""Asks the system not to sleep, through wakepy. Knows no server and no run; no failure here stops either of them."""

from __future__ import annotations

import threading
from collections.abc import Callable


class WakeLock:
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
        except Exception as error:  # desktops fail here in many ways, and the work must go on
            self._tell(f"{type(error).__name__}: {error}")
