"""The log: one line of JSON for each thing that happens, in a file that is changed before it grows too large.

For developers and monitoring; what a narrator should know is said on the console, with t(). Nothing of a text, of the
key or of a request's headers is written here at INFO: the line of a request has its text's length and short hash.
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
"""With the one in use, 30 MB at most."""
MAX_MESSAGE_CHARS = 2_000
"""A worker can print a megabyte without a line break."""

access_log = logging.getLogger("server.access")


class JsonLines(logging.Formatter):
    """ASCII and one line, whatever a message holds: JSON escapes line breaks, escape codes and everything beyond."""

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
        # No caller of ours logs the key; a library below might.
        for secret in self.secrets:
            message = message.replace(secret, "[key]")
        return message if len(message) <= MAX_MESSAGE_CHARS else message[:MAX_MESSAGE_CHARS] + " ..."


def describe_error(error: BaseException) -> dict[str, Any]:
    """Kinds and places, without the errors' own words: those quote values, and a value can be somebody's text."""
    kinds: list[str] = []
    each: BaseException | None = error
    while each is not None and len(kinds) < 5:
        kinds.append(type(each).__name__)
        each = each.__cause__ or each.__context__
    frames = traceback.extract_tb(error.__traceback__)
    return {"kinds": kinds, "places": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-20:]]}


def request_line(record: Record) -> dict[str, Any]:
    """What is written when a request has been answered."""
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
    """A log that never stops the server: neither a full disk nor an editor that holds the file does."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=OLD_FILES, encoding="ascii")
        self._complained = False

    def doRollover(self) -> None:
        try:
            super().doRollover()
        except OSError:
            # On Windows an open file has no other name. It grows until whoever reads it lets go.
            if self.stream is None:
                self.stream = self._open()

    def handleError(self, record: logging.LogRecord) -> None:
        if not self._complained:
            self._complained = True
            reason = sys.exc_info()[1]
            complain(t("The log {file} cannot be written ({reason}).", file=self.baseFilename, reason=reason))


class ConsoleFaults(logging.Handler):
    """A fault of ours must not pass unseen on the console; its details are in the file."""

    def __init__(self, file: Path) -> None:
        super().__init__(logging.ERROR)
        self.file = file

    def emit(self, record: logging.LogRecord) -> None:
        complain(t("Something went wrong inside the server; the details are in {file}.", file=self.file))


def start_logging(file: Path | None, secrets: Iterable[str]) -> str:
    """Sends every logger's lines to the file; without one, warnings go to standard error as they are.

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
    # What libraries tell at INFO is about themselves, and what they put into it is not in our hands.
    root.setLevel(logging.WARNING)
    logging.getLogger("server").setLevel(logging.INFO if file is not None and not problem else logging.WARNING)
    return problem
