"""The log file: one line of JSON for each event, rotated by size.

The log is for developers and monitoring; narrators read the console, whose sentences go through t(). No text, key or
header is written at INFO: the line of a request holds only the length and a short hash of the text.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from server.http.record import Record, current
from server.terminal.console import complain
from server.terminal.messages import t

MAX_BYTES = 5_000_000
OLD_FILES = 5
"""Beside the file in use: 30 MB at most."""
MAX_MESSAGE_CHARS = 2_000
"""A worker can print a megabyte without a line break."""

access_log = logging.getLogger("server.access")


class JsonLines(logging.Formatter):
    """One ASCII line for each record: JSON escapes line breaks, control codes and all characters beyond ASCII."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self.secrets = [secret for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        request = current()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
        }
        if request:
            line["request_id"] = request.request_id
        line |= getattr(record, "facts", None) or {"event": self._clean(record.getMessage())}
        if record.exc_info and record.exc_info[1]:
            line["error"] = describe_error(record.exc_info[1])
        return json.dumps(line, ensure_ascii=True)

    def _clean(self, message: str) -> str:
        # Our own code never logs the key; a library might.
        for secret in self.secrets:
            message = message.replace(secret, "[key]")
        return message if len(message) <= MAX_MESSAGE_CHARS else message[:MAX_MESSAGE_CHARS] + " ..."


def describe_error(error: BaseException) -> dict[str, Any]:
    """Types and places of an exception and its causes. Messages are left out: they quote values such as a text."""
    kinds: list[str] = []
    each: BaseException | None = error
    while each is not None and len(kinds) < 5:
        kinds.append(type(each).__name__)
        each = each.__cause__ or each.__context__
    frames = traceback.extract_tb(error.__traceback__)
    return {"kinds": kinds, "places": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-20:]]}


def request_line(record: Record) -> dict[str, Any]:
    """The log line of a request that has been answered, or whose client has disconnected."""
    line: dict[str, Any] = {
        "event": "request" if record.status else "client went away",
        "method": record.method,
        "route": record.route,
        "status": record.status,
        "seconds": round(record.seconds, 3),
    }
    if record.text_chars is not None:
        line |= {"text_chars": record.text_chars, "text_hash": record.text_hash}
    if record.takes is not None:
        line |= {
            "takes": record.takes,
            "doubtful": record.doubtful,
            "generation_seconds": round(record.generation_seconds, 3),
            "audio_seconds": round(record.audio_seconds, 3),
        }
    return line


def log_request(record: Record) -> None:
    access_log.info("request", extra={"facts": request_line(record)})


class LogFile(RotatingFileHandler):
    """Never stops the server: a full disk, or an editor that holds the file, costs log lines alone."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=OLD_FILES, encoding="ascii")
        self._complained = False

    def doRollover(self) -> None:
        try:
            super().doRollover()
        except OSError:
            # Windows renames no file that another program has open: the file grows until that program closes it.
            if self.stream is None:
                self.stream = self._open()

    def handleError(self, record: logging.LogRecord) -> None:
        if not self._complained:
            self._complained = True
            reason = sys.exc_info()[1]
            complain(t("The log {file} cannot be written ({reason}).", file=self.baseFilename, reason=reason))


class ConsoleFaults(logging.Handler):
    """Says on the console that an internal error was logged; the details are in the file."""

    def __init__(self, file: Path) -> None:
        super().__init__(logging.ERROR)
        self.file = file

    def emit(self, record: logging.LogRecord) -> None:
        complain(t("Something went wrong inside the server; the details are in {file}.", file=self.file))


def start_logging(file: Path | None, secrets: Iterable[str]) -> str:
    """Sends the lines of all loggers to the file; without a file, warnings go to standard error as plain text.

    Returns a sentence for the console when the file cannot be written, else "".
    """
    problem = ""
    handlers: list[logging.Handler] = []
    if file is not None:
        try:
            to_file = LogFile(file)
        except OSError as error:
            problem = t(
                "The log {file} cannot be written ({reason}); the server goes on without. LOG_FILE in .env names "
                "another.",
                file=file,
                reason=error.strerror or error,
            )
        else:
            to_file.setFormatter(JsonLines(secrets))
            handlers = [to_file, ConsoleFaults(file)]
    if not handlers:
        plain = logging.StreamHandler()
        plain.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
        plain.setLevel(logging.WARNING)
        handlers = [plain]
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    # INFO lines of libraries are left out: they may quote a text or a header.
    root.setLevel(logging.WARNING)
    logging.getLogger("server").setLevel(logging.INFO if file is not None and not problem else logging.WARNING)
    return problem
