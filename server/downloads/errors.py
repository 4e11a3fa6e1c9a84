"""Why a download ended without its file. The text of each is a whole sentence in the reader's language.

DownloadFailed          among others: the folder cannot be written
+-- Unreachable         no network, or every try broke off: later it may work
+-- Refused             the server says no, and would say it again
|   +-- NotThere        the server has no such file, model or revision
+-- NoRoom              the drive is too full
+-- Damaged             size or hash are not the published ones
"""

from __future__ import annotations

from server.terminal.messages import t


class DownloadFailed(Exception):
    pass


class Unreachable(DownloadFailed):
    def __init__(self, host: str, reason: str) -> None:
        """reason: a short phrase such as `ConnectError: ...`, for sentences of the caller's own."""
        super().__init__(
            t("Nothing could be downloaded from {host} ({reason}). Try again later.", host=host, reason=reason)
        )
        self.reason = reason


class Refused(DownloadFailed):
    pass


class NotThere(Refused):
    pass


class NoRoom(DownloadFailed):
    pass


class Damaged(DownloadFailed):
    pass
