"""A run on the screen: progress bar, plain lines, JSON, log file, and the summary at its end."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from client.project.files import held_sentence
from client.project.manifest import LineRecord
from client.project.plan import PlannedLine
from client.run.report import RunReport, Summary
from server.terminal.messages import t

WAITING_REMINDER_S = 60.0
"""Plain output says that the run still waits no more often than this."""


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`"""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def shortened(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 3] + "..."


def line_sentence(line: PlannedLine, record: LineRecord, placed: bool) -> str:
    doubt = "  " + t("(doubtful)") if record.doubtful else ""
    waits = "" if placed else "  " + t("(saved, waits for its place: another program holds the file)")
    return f"{record.file}  {record.duration:.1f} s  {shortened(line.wanted.text, 50)}{doubt}{waits}"


def waiting_sentence(sentence: str, waited_s: float, limit_s: float) -> str:
    return t(
        "Waiting ({time} of at most {limit}): {sentence}",
        time=duration(waited_s),
        limit=duration(limit_s),
        sentence=sentence,
    )


class Reminder:
    """Decides when it is time to repeat that the run still waits."""

    def __init__(self) -> None:
        self._last_s = float("-inf")

    def is_due(self, waited_s: float) -> bool:
        due = waited_s - self._last_s >= WAITING_REMINDER_S or waited_s < self._last_s
        if due:
            self._last_s = waited_s
        return due

    def reset(self) -> None:
        self._last_s = float("-inf")


class PlainReport:
    """One line for each thing that happens; for logs, pipes and consoles that cannot move the cursor."""

    def __init__(self, out: Any = None) -> None:
        self.out = out or sys.stdout
        self.total = 0
        self.done = 0
        self.reminder = Reminder()

    def note(self, sentence: str) -> None:
        print(sentence, file=self.out, flush=True)

    def begin(self, lines: int, to_make: int) -> None:
        self.total, self.done = lines, lines - to_make

    def waiting(self, sentence: str, waited_s: float, limit_s: float) -> None:
        if self.reminder.is_due(waited_s):
            self.note(waiting_sentence(sentence, waited_s, limit_s))

    def server_back(self) -> None:
        self.reminder.reset()
        self.note(t("The server answers; going on."))

    def line_started(self, line: PlannedLine) -> None:
        pass

    def line_made(self, line: PlannedLine, record: LineRecord, eta_s: float, placed: bool) -> None:
        self.done += 1
        progress = t("{done}/{total}, {left} left", done=self.done, total=self.total, left=duration(eta_s))
        self.note(f"[{progress}] {line_sentence(line, record, placed)}")

    def line_failed(self, line: PlannedLine, sentence: str) -> None:
        self.done += 1
        self.note(t("Line {number} failed: {sentence}", number=line.wanted.number, sentence=sentence))

    def end(self, summary: Summary) -> None:
        console = Console(file=self.out, highlight=False, soft_wrap=True)
        show_summary(summary, console)


