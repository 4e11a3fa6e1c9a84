"""What a run tells while it goes on, and its summary. Knows no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from client.project.manifest import LineRecord
from client.project.plan import PlannedLine


class Report(Protocol):
    """Told what happens, as it happens."""

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
    left: int
    """Lines that were not begun."""
    unplaced: Sequence[str]
    """Names whose audio is made and waits beside them."""
    held: Sequence[Path]
    """Files that another program has not let go of."""
    doubtful: Sequence[LineRecord]
    """Finished lines whose ending nobody is sure of."""
    audio_seconds: float
    """Of all finished lines of the folder."""
    wall_seconds: float
    draft: bool
    again: str
    """The exact command that goes on from here."""


class RunReport(Report, Protocol):
    def begin(self, lines: int, to_make: int) -> None: ...
    def end(self, summary: Summary) -> None: ...
