"""Draws why a cut lies where it lies: waveform, loudness and pauses, the dummy's match, the cut. One PNG per WAV.

    python scripts/bench/show_cut.py take.wav --text "..." --dummy "..." --takes dummy1.wav dummy2.wav dummy3.wav
    python scripts/bench/show_cut.py --cases CASES_DIR ID [ID ...]

The second form draws cases of a folder that scripts/bench/bench_cut.py scores, with the true gap. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from server.cut.features import HOP_S, extract_features
from server.cut.find import find_cut
from server.cut.result import Cut
from server.cut.trim import delivered_span


def draw(samples: np.ndarray, rate: int, cut: Cut, title: str, gap_s: tuple[float, float] | None, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (wave, loudness, match) = pyplot.subplots(3, 1, figsize=(12, 7), sharex=True)
    evidence = cut.evidence
    wave.plot(np.arange(len(samples)) / rate, samples, linewidth=0.4, color="0.35")
    start, end = delivered_span(samples, cut, rate)
    wave.axvspan(start / rate, end / rate, color="C2", alpha=0.15, label="delivered")
    wave.set(ylabel="waveform", title=title)
    # The reference way listens to nothing; the loudness is drawn all the same.
    level = evidence.level_db if len(evidence.level_db) else extract_features(samples, rate).level_db
    loudness.plot(np.arange(len(level)) * HOP_S, level, color="k", linewidth=0.8)
    for number, (a, b) in enumerate(evidence.pauses):
        loudness.axvspan(a / rate, b / rate, color="C0", alpha=0.2, label="pauses" if number == 0 else None)
    a, b = evidence.chosen
    loudness.axvspan(a / rate, b / rate, color="C1", alpha=0.5, label="chosen pause")
    loudness.set(ylabel="loudness, dB re speech")
    match.plot(evidence.match_samples / rate, evidence.match_cost, color="C3", linewidth=1)
    match.axhline(0.0, color="0.7", linewidth=0.8)
    match.set(ylabel="cost of 'the dummy\nbegins here'", xlabel="seconds")
    for axes in (wave, loudness, match):
        axes.axvline(cut.sample / rate, color="r", linewidth=1.2, label="cut")
        if gap_s is not None:
            axes.axvspan(*gap_s, color="y", alpha=0.25, label="true gap")
    for axes in (wave, loudness):
        axes.legend(loc="upper left", fontsize=8)
    facts = "   ".join(f"{name} {value:.2f}" for name, value in evidence.predictors if not name.startswith("twice."))
    figure.text(0.01, 0.005, facts, fontsize=7, color="0.3")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def mono(path: Path) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate


def show(wav: Path, text: str, dummy: str, takes: list[Path], gap_s: tuple[float, float] | None, out: Path) -> None:
    samples, rate = mono(wav)
    cut = find_cut(samples, rate, text, dummy, [mono(take)[0] for take in takes] or None)
    title = f"{wav.name}: {cut.sample / rate:.3f} s, dummy {cut.dummy}, confidence {cut.confidence:.2f}, {cut.method}"
    path = out / f"{wav.stem}.cut.png"
    draw(samples, rate, cut, title, gap_s, path)
    print(path)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wavs", nargs="+", metavar="WAV", help="or, with --cases, the ids of cases")
    parser.add_argument("--cases", type=Path, metavar="CASES_DIR")
    parser.add_argument("--text", default="", help="what the take says before the dummy")
    parser.add_argument("--dummy", default="", help="the dummy sentence")
    parser.add_argument("--takes", type=Path, nargs="*", default=[], help="the dummy alone, in this voice")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the pictures (default: here)")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.cases is None:
        for wav in options.wavs:
            show(Path(wav), options.text, options.dummy, options.takes, None, options.out)
        return 0
    folder: Path = options.cases
    cases: dict[str, dict[str, Any]] = {c["id"]: c for c in json.loads((folder / "cases.json").read_text("utf-8"))}
    for name in options.wavs:
        if name not in cases:
            print(f"{folder} has no case {name}; the first three are: {', '.join(list(cases)[:3])}", file=sys.stderr)
            return 2
        case = cases[name]
        gap_s = (case["gap_start_s"], case["gap_end_s"])
        takes = [folder / take for take in case["calib"][:3]]
        show(folder / case["wav"], case["text"], case["suffix"], takes, gap_s, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