class BarReport:
    """A progress bar with the remaining time below the lines that are finished."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.description}", markup=False),
            console=console,
        )
        self.task: TaskID | None = None
        self.current: dict[int, str] = {}
        self.eta = ""
        self.reminder = Reminder()

    def note(self, sentence: str) -> None:
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def begin(self, lines: int, to_make: int) -> None:
        self.task = self.progress.add_task("", total=lines, completed=lines - to_make)
        self.progress.start()

    def _show(self, text: str = "") -> None:
        if self.task is not None:
            now = next(iter(self.current.values()), "")
            parts = [part for part in (self.eta, text or now) if part]
            self.progress.update(self.task, description="  ".join(parts))

    def waiting(self, sentence: str, waited_s: float, limit_s: float) -> None:
        text = waiting_sentence(sentence, waited_s, limit_s)
        if self.task is not None:
            self._show(text)
        elif self.reminder.is_due(waited_s):
            self.note(text)

    def server_back(self) -> None:
        self.reminder.reset()
        self.note(t("The server answers; going on."))
        self._show()

    def line_started(self, line: PlannedLine) -> None:
        self.current[line.wanted.number] = f"{line.wanted.number:03} {shortened(line.wanted.text, 30)}"
        self._show()

    def _advance(self, number: int) -> None:
        self.current.pop(number, None)
        if self.task is not None:
            self.progress.advance(self.task)
        self._show()

    def line_made(self, line: PlannedLine, record: LineRecord, eta_s: float, placed: bool) -> None:
        self.eta = t("{left} left", left=duration(eta_s))
        self.note(line_sentence(line, record, placed))
        self._advance(line.wanted.number)

    def line_failed(self, line: PlannedLine, sentence: str) -> None:
        self.note(t("Line {number} failed: {sentence}", number=line.wanted.number, sentence=sentence))
        self._advance(line.wanted.number)

    def end(self, summary: Summary) -> None:
        self.progress.stop()
        show_summary(summary, self.console)


class JsonReport:
    """One JSON object a line on standard output."""

    def _tell(self, event: str, **values: Any) -> None:
        print(json.dumps({"event": event, "time": round(time.time(), 3), **values}, ensure_ascii=False), flush=True)

    def note(self, sentence: str) -> None:
        self._tell("note", sentence=sentence)

    def begin(self, lines: int, to_make: int) -> None:
        self._tell("begin", lines=lines, to_make=to_make)

    def waiting(self, sentence: str, waited_s: float, limit_s: float) -> None:
        self._tell("waiting", sentence=sentence, waited_s=round(waited_s, 1), limit_s=round(limit_s, 1))

    def server_back(self) -> None:
        self._tell("server_back")

    def line_started(self, line: PlannedLine) -> None:
        self._tell("line_started", number=line.wanted.number)

    def line_made(self, line: PlannedLine, record: LineRecord, eta_s: float, placed: bool) -> None:
        self._tell("line_made", eta_s=round(eta_s, 1), placed=placed, **record.model_dump())

    def line_failed(self, line: PlannedLine, sentence: str) -> None:
        self._tell("line_failed", number=line.wanted.number, sentence=sentence)

    def end(self, summary: Summary) -> None:
        self._tell(
            "end",
            folder=str(summary.folder),
            lines=summary.lines,
            kept=summary.kept,
            made=summary.made,
            failed=[record.number for record in summary.failed],
            left=summary.left,
            unplaced=list(summary.unplaced),
            held=[str(file) for file in summary.held],
            doubtful=[record.number for record in summary.doubtful],
            audio_seconds=round(summary.audio_seconds, 3),
            wall_seconds=round(summary.wall_seconds, 1),
            draft=summary.draft,
        )


def show_summary(summary: Summary, console: Console) -> None:
    def line(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    line("")
    if summary.failed:
        table = Table(show_edge=False, box=None, pad_edge=False)
        for title in (t("No."), t("Sentence"), t("Why it failed")):
            table.add_column(title, overflow="fold")
        for record in summary.failed:
            table.add_row(f"{record.number:03}", shortened(record.text, 40), record.error)
        console.print(table, markup=False)
        line("")
    for sentence in summary.see:
        line(sentence)
    line(
        t(
            "{done} of {lines} lines are finished ({made} made now, {kept} kept), {failed} failed, {left} left.",
            done=summary.made + summary.kept,
            lines=summary.lines,
            made=summary.made,
            kept=summary.kept,
            failed=len(summary.failed),
            left=summary.left,
        )
    )
    line(
        t(
            "Audio: {audio}. This run: {wall}.",
            audio=duration(summary.audio_seconds),
            wall=duration(summary.wall_seconds),
        )
    )
    if summary.doubtful:
        numbers = ", ".join(f"{record.number:03}" for record in summary.doubtful)
        line(
            t(
                "Listen to these lines, their endings are doubtful: {numbers}. To have one spoken anew, delete its WAV "
                "and run the same command again.",
                numbers=numbers,
            )
        )
    if summary.unplaced:
        line(
            t(
                "Finished, but not in their place yet; the next run puts them there and makes nothing again: {names}",
                names=", ".join(summary.unplaced),
            )
        )
    if summary.held:
        line(held_sentence(summary.held))
    if summary.draft:
        line(t("This is DRAFT speech, a robot voice: not for publication."))
    line(t("Folder: {folder}", folder=summary.folder))
    if summary.failed or summary.left or summary.unplaced:
        line(t("To go on, run: {command}", command=summary.command))


class LoggedReport:
    """Passes every event to two reports: the one on the screen and the plain one in run.log."""

    def __init__(self, screen: RunReport, log: PlainReport) -> None:
        self.both: tuple[RunReport, RunReport] = (screen, log)

    def note(self, sentence: str) -> None:
        for each in self.both:
            each.note(sentence)

    def begin(self, lines: int, to_make: int) -> None:
        for each in self.both:
            each.begin(lines, to_make)

    def waiting(self, sentence: str, waited_s: float, limit_s: float) -> None:
        for each in self.both:
            each.waiting(sentence, waited_s, limit_s)

    def server_back(self) -> None:
        for each in self.both:
            each.server_back()

    def line_started(self, line: PlannedLine) -> None:
        for each in self.both:
            each.line_started(line)

    def line_made(self, line: PlannedLine, record: LineRecord, eta_s: float, placed: bool) -> None:
        for each in self.both:
            each.line_made(line, record, eta_s, placed)

    def line_failed(self, line: PlannedLine, sentence: str) -> None:
        for each in self.both:
            each.line_failed(line, sentence)

    def end(self, summary: Summary) -> None:
        for each in self.both:
            each.end(summary)


def choose_report(as_json: bool, is_terminal: bool) -> RunReport:
    if as_json:
        return JsonReport()
    if is_terminal:
        return BarReport(Console(highlight=False))
    return PlainReport()
