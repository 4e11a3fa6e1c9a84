"""The events that a run reports, and its summary. Knows no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from client.project.manifest import LineRecord
from client.project.plan import PlannedLine


class Report(Protocol):
    """Receives the events of a run as they happen."""

    def note(self, sentence: str) -> None: ...
    def waiting(self, sentence: str, waited_s: float, limit_s: float) -> None: ...
    def server_back(self) -> None: ...
    def line_started(self, line: PlannedLine) -> None: ...
    def line_made(self, line: PlannedLine, record: LineRecord, eta_s: float, placed: bool) -> None: ...
    def line_failed(self, line: PlannedLine, sentence: str) -> None: ...


@dataclass(frozen=True)
class Summary:
    folder: Path
    lines: int
    kept: int
    made: int
    failed: Sequence[LineRecord]
    see: Sequence[str]
    """Where to read what to do about the failed lines."""
    left: int
    """Lines that were not begun."""
    unplaced: Sequence[str]
    """Names of files whose audio is made and lies beside them under another name."""
    held: Sequence[Path]
    """Files that another program has not let go of."""
    doubtful: Sequence[LineRecord]
    """Finished lines whose cut was not sure: to be listened to."""
    audio_seconds: float
    """Of all finished lines of the folder."""
    wall_seconds: float
    draft: bool
    command: str
    """The exact command that goes on from here."""


class RunReport(Report, Protocol):
    def begin(self, lines: int, to_make: int) -> None: ...
    def end(self, summary: Summary) -> None: ...
