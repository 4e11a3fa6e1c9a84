"""How often the delivered line ends in the true gap: draft speech through a real server, ten languages.

    .venv/bin/python scripts/bench/bench_draft.py [--takes 100] [--languages ko,en] [--cut calibrated|reference]

The draft engine is deterministic in text and seed, so each take is spoken a second time here, with the offsets that
the server's cut never sees. A line is exact when its last sample before the added silence lies between the sentence's
last sound and the dummy's first one; clipped when it ends earlier, leaked when later. The head is exact when nothing
audible was taken off in front. Draft speech has silence of digital zeros in its pauses: a real voice is harder.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import platform
import sys
import tempfile
import time
import wave
from collections import Counter
from pathlib import Path

import numpy as np

from client.run.patience import Patience, patiently, ready_server
from client.run.screen import PlainReport
from client.voice_server.api import Speech, VoiceServer
from client.voice_server.local import local_server, wait_until_listening
from server.audio.samples import Samples
from server.cut.trim import TAIL_SILENCE_S
from server.engines import EngineSettings
from server.engines.draft.engine import DraftEngine, open_draft, true_gap
from server.takes.dummy import dummy_for, join
from server.text.languages import LANGUAGES
from server.text.normalise import normalise

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE_S = 0.010
"""Counted as exact, as docs/dev/cutting.md does."""


def delivered_span(raw: Samples, delivered: Samples, sample_rate: int) -> tuple[int, int]:
    """Where the delivered line, without its silence, lies in the raw take: [start, end) in samples.

    Found by its loudest stretch, which no fade has touched.
    """
    body = delivered[: len(delivered) - round(TAIL_SILENCE_S * sample_rate)]
    middle = int(np.argmax(np.abs(body)))
    first = max(0, middle - 500)
    piece = body[first : middle + 500]
    windows = np.lib.stride_tricks.sliding_window_view(raw, len(piece))
    candidates = np.flatnonzero(np.abs(windows[:, middle - first] - body[middle]) < 2e-4)
    differences = [float(np.abs(windows[i] - piece).max()) for i in candidates]
    best = candidates[int(np.argmin(differences))]
    if min(differences) > 1e-3:
        raise AssertionError("the delivered audio is not a piece of the take")
    start = int(best) - first
    return start, start + len(body)


def verdict(engine: DraftEngine, text: str, language: str, speech: Speech) -> tuple[str, bool]:
    """`exact`, `clipped` or `leaked`, and whether the head is whole."""
    clean = normalise(text, language)
    padded, dummy_at = join(clean, dummy_for(language, clean))
    rendered = engine.render(padded, language, speech.seed)
    raw, rate = rendered.audio.samples, rendered.audio.sample_rate
    with wave.open(io.BytesIO(speech.wav)) as wav:
        delivered = np.frombuffer(wav.readframes(wav.getnframes()), "<i2").astype(np.float32) / 32767
    start, end = delivered_span(raw, delivered, rate)
    gap_start, gap_end = true_gap(rendered, dummy_at)
    first_sound = int(np.flatnonzero(np.abs(raw) > 0)[0])
    slack = round(TOLERANCE_S * rate)
    ending = "clipped" if end < gap_start - slack else "leaked" if end > gap_end + slack else "exact"
    return ending, start <= first_sound


async def measure(
    address: str, key: str, language: str, texts: list[str], takes: int, engine: DraftEngine
) -> Counter[str]:
    counts: Counter[str] = Counter()
    async with VoiceServer(address, key) as server:
        patience = Patience(PlainReport(sys.stderr), 60, asyncio.Event())
        await ready_server(server, patience)
        for take in range(takes):
            text = texts[take % len(texts)]
            speech = await patiently(lambda text=text, take=take: server.speak(text, language, 7919 * take), patience)
            ending, whole_head = verdict(engine, text, language, speech)
            counts[ending] += 1
            counts["head clipped"] += not whole_head
            counts["retakes"] += speech.takes - 1
            counts["doubtful"] += speech.doubtful
            if ending != "exact" or not whole_head:
                print(f"  {language} seed {speech.seed} {ending} head {'whole' if whole_head else 'CLIPPED'}: {text}")
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--takes", type=int, default=100, help="lines per language")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--cut", default="calibrated", choices=["calibrated", "reference"])
    args = parser.parse_args()
    sentences = json.loads((ROOT / "scripts" / "bench" / "sentences.json").read_text("utf-8"))
    engine = open_draft(EngineSettings("draft"), lambda step: None)
    print(f"{platform.machine()}, Python {platform.python_version()}, cut {args.cut}, {args.takes} lines a language")
    total: Counter[str] = Counter()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as logs:
        log = Path(logs) / "server.log"
        with local_server(log, engine="draft", settings={"CUT": args.cut}) as server:
            wait_until_listening(server, log)
            for code in args.languages.split(","):
                counts = asyncio.run(
                    measure(server.address, server.key, LANGUAGES[code], sentences[code], args.takes, engine)
                )
                total += counts
                show(code, counts, args.takes)
    show("all", total, args.takes * len(args.languages.split(",")))
    print(f"{time.monotonic() - started:.0f} s")
    return 0


def show(name: str, counts: Counter[str], lines: int) -> None:
    print(
        f"{name:4} exact {counts['exact'] / lines:6.1%}  clipped {counts['clipped']:3}  leaked {counts['leaked']:3}  "
        f"heads clipped {counts['head clipped']:3}  retakes {counts['retakes']:3}  doubtful {counts['doubtful']:3}"
    )


if __name__ == "__main__":
    sys.exit(main())
