"""The worker's side of the pipe: lines come in, rows go to the engine, takes are judged, answers go out."""

from __future__ import annotations

import dataclasses
import hashlib
import queue
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from server.audio.samples import Audio, to_wav
from server.contract.codes import ErrorCode
from server.engines import Engine, TakeRequest
from server.errors import NarratorError, TakeFailed
from server.takes.calibration import Calibration
from server.takes.dummy import dummy_for
from server.takes.take import Line, LineTakes, TakeSettings
from server.text.normalise import normalise
from server.worker.exits import EXIT_ASKED, EXIT_ENGINE_BROKEN, end_process


@dataclasses.dataclass
class _Open:
    """A line that is being spoken."""

    takes: LineTakes
    started: float
    """time.perf_counter() when it reached the engine"""


@dataclasses.dataclass
class LineSessions:
    """Between the pipe and the engine: lines come in, rows go to the engine, takes are judged, answers go out."""

    engine: Engine
    settings: TakeSettings
    calibration: Calibration
    inbox: queue.Queue[dict[str, Any]]
    cancelled: set[int]
    """Requests whose callers have gone; filled by the reading thread."""
    reply: Callable[[dict[str, Any], bytes], None]
    _open: dict[int, _Open] = dataclasses.field(default_factory=dict)
    _again: deque[int] = dataclasses.field(default_factory=deque)
    """Lines that need a take, the first or another one."""
    _held: dict[str, Any] | None = None
    """A request whose dummy must be calibrated first, which needs the engine for itself."""

    def work(self) -> None:
        """Until the parent says stop."""
        while True:
            if self._held is None:
                self._held = self._next_request(wait=True)
            if self._held is None:
                continue
            request, self._held = self._held, None
            self._begin(request)
            if self._open:
                self._speak()

    def _speak(self) -> None:
        """Until no line is open. Ends the process when the engine is beyond use."""
        try:
            if hasattr(self.engine, "speak_rows"):
                self.engine.speak_rows(self._more, self._deliver, self.cancelled.__contains__)
            else:
                self._one_by_one()
        except Exception as error:  # whatever breaks inside an engine, the requests get their answers
            traceback.print_exc()
            if is_beyond_use(error):
                end_process(EXIT_ENGINE_BROKEN)
            for number in list(self._open):
                self._close(number, {"is": "failed", "code": ErrorCode.INTERNAL, "params": {}})

    def _one_by_one(self) -> None:
        """The rows for an engine that speaks one at a time."""
        while rows := self._more(1):
            for number, row in rows:
                try:
                    spoken: Audio | TakeFailed = self.engine.speak(row.text, row.language, row.seed)
                except TakeFailed as failure:
                    spoken = failure
                except NarratorError as error:
                    self._refuse(number, error)
                    continue
                self._deliver(number, spoken)

    def _more(self, free: int) -> list[tuple[int, TakeRequest]]:
        """Up to so many rows to begin with now; the engine calls this whenever rows are free."""
        for number in [number for number in self._open if number in self.cancelled]:
            self._close(number, {"is": "cancelled"})
        rows: list[tuple[int, TakeRequest]] = []
        self._take_from_again(rows, free)
        while len(rows) < free and self._held is None and (request := self._next_request(wait=False)) is not None:
            if not self._is_calibrated(request):
                self._held = request  # spoken when the rows that run now have ended
                break
            self._begin(request)
            self._take_from_again(rows, free)
        return rows

    def _take_from_again(self, rows: list[tuple[int, TakeRequest]], free: int) -> None:
        while self._again and len(rows) < free:
            number = self._again.popleft()
            if number in self._open:
                rows.append((number, self._open[number].takes.row()))

    def _next_request(self, wait: bool) -> dict[str, Any] | None:
        try:
            request = self.inbox.get(block=wait)
        except queue.Empty:
            return None
        if request["do"] == "stop":
            self.engine.close()
            end_process(EXIT_ASKED)
        if request["id"] in self.cancelled:
            self.reply({"is": "cancelled", "id": request["id"]}, b"")
            return None
        return request

    def _is_calibrated(self, request: dict[str, Any]) -> bool:
        if self.settings.cut == "reference":
            return True
        try:
            text = normalise(request["text"], request["language"])  # the dummy is chosen by what is spoken
        except NarratorError:
            return True  # to be refused, which needs no calibration
        dummy = dummy_for(request["language"], text, self.settings.dummy_suffix)
        return self.calibration.knows(dummy, request["language"])

    def _begin(self, request: dict[str, Any]) -> None:
        """Opens a line, or refuses it."""
        line = Line(request["text"], request["language"], request["seed"])
        try:
            takes = LineTakes(line, self.settings, self.calibration)
        except NarratorError as error:
            self._refuse(request["id"], error)
            return
        except Exception as error:  # calibration uses the engine: whatever breaks there, this request is answered
            traceback.print_exc()
            if is_beyond_use(error):
                end_process(EXIT_ENGINE_BROKEN)
            self._close(request["id"], {"is": "failed", "code": ErrorCode.INTERNAL, "params": {}})
            return
        self._open[request["id"]] = _Open(takes, time.perf_counter())
        self._again.append(request["id"])

    def _refuse(self, number: int, error: NarratorError) -> None:
        self._close(number, {"is": "failed", "code": error.code, "params": error.params})

    def _deliver(self, number: int, spoken: Audio | TakeFailed) -> None:
        """What came of a row: enough, or once more."""
        line = self._open.get(number)
        if line is None:
            return
        try:
            take = line.takes.add(spoken)
        except NarratorError as error:
            self._refuse(number, error)
            return
        if take is None:
            self._again.append(number)
            return
        header = {
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
            "text_sha256": hashlib.sha256(line.takes.line.text.encode("utf-8", "surrogatepass")).hexdigest(),
        }
        self._close(number, header, to_wav(take.audio))

    def _close(self, number: int, header: dict[str, Any], body: bytes = b"") -> None:
        self._open.pop(number, None)
        self.reply({**header, "id": number}, body)


def is_beyond_use(error: BaseException) -> bool:
    """A CUDA error poisons its context for the life of the process (pytorch #17425); memory that ran out stays short.

    Told apart by name: this module does not import torch.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    said = str(error)
    return bool(names & {"AcceleratorError", "OutOfMemoryError", "MemoryError"}) or "CUDA" in said or "cuDNN" in said
