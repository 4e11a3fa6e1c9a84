"""Measures the cut on your own voice: speak sentences, mark by eye and ear where each one ends, score.

On the server's PC (voice-server must not run: the card is needed here):

    .venv/bin/python scripts/bench/mark_gaps.py render script.txt gaps     speaks the script, dummy sentences included
    .venv/bin/python scripts/bench/mark_gaps.py mark gaps                  shows one take after the other
    .venv/bin/python scripts/bench/bench_cut.py gaps                       scores the cut on what was marked

In the window the mouse points and two keys mark: E where the sentence's last sound ends, D where the dummy begins.
Space goes on once both are marked, M says that the take has no dummy, B goes back, Q ends; what is marked is saved at
once. With the gap marked, P plays what is before it. `mark` needs matplotlib and a screen.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from client.commands.play import play
from server.audio.samples import Audio, Samples, to_wav
from server.commands.start_checks import choose_engine
from server.contract.http import MAX_SEED
from server.engines import Engine, open_engine
from server.errors import TakeFailed
from server.script.lines import read_script
from server.settings import engine_settings, load_settings
from server.takes.dummy import Dummy, dummy_for, join
from server.text.normalise import normalise

CASES = "cases.json"
DUMMY_TAKES = 3


@dataclass(frozen=True)
class Marks:
    """What a person has said of one take; seconds."""

    end_s: float | None = None
    """Where the sentence's last sound ends"""
    dummy_s: float | None = None
    """Where the dummy's first sound begins"""
    missing: bool = False
    """There is no dummy in this take."""

    @property
    def complete(self) -> bool:
        return self.end_s is not None and (self.missing or self.dummy_s is not None)


def after_key(marks: Marks, key: str, at_s: float | None, length_s: float) -> Marks:
    """The marks after a key, with the mouse at a time (None: outside the picture).

    The gap never runs backwards: a mark on the wrong side of the other one removes that other one.
    """
    if key == "m":
        end = marks.end_s if marks.end_s is not None else at_s
        return Marks(end, None, missing=not marks.missing)
    if at_s is None or key not in ("e", "d"):
        return marks
    at_s = min(max(at_s, 0.0), length_s)
    if key == "e":
        dummy = marks.dummy_s if marks.dummy_s is not None and marks.dummy_s >= at_s else None
        return Marks(at_s, dummy, marks.missing)
    end = marks.end_s if marks.end_s is not None and marks.end_s <= at_s else None
    return Marks(end, at_s, missing=False)


def with_marks(case: dict[str, Any], marks: Marks, length_s: float) -> dict[str, Any]:
    """The case as bench_cut.py reads it."""
    gap_end = length_s if marks.missing else marks.dummy_s
    return {**case, "gap_start_s": marks.end_s, "gap_end_s": gap_end, "suffix_present": not marks.missing}


def marks_of(case: dict[str, Any]) -> Marks:
    if case.get("gap_start_s") is None:
        return Marks()
    missing = not case["suffix_present"]
    return Marks(case["gap_start_s"], None if missing else case["gap_end_s"], missing)


def save(folder: Path, name: str, content: Any) -> None:
    """Whole or not at all: an evening of marking is not to be lost."""
    part = folder / (name + ".part")
    part.write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")
    part.replace(folder / name)


def spoken(engine: Engine, text: str, language: str, seed: int) -> Audio | None:
    """One take; None when it failed, which is said."""
    try:
        return engine.speak(text, language, seed)
    except TakeFailed as failure:
        print(f"  a take failed and is left out: {failure.reason}")
        return None


def render(script_file: Path, folder: Path, takes: int) -> int:
    loaded = load_settings(os.environ, Path.cwd())
    choice = choose_engine(loaded.settings, draft_installed=True)
    os.environ.update(loaded.passed_on)
    engine = open_engine(engine_settings(loaded.settings, choice.engine), print)
    script = read_script(script_file)
    folder.mkdir(parents=True, exist_ok=True)
    calibration: dict[str, list[str]] = {}
    cases = []
    for number, line in enumerate(script.lines, 1):
        text = normalise(line.text, script.language)
        dummy = dummy_for(script.language, text, loaded.settings.dummy_suffix)
        if dummy.words not in calibration:
            calibration[dummy.words] = render_dummy(engine, dummy, script.language, folder, len(calibration))
        padded, _ = join(text, dummy)
        for take in range(takes):
            audio = spoken(engine, padded, script.language, (number * 7919 + take) % MAX_SEED)
            if audio is None:
                continue
            name = f"{number:03}_{take}.wav"
            (folder / name).write_bytes(to_wav(audio))
            cases.append(
                {
                    "id": name.removesuffix(".wav"),
                    "wav": name,
                    "text": text,
                    "suffix": dummy.text,
                    "language": script.language,
                    "voice": engine.facts.voice,
                    "category": "draft" if engine.facts.draft else "real",
                    "calib": calibration[dummy.words],
                }
            )
            print(f"  {name}  {audio.seconds:.1f} s  {text}")
    save(folder, "renders.json", cases)
    print(f"{len(cases)} takes in {folder}. Now mark them: {sys.argv[0]} mark {folder}")
    return 0


