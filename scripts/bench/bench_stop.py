"""What stopping a take early saves, and whether it ever costs a syllable.

    python scripts/bench/bench_stop.py [CASES_DIR ...]

Each recording of "sentence + dummy" is given to the detector bit by bit, as the engine does while it speaks. The table
shows the takes that were stopped, whether the cut lies in the true gap, the share of the frames that was saved, and
what detection costs. Without folders the recordings are draft speech of sentences.json beside this script, alone and in
pairs, and of decoys.json, lines that themselves begin a sentence as the dummy does. A folder holds what bench_cut.py
wants.

`--model overhead|0.6b` measures the time that is saved: our loop speaks the recordings' frames with random weights,
codec included, and the detector gets the recordings. The arms with and without stopping take turns.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: its threads would blur the CPU time
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import itertools
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from bench_cut import Takes, interval, read_cases, read_wav

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from server.audio.samples import Audio, Samples
from server.cut.dummy_takes import DummyTakes
from server.engines import EngineFacts, EngineSettings, TakeRequest
from server.engines.draft.engine import open_draft, true_gap
from server.takes.calibration import Calibration
from server.takes.dummy import Dummy, dummy_for, join
from server.takes.early_stop import detector_for
from server.takes.line import prepare_line
from server.takes.take import LineTakes, TakeSettings
from server.text.languages import LANGUAGES
from server.text.normalise import normalise

RATE, FRAME = 24_000, 1920
FRAME_S = FRAME / RATE
EXACT_S, WRONG_S = 0.010, 0.020
"""As bench_cut.py counts."""


@dataclass(frozen=True)
class Recording:
    name: str
    text: str
    language: str
    """Its name, such as `Korean`"""
    dummy: Dummy
    takes: DummyTakes
    samples: Samples
    sample_rate: int
    gap_s: tuple[float, float]
    """Any cut between the two is right."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class Outcome:
    recording: Recording
    stopped_s: float | None
    cut_s: float
    questions: int
    cpu_s: float

    @property
    def early_s(self) -> float:
        return self.recording.gap_s[0] - self.cut_s

    @property
    def late_s(self) -> float:
        return self.cut_s - self.recording.gap_s[1]


class Draft24:
    """The draft engine at the rate of the real one."""

    def __init__(self) -> None:
        self.engine = open_draft(EngineSettings("draft"), lambda step: None)
        self.facts: EngineFacts = replace(self.engine.facts, sample_rate=RATE)

    def speak(self, text: str, language: str, seed: int) -> Audio:
        return Audio(self.resampled(self.engine.speak(text, language, seed)), RATE)

    @staticmethod
    def resampled(audio: Audio) -> Samples:
        out: Samples = soxr.resample(audio.samples, audio.sample_rate, RATE).astype(np.float32)
        return out

    def record(self, text: str, language: str, seed: int, calibration: Calibration) -> Recording:
        clean = normalise(text, language)
        dummy = dummy_for(language, clean)
        padded, dummy_at = join(clean, dummy)
        speech = self.engine.render(padded, language, seed)
        start, end = (at / speech.audio.sample_rate for at in true_gap(speech, dummy_at))
        takes = calibration.takes(dummy, language)
        assert takes is not None
        samples = self.resampled(speech.audio)
        return Recording(f"{language} {seed}", clean, language, dummy, takes, samples, RATE, (start, end))

    def close(self) -> None:
        self.engine.close()

    def memory_bytes(self) -> dict[str, int]:
        return {}


def texts_of(code: str, decoys: bool) -> list[str]:
    """Sentences alone, and pairs of them, which are as long as a narrator's usual line."""
    if decoys:
        found: list[str] = json.loads((ROOT / "scripts" / "bench" / "decoys.json").read_text("utf-8"))[code]
        return found
    sentences = json.loads((ROOT / "scripts" / "bench" / "sentences.json").read_text("utf-8"))[code]
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(sentences)]
    return [text for both in zip(sentences, pairs, strict=False) for text in both]


def draft_recordings(codes: Sequence[str], count: int, decoys: bool, first_seed: int) -> Iterator[Recording]:
    draft = Draft24()
    calibration = Calibration(draft, None)
    for code in codes:
        texts = texts_of(code, decoys)
        for number in range(count):
            yield draft.record(texts[number % len(texts)], LANGUAGES[code], first_seed + 7919 * number, calibration)


def folder_recordings(folder: Path, every: int) -> Iterator[Recording]:
    cases = read_cases(folder, ())[::every]
    takes = Takes(3, False, cases)
    for case in cases:
        samples, sample_rate = read_wav(case.folder / case.facts["wav"])
        suffix = case.facts["suffix"]
        dummy = Dummy(suffix, suffix.lstrip(" .…"))
        gap = (case.facts["gap_start_s"], case.facts["gap_end_s"])
        name = f"{case.of('category')} {case.facts.get('id', '')}"
        yield Recording(name, case.facts["text"], case.of("language"), dummy, takes.of(case), samples, sample_rate, gap)


