"""Which recording serves which line: the plan of a run. Pure; knows no file and no server."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from client.project.manifest import LineRecord
from client.voice_server.api import Voice
from server.script.lines import Line, Script
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


MAX_START_CHARS = 40
"""Characters of a recorded line by which the places where a passage may begin are found."""

MAX_PLACES = 20
"""Places that are tried for one passage: a script may say one sentence ten thousand times."""


def with_recorded_split(script: Script, records: Sequence[LineRecord]) -> Script:
    """The script with its sentences as they were recorded, wherever recorded lines put together are a passage's text.

    A better splitter must not disturb what is finished. A passage of which no line is made is split as it is now, and
    so is one with a line break or a label of its own that the recorded lines know nothing of. Linear in both.
    """
    said = ["".join(record.text.split()) for record in records]
    places: dict[str, list[int]] = defaultdict(list)
    for at, text in enumerate(said):
        if text and len(places[text[:MAX_START_CHARS]]) < MAX_PLACES:
            places[text[:MAX_START_CHARS]].append(at)
    lines: list[Line] = []
    following = 0  # where the next passage most likely stands
    for _, passage in groupby(script.lines, key=lambda line: line.passage):
        spoken = list(passage)
        run = _recorded_run("".join("".join(line.text.split()) for line in spoken), said, places, following)
        following = run.stop if run else following
        if any(records[at].status == "made" for at in run):
            lines += _split_as(spoken, [records[at].text for at in run])
        else:
            lines += spoken
    return replace(script, lines=tuple(lines))


def _recorded_run(text: str, said: Sequence[str], places: Mapping[str, Sequence[int]], following: int) -> range:
    """The recorded lines that put together are the text; empty where there are none."""
    elsewhere = (at for size in range(min(len(text), MAX_START_CHARS), 0, -1) for at in places.get(text[:size], ()))
    for first in (following, *elsewhere):
        at, end = first, 0
        while at < len(said) and said[at] and text.startswith(said[at], end):
            end += len(said[at])
            at += 1
            if end == len(text):
                return range(first, at)
    return range(0)


def _split_as(passage: Sequence[Line], texts: Sequence[str]) -> Iterator[Line]:
    """The passage's lines divided otherwise; the label stays with the first, each line begins where it really does."""
    begins = 0  # inked characters before the line of now, and before the recorded one
    places: list[int] = []
    for line in passage:
        places.append(begins)
        begins += len("".join(line.text.split()))
    begins, now = 0, 0
    for number, text in enumerate(texts):
        while now + 1 < len(places) and places[now + 1] <= begins:
            now += 1
        label = passage[0].label_source if number == 0 else ""
        yield replace(passage[now], text=text, label_source=label)
        begins += len("".join(text.split()))


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

    serving = [
        (record, name) for record, name in whole if record.language == language and (mix or record.spoken_by == voice)
    ]
    taken, free = _taken(wanted, serving)
    free += [
        (record, name)
        for record, name in whole
        if not (record.language == language and (mix or record.spoken_by == voice))
    ]
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


def _taken(
    wanted: Sequence[WantedLine], recordings: Sequence[tuple[LineRecord, str]]
) -> tuple[dict[int, tuple[LineRecord, str]], list[tuple[LineRecord, str]]]:
    """Line number to the recording of its text; and the recordings that are left."""
    # A line that stands where it stood keeps its own recording, also where the same sentence stands twice.
    places: dict[tuple[str, int], int] = {}
    for i, (record, _) in reversed(list(enumerate(recordings))):
        places[record.text, record.number] = i
    used = {line.number: places[line.text, line.number] for line in wanted if (line.text, line.number) in places}
    left = sorted(set(range(len(recordings))) - set(used.values()), reverse=True)
    by_text: dict[str, list[int]] = defaultdict(list)
    for i in left:
        by_text[recordings[i][0].text].append(i)
    for line in wanted:
        if line.number not in used and by_text[line.text]:
            used[line.number] = by_text[line.text].pop()
    gone = set(used.values())
    free = [recording for i, recording in enumerate(recordings) if i not in gone]
    return {number: recordings[i] for number, i in used.items()}, free


def whole_recordings(old: Sequence[LineRecord], files: Mapping[str, Sequence[str]]) -> list[tuple[LineRecord, str]]:
    """Finished records whose file, known by its hash, is still there under any name; each file once."""
    made = [(i, record) for i, record in enumerate(old) if record.status == "made" and record.sha256]
    names: dict[int, str] = {}
    used: set[str] = set()
    lying = {(digest, name) for digest, present in files.items() for name in present}
    # Two recordings may have the same bytes: each one first gets the file under its own name.
    for i, record in made:
        if (record.sha256, record.file) in lying and record.file not in used:
            names[i] = record.file
            used.add(record.file)
    free = {digest: iter([name for name in present if name not in used]) for digest, present in files.items()}
    for i, record in made:
        if i not in names and (name := next(free.get(record.sha256, iter(())), None)):
            names[i] = name
    return [(record, names[i]) for i, record in made if i in names]


def line_seed(text: str, language: str, attempt: int, occurrence: int = 0) -> int:
    """The same for the same sentence and attempt, so that a line made again after a crash is the same take.

    occurrence: how often the sentence stands before this line; each repetition is another take.
    """
    words = f"{language}\0{text}\0{attempt}" + (f"\0{occurrence}" if occurrence else "")
    return seed_from(words)
