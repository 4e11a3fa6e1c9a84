"""run.log in the project folder: everything that a run told, with date and time. Never the key.

The log stops no run: where it cannot be written, the run goes on without it.
"""

from __future__ import annotations

import io
from pathlib import Path

from client.project.folder import now

LOG = "run.log"
EARLIER_LOG = ".run.previous.log"
MAX_LOG_BYTES = 1_000_000
"""A larger log is renamed to EARLIER_LOG when the next run begins; the earlier log before it is deleted."""
HIDDEN = "***"


class RunLog(io.TextIOBase):
    """A text file to print to; each line gets its time. Lines wait in memory until the folder is known."""

    def __init__(self, secret: str = "") -> None:
        self.secret = secret
        self.folder: Path | None = None
        self._pending = ""
        self._lines: list[str] = []

    def write(self, text: str, /) -> int:
        *whole, self._pending = (self._pending + text).split("\n")
        stamp = now().isoformat(sep=" ", timespec="seconds")
        self._lines += [f"{stamp}  {self._without_secret(line)}".rstrip() for line in whole if line.strip()]
        if self.folder is not None:
            self._append()
        return len(text)

    def _without_secret(self, line: str) -> str:
        return line.replace(self.secret, HIDDEN) if self.secret else line

    def begin_in(self, folder: Path) -> None:
        """Writes the waiting lines to this folder, and from here on every line."""
        self.folder = folder
        self._rotate()
        self._append()

    def _rotate(self) -> None:
        assert self.folder is not None
        log = self.folder / LOG
        try:
            if log.stat().st_size > MAX_LOG_BYTES:
                log.replace(self.folder / EARLIER_LOG)
        except OSError:  # no log yet, or a held one, which grows a little more
            return

    def _append(self) -> None:
        assert self.folder is not None
        if not self._lines:
            return
        text = "".join(line + "\n" for line in self._lines)
        try:
            with (self.folder / LOG).open("a", encoding="utf-8", errors="replace", newline="\n") as file:
                file.write(text)
        except OSError:  # file held or disk full: the last 1,000 lines wait for the next one
            self._lines = self._lines[-1000:]
            return
        self._lines = []