def detect(recording: Recording) -> Outcome:
    """Asks the detector as the engine does: first at `first_s`, then every `every_s`."""
    detector = detector_for(recording.text, recording.dummy, recording.takes)
    if detector is None:
        return Outcome(recording, None, 0.0, 0, 0.0)
    frames, questions, cpu = max(1, math.ceil(detector.first_s / FRAME_S)), 0, 0.0
    while frames * FRAME_S < recording.seconds:
        so_far = Audio(recording.samples[: round(frames * FRAME_S * recording.sample_rate)], recording.sample_rate)
        started = time.process_time()
        enough = detector.is_met(so_far)
        cpu += time.process_time() - started
        questions += 1
        if enough:
            assert detector.cut is not None
            return Outcome(recording, so_far.seconds, detector.cut.sample / recording.sample_rate, questions, cpu)
        frames += max(1, round(detector.every_s / FRAME_S))
    return Outcome(recording, None, 0.0, questions, cpu)


def report(name: str, outcomes: Sequence[Outcome], bad: int) -> None:
    stopped = [one for one in outcomes if one.stopped_s is not None]
    exact = sum(max(one.early_s, one.late_s) <= EXACT_S for one in stopped)
    clipped, leaked = sum(one.early_s > WRONG_S for one in stopped), sum(one.late_s > WRONG_S for one in stopped)
    total = sum(one.recording.seconds for one in outcomes)
    dummies = sum(one.recording.seconds - one.recording.gap_s[0] for one in outcomes)
    saved = sum(one.recording.seconds - one.stopped_s for one in stopped if one.stopped_s is not None)
    questions = sum(one.questions for one in outcomes)
    low, high = interval(exact, len(stopped)) if stopped else (0.0, 0.0)
    print(
        f"{name}: {len(outcomes)} takes, {len(stopped)} stopped ({100 * len(stopped) / len(outcomes):.0f} %), "
        f"exact {exact} [{low:.1f} {high:.1f}], clipped {clipped}, leaked {leaked}; "
        f"dummy and pause {100 * dummies / total:.1f} % of all that is spoken, {100 * saved / total:.1f} % saved, "
        f"{100 * (dummies - saved) / (total - saved):.1f} % left; {questions / len(outcomes):.1f} questions a take, "
        f"{1000 * sum(one.cpu_s for one in outcomes) / max(1, questions):.1f} ms CPU each"
    )
    wrong = [one for one in stopped if max(one.early_s, one.late_s) > EXACT_S]
    for one in wrong[:bad]:
        gap = "{:.3f} to {:.3f}".format(*one.recording.gap_s)
        print(f"  {one.recording.name}: cut at {one.cut_s:.3f}, gap {gap}: {one.recording.text}")


# --- time ------------------------------------------------------------------------------------------------------------


@contextmanager
def decoding_recordings(engine: Any, recordings: Sequence[Recording]) -> Iterator[None]:
    """The engine speaks random codes; its detectors and its callers get the recordings of the same length."""
    from unittest.mock import patch

    from server.engines.qwen.loop.incremental_decode import IncrementalDecoder

    class Recorded(IncrementalDecoder):
        def _decode(self, until: Any, codes: Any) -> None:
            before = {number: self._rows[number].frames for number in until}
            super()._decode(until, codes)
            for number, start in before.items():
                row = self._rows[number]
                if row.frames > start:
                    row.waves[-1] = recordings[number].samples[start * FRAME : row.frames * FRAME]

    with patch("server.engines.qwen.loop.engine.IncrementalDecoder", Recorded):
        yield


@contextmanager
def ends_where_it_is_told() -> Iterator[None]:
    """Rows are forced to a length by their cap; here that counts as an end, so that they are decoded."""
    from unittest.mock import patch

    with (
        patch("server.engines.qwen.loop.engine.flaw_of", lambda _row: None),
        patch("server.engines.qwen.loop.engine.checked", lambda samples, _cap, _codec: Audio(samples, RATE)),
    ):
        yield


