"""The worker's side of the pipe: lines come in, takes are asked of the engine and judged, answers go out."""

from __future__ import annotations

import queue
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from server.audio.samples import Audio, to_wav
from server.contract.codes import ErrorCode
from server.engines import Engine, TakeRequest
from server.errors import NarratorError, TakeFailed
from server.takes.calibration import Calibration
from server.takes.line import PreparedLine, line_from_json
from server.takes.take import LineTakes, Take, TakeSettings
from server.terminal.exit_codes import ExitCode
from server.worker.exits import end_process


@dataclass(frozen=True)
class Arrived:
    """A line that the parent sent and no take has been asked for."""

    number: int
    line: PreparedLine


@dataclass
class OpenLine:
    """A line that is being spoken."""

    takes: LineTakes
    started: float
    """time.perf_counter() when it was opened"""


@dataclass
class LineSessions:
    """Each line from its arrival to its answer. Lines are told apart by the numbers that the parent gave them."""

    engine: Engine
    settings: TakeSettings
    calibration: Calibration
    inbox: queue.Queue[dict[str, Any]]
    """Headers of the parent's frames, `speak` and `stop`"""
    cancelled: set[int]
    """Lines whose callers have gone; filled by the reading thread."""
    reply: Callable[[dict[str, Any], bytes], None]
    """Sends a frame to the parent."""
    _open: dict[int, OpenLine] = field(default_factory=dict)
    _wanting: deque[int] = field(default_factory=deque)
    """Lines that need a take, the first or another one."""
    _held: Arrived | None = None
    """A line whose dummy must be calibrated first, which needs the engine for itself."""

    def work(self) -> None:
        """Until the parent says stop."""
        while True:
            if self._held is None:
                self._held = self._next_line(wait=True)
            if self._held is None:
                continue
            arrived, self._held = self._held, None
            self._begin(arrived)
            if self._open:
                self._speak()

    def _speak(self) -> None:
        """Until no line is open. Ends the process when the engine is beyond use."""
        try:
            if hasattr(self.engine, "speak_rows"):
                self.engine.speak_rows(self._more, self._deliver, self.cancelled.__contains__)
            else:
                self._one_by_one()
        except Exception as error:  # whatever breaks inside an engine, the lines get their answers
            traceback.print_exc()
            if is_beyond_use(error):
                end_process(ExitCode.BROKEN)
            for number in list(self._open):
                self._fail(number)

    def _one_by_one(self) -> None:
        """For engines without speak_rows."""
        while requests := self._more(1):
            for number, request in requests:
                try:
                    audio: Audio | TakeFailed = self.engine.speak(request.text, request.language, request.seed)
                except TakeFailed as failure:
                    audio = failure
                except NarratorError as error:
                    self._refuse(number, error)
                    continue
                self._deliver(number, audio)

    def _more(self, free: int) -> list[tuple[int, TakeRequest]]:
        """Up to `free` takes to begin now, each with its line's number; the engine calls this when rows are free."""
        for number in [number for number in self._open if number in self.cancelled]:
            self._close(number, {"is": "cancelled"})
        requests: list[tuple[int, TakeRequest]] = []
        self._add_wanting(requests, free)
        while len(requests) < free and self._held is None and (arrived := self._next_line(wait=False)) is not None:
            if not self._is_calibrated(arrived.line):
                self._held = arrived  # begun when the takes that run now have ended
                break
            self._begin(arrived)
            self._add_wanting(requests, free)
        return requests

    def _add_wanting(self, requests: list[tuple[int, TakeRequest]], free: int) -> None:
        while self._wanting and len(requests) < free:
            number = self._wanting.popleft()
            if number in self._open:
                requests.append((number, self._open[number].takes.request()))

    def _next_line(self, wait: bool) -> Arrived | None:
        """None: nothing is there, or what is there has been cancelled. Ends the process when the parent says stop."""
        try:
            header = self.inbox.get(block=wait)
        except queue.Empty:
            return None
        if header["do"] == "stop":
            self.engine.close()
            end_process(ExitCode.OK)
        if header["id"] in self.cancelled:
            self.reply({"is": "cancelled", "id": header["id"]}, b"")
            return None
        return Arrived(header["id"], line_from_json(header))

    def _is_calibrated(self, line: PreparedLine) -> bool:
        return self.settings.cut == "reference" or self.calibration.knows(line.dummy, line.language)

    def _begin(self, arrived: Arrived) -> None:
        try:
            takes = LineTakes(arrived.line, self.settings, self.calibration)
        except NarratorError as error:
            self._refuse(arrived.number, error)
            return
        except Exception as error:  # calibration uses the engine: whatever breaks there, this line is answered
            traceback.print_exc()
            if is_beyond_use(error):
                end_process(ExitCode.BROKEN)
            self._fail(arrived.number)
            return
        self._open[arrived.number] = OpenLine(takes, time.perf_counter())
        self._wanting.append(arrived.number)

    def _deliver(self, number: int, audio: Audio | TakeFailed) -> None:
        """A take has ended: the line is answered, or wants another take."""
        line = self._open.get(number)
        if line is None:
            return
        try:
            take = line.takes.add(audio)
        except NarratorError as error:
            self._refuse(number, error)
            return
        if take is None:
            self._wanting.append(number)
            return
        self._close(number, self._done(line, take), to_wav(take.audio))

    def _done(self, line: OpenLine, take: Take) -> dict[str, Any]:
        """The answer's header, which answers.py reads."""
        return {
            "is": "done",
            "seed": take.seed,
            "takes": take.takes,
            "confidence": round(take.cut.confidence, 3),
            "dummy": take.cut.dummy,
            "doubtful": take.doubtful,
            "generation_seconds": time.perf_counter() - line.started,
            "audio_seconds": take.audio.seconds,
            "spoken_seconds": take.spoken_seconds,
            "memory_bytes": self.engine.memory_bytes(),
            "text_sha256": line.takes.line.sha256,
        }

    def _refuse(self, number: int, error: NarratorError) -> None:
        self._close(number, {"is": "failed", "code": error.code, "params": error.params})

    def _fail(self, number: int) -> None:
        self._close(number, {"is": "failed", "code": ErrorCode.INTERNAL, "params": {}})

    def _close(self, number: int, header: dict[str, Any], body: bytes = b"") -> None:
        self._open.pop(number, None)
        self.reply({**header, "id": number}, body)


def is_beyond_use(error: BaseException) -> bool:
    """A CUDA error poisons its context for the life of the process (pytorch #17425); memory that ran out stays short.

    The error is recognised by its name: this module does not import torch.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    said = str(error)
    return bool(names & {"AcceleratorError", "OutOfMemoryError", "MemoryError"}) or "CUDA" in said or "cuDNN" in said
