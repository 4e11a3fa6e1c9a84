"""Which recording serves which line: the plan of a run. Pure; knows no file and no server."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from client.project.manifest import LineRecord
from client.voice_server.api import Voice
from server.script.lines import Script
from server.script.names import line_file_names
from server.text.seed import seed_from


@dataclass(frozen=True)
class WantedLine:
    """A line as the current script wants it."""

    number: int
    text: str
    label: str
    heading: str
    paragraph: int
    file: str


@dataclass(frozen=True)
class PlannedLine:
    wanted: WantedLine
    kept: LineRecord | None
    """The finished recording that serves this line; None: it must be made."""
    current_name: str
    """Name that the recording's file has now; empty when there is none."""
    attempts: int
    """Takes that a line with this text has had before."""
    occurrence: int = 0
    """Number of lines before it in the script that have the same text."""


@dataclass(frozen=True)
class Plan:
    lines: tuple[PlannedLine, ...]
    stale: tuple[str, ...]
    """Files of earlier lines that no line wants any more."""
    other_voice: int
    """Number of whole recordings of the script's sentences by another voice."""

    @property
    def to_make(self) -> tuple[PlannedLine, ...]:
        return tuple(line for line in self.lines if line.kept is None)


def wanted_lines(script: Script) -> tuple[WantedLine, ...]:
    names = line_file_names([line.label_source for line in script.lines], [line.text for line in script.lines])
    return tuple(
        WantedLine(number, line.text, line.label_source, line.heading, line.paragraph, name)
        for number, (line, name) in enumerate(zip(script.lines, names, strict=True), start=1)
    )


def plan_lines(
    wanted: Sequence[WantedLine],
    language: str,
    voice: Voice,
    old: Sequence[LineRecord],
    files: Mapping[str, Sequence[str]],
    mix: bool,
) -> Plan:
    """Which recordings serve which lines, and what is left to make.

    old: the folder's records. files: SHA-256 to the names of the files that have it now. mix: recordings of another
    voice serve too.
    """
    whole = whole_recordings(old, files)
    attempts: dict[str, int] = defaultdict(int)
    for record in old:
        attempts[record.text] = max(attempts[record.text], record.attempts)

    def serves(record: LineRecord, line: WantedLine) -> bool:
        return record.text == line.text and record.language == language and (mix or record.spoken_by == voice)

    taken: dict[int, tuple[LineRecord, str]] = {}  # line number to recording
    free = list(whole)
    # A line whose number is unchanged keeps its own recording, even where its sentence stands twice.
    for same_number in (True, False):
        for line in wanted:
            if line.number in taken:
                continue
            for i, (record, _) in enumerate(free):
                if serves(record, line) and (not same_number or record.number == line.number):
                    taken[line.number] = free.pop(i)
                    break
    texts = {line.text for line in wanted}
    other_voice = sum(
        1
        for record, _ in free
        if record.text in texts
        and (record.engine, record.model, record.voice) != (voice.engine, voice.model, voice.voice)
    )
    lines = []
    said: Counter[str] = Counter()
    for line in wanted:
        kept, name = taken.get(line.number, (None, ""))
        lines.append(PlannedLine(line, kept, name, attempts[line.text], said[line.text]))
        said[line.text] += 1
    kept_names = {name for _, name in taken.values()}
    known = {record.file for record in old} | {name for _, name in whole}
    present = {name for names in files.values() for name in names}
    return Plan(tuple(lines), tuple(sorted((known & present) - kept_names)), other_voice)


def whole_recordings(old: Sequence[LineRecord], files: Mapping[str, Sequence[str]]) -> list[tuple[LineRecord, str]]:
    """Finished records whose file, known by its hash, is still there under any name; each file once."""
    made = [(i, record) for i, record in enumerate(old) if record.status == "made" and record.sha256]
    names: dict[int, str] = {}
    used: set[str] = set()
    # Two recordings may have the same bytes: each one first gets the file under its own name.
    for i, record in made:
        if record.file in files.get(record.sha256, ()) and record.file not in used:
            names[i] = record.file
            used.add(record.file)
    for i, record in made:
        free = [name for name in files.get(record.sha256, ()) if name not in used]
        if i not in names and free:
            names[i] = free[0]
            used.add(free[0])
    return [(record, names[i]) for i, record in made if i in names]


def line_seed(text: str, language: str, attempt: int, occurrence: int = 0) -> int:
    """The same for the same sentence and attempt, so that a line made again after a crash is the same take.

    occurrence: how often the sentence stands before this line; each repetition is another take.
    """
    words = f"{language}\0{text}\0{attempt}" + (f"\0{occurrence}" if occurrence else "")
    return seed_from(words)
