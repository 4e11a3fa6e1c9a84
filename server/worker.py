"""The other side of the pipe: open the engine, speak line after line. May be killed at any moment; keeps nothing.

Run by the supervisor as `python -m server.worker`. Ends as soon as its standard input does, so that no worker outlives
its parent and holds the GPU, however the parent ended.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, Any

from server.audio import to_wav
from server.calibration import Calibration
from server.contract import Code
from server.engines import Engine, EngineSettings, open_engine
from server.errors import EngineUnusable, NarratorError
from server.messages import use_language
from server.pipe import PipeClosed, read_frame, write_frame
from server.suffix import dummy_for
from server.take import Line, TakeSettings, make_take, sound_fingerprint

EXIT_ASKED = 0
EXIT_UNUSABLE = 40
"""A setting or this machine is wrong: a new worker would fail the same way."""
EXIT_ENGINE_BROKEN = 42
"""The engine cannot be used again in this process; a new one can."""


def main() -> None:
    requests, replies = _take_over_stdio()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    inbox: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests, inbox), daemon=True).start()
    opening = inbox.get()
    use_language(opening["reader"])
    engine_settings = EngineSettings(**opening["engine"])
    take_settings = TakeSettings(**opening["take"])
    try:
        engine = open_engine(engine_settings, lambda step: write_frame(replies, {"is": "step", "text": step}))
    except EngineUnusable as error:
        write_frame(replies, {"is": "unusable", "sentence": str(error)})
        _end(EXIT_UNUSABLE)
    keep_in = engine_settings.prompt_dir
    calibration = Calibration(
        engine,
        # Draft takes cost nothing to make again.
        Path(keep_in) if keep_in and not engine.facts.draft else None,
        announce=lambda step: write_frame(replies, {"is": "step", "text": step}),
    )
    if take_settings.cut != "reference":
        calibration.takes(dummy_for(take_settings.language, "", take_settings.dummy_suffix), take_settings.language)
    # From here on a step would be taken for an answer; another language's dummy is said in silence.
    calibration.announce = lambda step: None
    sound = sound_fingerprint(engine.facts, take_settings)
    write_frame(replies, {"is": "ready", "facts": dataclasses.asdict(engine.facts) | {"sound": sound}})
    while True:
        request = inbox.get()
        if request["do"] == "stop":
            engine.close()
            _end(EXIT_ASKED)
        header, body = answer(engine, request, take_settings, calibration)
        write_frame(replies, header, body)


def answer(
    engine: Engine, request: dict[str, Any], settings: TakeSettings, calibration: Calibration
) -> tuple[dict[str, Any], bytes]:
    """One spoken line, or why not. Ends the process when the engine is beyond use."""
    line = Line(request["text"], request["language"], request["seed"])
    started = time.perf_counter()
    try:
        take = make_take(engine, line, settings, calibration)
    except NarratorError as error:
        return {"is": "failed", "id": request["id"], "code": error.code, "params": error.params}, b""
    except Exception as error:  # whatever breaks inside an engine, the request gets its answer
        traceback.print_exc()
        if is_beyond_use(error):
            _end(EXIT_ENGINE_BROKEN)
        return {"is": "failed", "id": request["id"], "code": Code.INTERNAL, "params": {}}, b""
    header = {
        "is": "done",
        "id": request["id"],
        "seed": take.seed,
        "takes": take.takes,
        "confidence": round(take.cut.confidence, 3),
        "dummy": take.cut.dummy,
        "doubtful": take.doubtful,
        "generation_seconds": time.perf_counter() - started,
        "audio_seconds": take.audio.seconds,
        "text_sha256": hashlib.sha256(line.text.encode("utf-8", "surrogatepass")).hexdigest(),
    }
    return header, to_wav(take.audio)


def is_beyond_use(error: BaseException) -> bool:
    """A CUDA error poisons its context for the life of the process (pytorch #17425); memory that ran out stays short.

    Told apart by name: this module does not import torch.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"AcceleratorError", "OutOfMemoryError", "MemoryError"}) or "CUDA" in str(error)


def _take_over_stdio() -> tuple[IO[bytes], IO[bytes]]:
    """The pipe's two ends; what libraries print goes to standard error instead."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, replies


def _read_requests(requests: IO[bytes], inbox: queue.Queue[dict[str, Any]]) -> None:
    while True:
        try:
            header, _ = read_frame(requests)
        except PipeClosed:
            _end(EXIT_ASKED)  # the parent has gone: stop at once, in the middle of a sentence if need be
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
