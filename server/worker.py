"""The other side of the pipe: open the engine, speak line after line. May be killed at any moment; keeps nothing.

Run by the supervisor as `python -m server.worker`. Ends as soon as its standard input does, so that no worker outlives
its parent and holds the GPU, however the parent ended.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from server.audio import Audio, to_wav
from server.calibration import Calibration
from server.contract import Code
from server.engines import Engine, EngineSettings, Row, open_engine
from server.errors import EngineUnusable, NarratorError, TakeFailed
from server.messages import use_language
from server.orphans import PARENT, die_with_parent
from server.pipe import PipeClosed, read_frame, write_frame
from server.suffix import dummy_for
from server.take import Line, LineTakes, TakeSettings, sound_fingerprint
from server.text import normalise

EXIT_ASKED = 0
EXIT_UNUSABLE = 40
"""A setting or this machine is wrong: a new worker would fail the same way."""
EXIT_ENGINE_BROKEN = 42
"""The engine cannot be used again in this process; a new one can."""


def main() -> None:
    if PARENT in os.environ:
        die_with_parent(int(os.environ[PARENT]))
    requests, replies = _take_over_stdio()
    _log_to_stderr()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    inbox: queue.Queue[dict[str, Any]] = queue.Queue()
    cancelled: set[int] = set()
    threading.Thread(target=_read_requests, args=(requests, inbox, cancelled), daemon=True).start()
    opening = inbox.get()
    use_language(opening["reader"])
    engine_settings = EngineSettings(**opening["engine"])
    take_settings = TakeSettings(**opening["take"])

    def tell_step(step: str) -> None:
        write_frame(replies, {"is": "step", "text": step})

    try:
        engine = open_engine(engine_settings, tell_step)
    except EngineUnusable as error:
        write_frame(replies, {"is": "unusable", "sentence": str(error)})
        _end(EXIT_UNUSABLE)
    keep_in = engine_settings.prompt_dir
    # Draft takes cost nothing to make again.
    calibration = Calibration(engine, Path(keep_in) if keep_in and not engine.facts.draft else None, tell_step)
    if take_settings.cut != "reference":
        calibration.takes(dummy_for(take_settings.language, "", take_settings.dummy_suffix), take_settings.language)
    # From here on a step would be taken for an answer; another language's dummy is said in silence.
    calibration.announce = lambda step: None
    sound = sound_fingerprint(engine.facts, take_settings)
    write_frame(replies, {"is": "ready", "facts": dataclasses.asdict(engine.facts) | {"sound": sound}})
    Desk(
        engine, take_settings, calibration, inbox, cancelled, lambda head, body: write_frame(replies, head, body)
    ).work()


@dataclasses.dataclass
class _Open:
    """A line that is being spoken."""

    takes: LineTakes
    started: float
    """time.perf_counter() when it reached the engine"""


@dataclasses.dataclass
class Desk:
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
                _end(EXIT_ENGINE_BROKEN)
            for number in list(self._open):
                self._close(number, {"is": "failed", "code": Code.INTERNAL, "params": {}})

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

    def _more(self, free: int) -> list[tuple[int, Row]]:
        """Up to so many rows to begin with now; the engine calls this whenever rows are free."""
        for number in [number for number in self._open if number in self.cancelled]:
            self._close(number, {"is": "cancelled"})
        rows: list[tuple[int, Row]] = []
        self._take_from_again(rows, free)
        while len(rows) < free and self._held is None and (request := self._next_request(wait=False)) is not None:
            if not self._is_calibrated(request):
                self._held = request  # spoken when the rows that run now have ended
                break
            self._begin(request)
            self._take_from_again(rows, free)
        return rows

    def _take_from_again(self, rows: list[tuple[int, Row]], free: int) -> None:
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
            _end(EXIT_ASKED)
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
                _end(EXIT_ENGINE_BROKEN)
            self._close(request["id"], {"is": "failed", "code": Code.INTERNAL, "params": {}})
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


def _take_over_stdio() -> tuple[IO[bytes], IO[bytes]]:
    """The pipe's two ends; what libraries print goes to standard error instead."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, replies


def _log_to_stderr() -> None:
    """What our modules log, to the parent's log; the libraries' own INFO lines would drown it."""
    ours = logging.getLogger("server")
    ours.addHandler(logging.StreamHandler(sys.stderr))
    ours.setLevel(logging.INFO)


def _read_requests(requests: IO[bytes], inbox: queue.Queue[dict[str, Any]], cancelled: set[int]) -> None:
    while True:
        try:
            header, _ = read_frame(requests)
        except PipeClosed:
            _end(EXIT_ASKED)  # the parent has gone: stop at once, in the middle of a sentence if need be
        if header["do"] == "cancel":
            cancelled.add(header["id"])
        else:
            inbox.put(header)


def _end(code: int) -> Any:
    """Not sys.exit: tearing down CUDA can hang, and there is nothing to save."""
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    try:
        main()
    except PipeClosed:
        os._exit(EXIT_ASKED)