def render_dummy(engine: Engine, dummy: Dummy, language: str, folder: Path, number: int) -> list[str]:
    names = []
    for take in range(DUMMY_TAKES):
        audio = spoken(engine, dummy.words, language, 1_000_003 + take)
        if audio is not None:
            name = f"dummy{number}_{take}.wav"
            (folder / name).write_bytes(to_wav(audio))
            names.append(name)
    return names


class Window:
    """One take at a time; matplotlib shows it and hands over the keys."""

    def __init__(self, folder: Path, figure: Any) -> None:
        self.folder = folder
        self.cases: list[dict[str, Any]] = json.loads((folder / "renders.json").read_text("utf-8"))
        marked = {case["id"]: case for case in _read_marked(folder)}
        self.cases = [marked.get(case["id"], case) for case in self.cases]
        self.at = next((i for i, case in enumerate(self.cases) if not marks_of(case).complete), 0)
        self.figure = figure
        self.axes = figure.add_subplot()
        figure.canvas.mpl_connect("key_press_event", self.on_key)
        self.show()

    def show(self) -> None:
        case = self.cases[self.at]
        self.samples, self.sample_rate = _read(self.folder / case["wav"])
        self.marks = marks_of(case)
        self.draw()

    @property
    def length_s(self) -> float:
        return len(self.samples) / self.sample_rate

    def draw(self) -> None:
        case, axes = self.cases[self.at], self.axes
        axes.clear()
        axes.plot(np.arange(len(self.samples)) / self.sample_rate, self.samples, linewidth=0.4)
        for at_s, colour in ((self.marks.end_s, "tab:green"), (self.marks.dummy_s, "tab:red")):
            if at_s is not None:
                axes.axvline(at_s, color=colour)
        done = sum(marks_of(each).complete for each in self.cases)
        state = "no dummy" if self.marks.missing else "E end, D dummy, M no dummy, P play, Space next, B back, Q quit"
        axes.set_title(f"{self.at + 1} of {len(self.cases)} ({done} marked): {state}\n{case['id']}")
        axes.set_xlabel("seconds")
        self.figure.canvas.draw_idle()

    def on_key(self, event: Any) -> None:
        key = event.key
        if key == "q":
            import matplotlib.pyplot

            matplotlib.pyplot.close(self.figure)
        elif key == "p" and self.marks.end_s is not None:
            self.play_until(self.marks.end_s)
        elif key in ("b", " "):
            self.turn(-1 if key == "b" else 1)
        else:
            self.marks = after_key(self.marks, key, event.xdata, self.length_s)
            self.keep()
            self.draw()

    def keep(self) -> None:
        if self.marks.complete:
            self.cases[self.at] = with_marks(self.cases[self.at], self.marks, self.length_s)
            save(self.folder, CASES, [case for case in self.cases if marks_of(case).complete])

    def turn(self, step: int) -> None:
        if step > 0 and not self.marks.complete:
            return  # a take is left only with both marks, or backwards
        self.at = min(max(self.at + step, 0), len(self.cases) - 1)
        self.show()

    def play_until(self, end_s: float) -> None:
        before = self.samples[: round(end_s * self.sample_rate)]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "take.wav"
            file.write_bytes(to_wav(Audio(before, self.sample_rate)))
            if not play(file):
                print("This PC has no program that plays sound.")


def _read(file: Path) -> tuple[Samples, int]:
    samples, sample_rate = soundfile.read(file, dtype="float32")
    return samples, sample_rate


def _read_marked(folder: Path) -> list[dict[str, Any]]:
    file = folder / CASES
    return list(json.loads(file.read_text("utf-8"))) if file.exists() else []


def mark(folder: Path) -> int:
    if not (folder / "renders.json").exists():
        raise SystemExit(f"{folder} holds no takes; make them first: {sys.argv[0]} render SCRIPT {folder}")
    import matplotlib.pyplot

    # Letters mean something else to matplotlib: S saves, P pans, Q quits.
    for name in [name for name in matplotlib.rcParams if name.startswith("keymap.")]:
        matplotlib.rcParams[name] = []
    Window(folder, matplotlib.pyplot.figure(figsize=(14, 5)))
    matplotlib.pyplot.show()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    rendering = commands.add_parser("render", help="speak a script, dummy sentences included")
    rendering.add_argument("script", type=Path)
    rendering.add_argument("folder", type=Path)
    rendering.add_argument("--takes", type=int, default=1, help="takes of each sentence")
    marking = commands.add_parser("mark", help="mark where each sentence ends")
    marking.add_argument("folder", type=Path)
    args = parser.parse_args()
    if args.command == "render":
        return render(args.script, args.folder, args.takes)
    return mark(args.folder)


if __name__ == "__main__":
    sys.exit(main())