def speak_all(engine: Any, recordings: Sequence[Recording], stop: bool) -> dict[str, float]:
    """One whole job: all lines, as the worker has them spoken, judged and cut."""
    lengths = [len(recording.samples) // FRAME for recording in recordings]
    settings = TakeSettings(language=recordings[0].language, early_stop=stop)
    lines = [LineTakes(prepare_line(r.text, r.language, n), settings, Known(r.takes)) for n, r in enumerate(recordings)]
    waiting = list(range(len(recordings)))
    input_of, delivered = type(engine).row_input, []

    def row_input(number: int, row: TakeRequest) -> Any:
        made = input_of(engine, number, row)
        return replace(made, cap=lengths[number] + 1, min_frames=lengths[number] + 1)

    def more(free: int) -> list[tuple[int, TakeRequest]]:
        taken, waiting[:] = waiting[:free], waiting[free:]
        return [(number, lines[number].request()) for number in taken]

    def deliver(number: int, spoken: Any) -> None:
        assert isinstance(spoken, Audio), spoken
        take = lines[number].add(spoken)
        # What is not sure would be spoken again; here each line is spoken once.
        delivered.append((number, take))

    before, decoded = replace(engine.loop.counters), engine.codec.counters.frames_given
    engine.row_input = row_input
    started, cpu = time.perf_counter(), time.process_time()
    with decoding_recordings(engine, recordings), ends_where_it_is_told():
        engine.speak_rows(more, deliver, lambda _number: False)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    del engine.row_input
    assert len(delivered) == len(recordings)
    decoded = engine.codec.counters.frames_given - decoded
    assert stop or decoded == sum(lengths), "each frame of a line that is spoken in full is decoded"
    good = [take for _, take in delivered if take is not None]
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "decoded": decoded,
        "frames": engine.loop.counters.rows_stepped - before.rows_stepped,
        "stopped": engine.loop.counters.stopped - before.stopped,
        "delivered_s": sum(take.audio.seconds for take in good),
        "again": len(delivered) - len(good),
    }


@dataclass(frozen=True)
class Known:
    """A calibration that has been made."""

    prepared: DummyTakes

    def takes(self, _dummy: Dummy, _language: str) -> DummyTakes:
        return self.prepared


def time_saved(asked: argparse.Namespace, recordings: list[Recording]) -> None:
    import bench_models
    import torch

    from server.engines.qwen.load.imports import import_qwen_tts
    from server.engines.qwen.loop.engine import with_loop

    import_qwen_tts()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as scratch:
        if asked.model == "overhead":
            model = bench_models.overhead_model(Path(scratch))
        else:
            model = bench_models.published_size(asked.model, Path(scratch), "cpu", torch.float32)
        model.model.config.talker_config.codec_language_id.setdefault("korean", 2064)
        engine = with_loop(bench_models.stock_engine(model, 125), lambda phrase: print(phrase), asked.rows)
        speak_all(engine, recordings[:2], stop=True)  # warms up
        runs: dict[bool, list[dict[str, float]]] = {False: [], True: []}
        for _ in range(asked.rounds):
            for stop in (False, True):
                runs[stop].append(speak_all(engine, recordings, stop))
    for stop, found in runs.items():
        middle = {key: statistics.median(run[key] for run in found) for key in found[0]}
        print(
            f"{asked.model}, B={asked.rows}, {'stopped early' if stop else 'spoken in full'}: "
            f"{middle['cpu_s']:.1f} s CPU, {middle['wall_s']:.1f} s wall, {middle['frames']:.0f} frames spoken, "
            f"{middle['decoded']:.0f} decoded, "
            f"{middle['stopped']:.0f} of {len(recordings)} stopped, {middle['delivered_s']:.1f} s delivered, "
            f"{middle['again']:.0f} not sure"
        )
    share = [statistics.median(run["cpu_s"] for run in runs[stop]) for stop in (False, True)]
    print(f"time saved: {100 * (1 - share[1] / share[0]):.1f} %")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", metavar="CASES_DIR")
    parser.add_argument("--every", type=int, default=1, help="take each n-th case of a folder")
    parser.add_argument("--takes", type=int, default=100, help="draft takes a language")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bad", type=int, default=20, help="show at most so many wrong ones")
    parser.add_argument("--model", choices=("overhead", "0.6b"), help="measure time instead")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    codes = asked.languages.split(",")
    if asked.model:
        time_saved(asked, list(draft_recordings(codes, asked.takes, decoys=False, first_seed=asked.seed)))
        return 0
    for folder in asked.folders:
        report(folder.name, [detect(recording) for recording in folder_recordings(folder, asked.every)], asked.bad)
    if not asked.folders:
        for code in codes:
            found = draft_recordings([code], asked.takes, decoys=False, first_seed=asked.seed)
            report(f"draft, {code}", [detect(recording) for recording in found], asked.bad)
        decoys = draft_recordings(codes, min(asked.takes, 30), decoys=True, first_seed=asked.seed)
        report("draft, lines that begin a sentence as the dummy does", [detect(one) for one in decoys], asked.bad)
    return 0


if __name__ == "__main__":
    sys.exit(main())
