"""The worker's process: opens the engine, then speaks line after line. May be killed at any moment; keeps nothing.

The supervisor runs it as `python -m server.worker`. It ends as soon as its standard input does: however the parent
ended, no worker outlives it and holds the GPU.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import IO, Any

from server.engines import EngineSettings, open_engine
from server.errors import EngineUnusable
from server.takes.calibration import Calibration
from server.takes.dummy import dummy_for
from server.takes.take import TakeSettings, sound_fingerprint
from server.terminal.exit_codes import ExitCode
from server.terminal.messages import use_language
from server.terminal.troubleshooting import with_entry
from server.worker.exits import PARENT, die_with_parent, end_process
from server.worker.frames import PipeClosed, read_frame, write_frame
from server.worker.lines import LineSessions


def main() -> None:
    if PARENT in os.environ:
        die_with_parent(int(os.environ[PARENT]))
    requests, replies = _take_over_stdio()
    log_to_stderr()
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
        write_frame(replies, {"is": "unusable", "sentence": with_entry(error)})
        end_process(ExitCode.UNUSABLE)
    keep_in = engine_settings.prompt_dir
    # Draft speech keeps no takes on disk: making them again takes no time.
    calibration = Calibration(engine, Path(keep_in) if keep_in and not engine.facts.draft else None, tell_step)
    if take_settings.cut != "reference":
        calibration.takes(dummy_for(take_settings.language, "", take_settings.dummy_suffix), take_settings.language)
    # After `ready` the parent takes each frame for an answer, so calibration of another language is not announced.
    calibration.announce = lambda step: None
    facts = dataclasses.replace(engine.facts, sound=sound_fingerprint(engine.facts, take_settings))
    write_frame(replies, {"is": "ready", "facts": dataclasses.asdict(facts)})
    LineSessions(
        engine, take_settings, calibration, inbox, cancelled, lambda head, body: write_frame(replies, head, body)
    ).work()


def _take_over_stdio() -> tuple[IO[bytes], IO[bytes]]:
    """Requests and replies: standard input and output. What libraries print goes to standard error from here on."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, replies


def log_to_stderr() -> None:
    """This project's log lines go to the parent's log. The libraries' do not: their INFO lines would drown ours."""
    ours = logging.getLogger("server")
    ours.addHandler(logging.StreamHandler(sys.stderr))
    ours.setLevel(logging.INFO)


def _read_requests(requests: IO[bytes], inbox: queue.Queue[dict[str, Any]], cancelled: set[int]) -> None:
    """A thread of its own, so that a cancelled line is known while the engine speaks."""
    while True:
        try:
            header, _ = read_frame(requests)
        except PipeClosed:
            end_process(ExitCode.OK)  # the parent has gone: stop at once, in the middle of a sentence if need be
        if header["do"] == "cancel":
            cancelled.add(header["id"])
        else:
            inbox.put(header)


if __name__ == "__main__":
    try:
        main()
    except PipeClosed:
        os._exit(ExitCode.OK)
