"""What the server and the client add to the engine's own work: ragged lines on the "overhead model".

    .venv/bin/python scripts/bench/bench_job.py [--lines 200]

The overhead model has the real depth, a tiny width and random weights: it babbles, and its takes have random but
repeatable lengths. Both arms speak the same lines with the same seeds, and judge, cut and retake them in the same way:
first the worker's LineSessions alone in this process, then `narrate run` against `voice-server`. Loopback only.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import queue
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from client.project.plan import line_seed
from client.voice_server.local import local_server, wait_until_listening
from server.engines import EngineSettings, open_engine
from server.script.lines import parse_script
from server.takes.calibration import Calibration
from server.takes.dummy import dummy_for
from server.takes.line import prepare_line
from server.takes.take import TakeSettings
from server.worker.lines import LineSessions

ROOT = Path(__file__).resolve().parents[2]
WORDS = "오늘 우리는 작은 골목 끝에서 아주 오래된 빵집을 찾아 천천히 걸어가며 이야기를 나누었습니다".split()
MAX_TAKES = "2"


class Done(BaseException):
    """The inbox is empty."""


class Inbox(queue.Queue[dict[str, Any]]):
    def get(self, block: bool = True, timeout: float | None = None) -> dict[str, Any]:
        if block and self.empty():
            raise Done
        return super().get(block, timeout)


def ragged_script(lines: int) -> str:
    chance = random.Random(1)
    return "\n".join(" ".join(chance.choices(WORDS, k=chance.randint(2, 14))) + f" {n}번." for n in range(1, lines + 1))


def reference(folder: Path) -> Path:
    """Three seconds of a gliding tone with a syllable's rhythm."""
    at = np.arange(3 * 24_000) / 24_000
    tone = np.sin(2 * np.pi * (140 * at + 3 * np.sin(2 * np.pi * 3 * at))) * (0.55 + 0.45 * np.sin(8 * np.pi * at))
    soundfile.write(folder / "reference.wav", 0.2 * tone, 24_000)
    return folder / "reference.wav"


def sessions_alone(settings: EngineSettings, script: str) -> tuple[float, int]:
    """Seconds for all lines, and the number of lines that were answered with audio."""
    engine = open_engine(settings, lambda step: None)
    takes = TakeSettings(max_takes=int(MAX_TAKES))
    calibration = Calibration(engine, None)
    calibration.takes(dummy_for("Korean", ""), "Korean")
    inbox: queue.Queue[dict[str, Any]] = Inbox()
    for number, line in enumerate(parse_script(script, markdown=False, language="Korean").lines, 1):
        prepared = prepare_line(line.text, "Korean", line_seed(line.text, "Korean", 0))
        inbox.put({"do": "speak", "id": number, **dataclasses.asdict(prepared)})
    made = []
    sessions = LineSessions(
        engine, takes, calibration, inbox, set(), lambda header, body: made.append(header["is"] == "done")
    )
    started = time.perf_counter()
    with contextlib.suppress(Done):
        sessions.work()
    return time.perf_counter() - started, sum(made)


def through_server(folder: Path, settings: EngineSettings, script: str) -> tuple[float, int]:
    """Seconds of `narrate run`, and the number of WAV files that it wrote."""
    file = folder / "script.txt"
    file.write_text(script, "utf-8")
    ours = {
        "MODEL": settings.model,
        "REF_AUDIO": settings.ref_audio,
        "REF_TEXT": settings.ref_text,
        "DEVICE": "cpu",
        "MAX_TAKES": MAX_TAKES,
        "PROMPT_DIR": settings.prompt_dir,
    }
    with local_server(folder / "server.log", engine="qwen", settings=ours) as server:
        wait_until_listening(server, folder / "server.log")
        words = [sys.executable, "-m", "client", "run", str(file), "--project", "job", "--language", "ko"]
        ours = {"NARRATE_SERVER": server.address, "NARRATE_KEY": server.key, "NARRATE_OUTPUT": str(folder / "output")}
        environment = {**os.environ, **ours}
        # A first run of one line: the server has then loaded its model before the clock starts.
        first = folder / "first.txt"
        first.write_text("처음입니다.", "utf-8")
        subprocess.run([*words[:4], str(first), *words[5:]], env=environment, stdout=subprocess.DEVNULL, check=False)
        started = time.perf_counter()
        subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=False)
        seconds = time.perf_counter() - started
    # The newest folder is the job's; an older one holds the single line.
    newest = max((folder / "output").glob("*/project.json"), key=lambda file: file.stat().st_mtime)
    return seconds, len(list(newest.parent.glob("*.wav")))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lines", type=int, default=200)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # tests/support has the builder of the random model.
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    import torch
    from loops import build_deep

    torch.set_num_threads(1)
    script = ragged_script(args.lines)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = EngineSettings(
            engine="qwen",
            model=str(build_deep(folder / "model")),
            ref_audio=str(reference(folder)),
            ref_text="나는 오늘도 천천히 길을 걷는다.",
            device="cpu",
            prompt_dir=str(folder / "voices"),
        )
        alone_s, alone = sessions_alone(settings, script)
        print(f"engine, checks and cut alone: {alone_s:.1f} s, {alone} of {args.lines} lines spoken")
        server_s, served = through_server(folder, settings, script)
        print(f"through server and client:    {server_s:.1f} s, {served} lines spoken")
        print(f"longer by {100 * (server_s / alone_s - 1):.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
