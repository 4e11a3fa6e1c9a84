"""Scores the cut on a folder of cases: the reference, the cut without calibration and the calibrated cut side by side.

    python scripts/bench/bench_cut.py CASES_DIR [CASES_DIR ...] [--by category,language,voice] [--bad 20]

A folder holds cases.json, a list of objects with `wav` and `calib` (paths of WAVs inside the folder, mono),
`text`, `suffix` (the dummy), `gap_start_s`, `gap_end_s` (any cut between the two is right; for a missing dummy the gap
is the silence after the sentence), and where known `category`, `language`, `voice`, `suffix_present`.

A cut is exact within 10 ms of the gap, clipped more than 20 ms before it, leaked more than 20 ms after it.
Speed is process CPU time per second of audio, on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: its threads would blur the CPU time
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from server.cut.dummy_takes import DummyTakes, prepare_takes
from server.cut.find import find_cut
from server.cut.result import Cut
from server.cut.trim import delivered_span
from server.cut.uncalibrated import reference_cut

EXACT_S, WRONG_S = 0.010, 0.020
LIMITS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


@dataclass(frozen=True)
class Case:
    folder: Path
    facts: dict[str, Any]

    def of(self, group: str) -> str:
        return str(self.facts.get(group, "-"))


@dataclass(frozen=True)
class Result:
    case: Case
    cut: Cut
    early_s: float
    """How far before the gap; negative inside"""
    late_s: float
    shaved_s: float
    """How far before the gap the delivered file ends"""
    cpu_s: float
    audio_s: float

    @property
    def exact(self) -> bool:
        return max(self.early_s, self.late_s) <= EXACT_S

    @property
    def clipped(self) -> bool:
        return self.early_s > WRONG_S

    @property
    def leaked(self) -> bool:
        return self.late_s > WRONG_S


def read_cases(folder: Path, categories: Sequence[str]) -> list[Case]:
    facts = json.loads((folder / "cases.json").read_text("utf-8"))
    return [Case(folder, f) for f in facts if not categories or f.get("category") in categories]


def read_wav(path: Path) -> tuple[np.ndarray, int]:
    samples, sample_rate = soundfile.read(path, dtype="float32")
    return samples, sample_rate


class Takes:
    """The calibration takes of each voice, read and prepared once; the server keeps them likewise."""

    def __init__(self, count: int, foreign: bool, cases: Sequence[Case]) -> None:
        self._count, self._foreign = count, foreign
        self._prepared: dict[tuple[str, ...], DummyTakes] = {}
        self._voices = {(c.of("language"), c.of("voice")): c for c in cases}

    def of(self, case: Case) -> DummyTakes:
        source = self._other_voice(case) if self._foreign else case
        paths = tuple(str(source.folder / p) for p in source.facts.get("calib", [])[: self._count])
        if paths not in self._prepared:
            read = [read_wav(Path(p)) for p in paths]
            rate = read[0][1] if read else 24_000
            self._prepared[paths] = prepare_takes([samples for samples, _ in read], rate)
        return self._prepared[paths]

    def _other_voice(self, case: Case) -> Case:
        others = [
            c for (lang, voice), c in self._voices.items() if lang == case.of("language") and voice != case.of("voice")
        ]
        return others[0] if others else case


def run(case: Case, method: str, takes: Takes) -> Result:
    samples, sample_rate = read_wav(case.folder / case.facts["wav"])
    prepared = takes.of(case) if method == "calibrated" else None
    text, dummy = case.facts["text"], case.facts["suffix"]
    started = time.process_time()
    if method == "reference":
        cut = reference_cut(samples, sample_rate, text, dummy)
    else:
        cut = find_cut(samples, sample_rate, text, dummy, prepared)
    cpu = time.process_time() - started
    gap_start, gap_end = case.facts["gap_start_s"], case.facts["gap_end_s"]
    end = delivered_span(samples, cut, sample_rate)[1]
    at = cut.sample / sample_rate
    return Result(
        case, cut, gap_start - at, at - gap_end, gap_start - end / sample_rate, cpu, len(samples) / sample_rate
    )


# --- tables ----------------------------------------------------------------------------------------------------------


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, in percent."""
    z, share = 1.96, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def row(name: str, results: Sequence[Result]) -> str:
    count, exact = len(results), sum(r.exact for r in results)
    low, high = interval(exact, count)
    clipped, leaked = sum(r.clipped for r in results), sum(r.leaked for r in results)
    return (
        f"{name:<24} {count:>5} {100 * exact / count:>7.2f} [{low:5.1f} {high:5.1f}]"
        f" {100 * clipped / count:>8.2f} {100 * leaked / count:>7.2f}"
        f" {1000 * sum(r.cpu_s for r in results) / sum(r.audio_s for r in results):>8.2f}"
    )


HEADER = f"{'':<24} {'n':>5} {'exact %':>7} {'[95 %]':>13} {'clipped %':>8} {'leaked %':>7} {'CPU ms/s':>8}"


def tables(results: dict[str, list[Result]], groups: Sequence[str]) -> Iterator[str]:
    yield HEADER
    for method, rows in results.items():
        yield row(method, rows)
    for group in groups:
        yield f"\nexact % by {group}".ljust(25) + "     n " + " ".join(f"{method:>13}" for method in results)
        for name in sorted({r.case.of(group) for r in next(iter(results.values()))}):
            parts = {m: [r for r in rows if r.case.of(group) == name] for m, rows in results.items()}
            shares = " ".join(f"{100 * sum(r.exact for r in p) / len(p):>13.1f}" for p in parts.values())
            yield f"{name:<24} {len(next(iter(parts.values()))):>5} {shares}"


def confidence_table(results: Sequence[Result]) -> Iterator[str]:
    wrong = [r for r in results if r.clipped or r.leaked]
    yield f"\nconfidence: {len(wrong)} wrong cuts in {len(results)}"
    yield f"{'limit':>6} {'retaken %':>10} {'of the wrong refused %':>23} {'wrong among accepted %':>23}"
    for limit in LIMITS:
        accepted = [r for r in results if r.cut.confidence >= limit]
        left = sum(r.clipped or r.leaked for r in accepted)
        refused = f"{100 * (1 - left / len(wrong)):.1f}" if wrong else "-"
        share = f"{100 * left / len(accepted):.2f}" if accepted else "-"
        yield f"{limit:>6} {100 * (1 - len(accepted) / len(results)):>10.1f} {refused:>23} {share:>23}"


def calibration_curve(results: Sequence[Result], bins: int = 6) -> list[tuple[float, float, int]]:
    """(mean confidence, share of right cuts, count) in bins of equal count; the sure rest is one bin."""
    ordered = sorted(results, key=lambda r: r.cut.confidence)
    unsure = [r for r in ordered if r.cut.confidence < 0.98]
    groups = [list(g) for g in np.array_split(np.array(unsure, dtype=object), min(bins, max(1, len(unsure) // 20)))]
    groups.append(ordered[len(unsure) :])
    return [
        (
            float(np.mean([r.cut.confidence for r in g])),
            float(np.mean([not (r.clipped or r.leaked) for r in g])),
            len(g),
        )
        for g in groups
        if g
    ]


def draw_curve(points: Sequence[tuple[float, float, int]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.5, 5))
    axes.plot([0, 1], [0, 1], color="0.7", label="perfect")
    for mean, share, count in points:
        low, high = interval(round(share * count), count)
        axes.plot([mean, mean], [low / 100, high / 100], color="C0", linewidth=1)
        axes.annotate(str(count), (mean, low / 100), textcoords="offset points", xytext=(-6, -11), fontsize=7)
    axes.plot([p[0] for p in points], [p[1] for p in points], "o-", label="measured (95 % interval, number of cases)")
    axes.set(xlabel="confidence", ylabel="share of right cuts", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


# --- fitting the weights in server/cut/confidence.py -----------------------------------------------------------------


def fit(
    features: Sequence[dict[str, float]], right: Sequence[bool], names: Sequence[str], ridge: float
) -> dict[str, float]:
    """Logistic regression by Newton's method; the ridge is on weights of standardised features, not on the bias."""
    table = np.array([[f.get(name, 0.0) for name in names] for f in features])
    mean, scale = table.mean(axis=0), table.std(axis=0) + 1e-6
    design = np.concatenate((np.ones((len(table), 1)), (table - mean) / scale), axis=1)
    target, weights = np.array(right, float), np.zeros(design.shape[1])
    penalty = np.diag([1e-6] + [ridge] * len(names))
    for _ in range(50):
        probability = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (probability - target) + penalty @ weights
        curvature = (design.T * (probability * (1 - probability))) @ design + penalty
        weights -= np.linalg.solve(curvature, gradient)
    slopes = weights[1:] / scale
    return {"bias": float(weights[0] - slopes @ mean)} | dict(zip(names, map(float, slopes), strict=True))


def fits(results: Sequence[Result]) -> Iterator[str]:
    from server.cut.confidence import CONFIDENCE, PRESENT_WEIGHTS, TWICE_WEIGHTS

    seen = [(r, dict(r.cut.evidence.predictors)) for r in results if r.cut.evidence.predictors]
    present = [(f, bool(r.case.facts.get("suffix_present", True))) for r, f in seen]
    twice = [
        ({k.removeprefix("twice."): v for k, v in f.items()}, r.case.of("category") == "twice")
        for r, f in seen
        if "twice.match" in f
    ]
    right = [
        (f, not (r.clipped or r.leaked))
        for r, f in seen
        if r.cut.dummy != "missing" and r.case.facts.get("suffix_present", True)
    ]
    for name, old, data in (
        ("PRESENT", PRESENT_WEIGHTS, present),
        ("TWICE", TWICE_WEIGHTS, twice),
        ("CONFIDENCE", CONFIDENCE, right),
    ):
        names = [k for k in old if k != "bias"]
        new = fit([f for f, _ in data], [y for _, y in data], names, ridge=3.0)
        yield f"{name} ({sum(y for _, y in data)} of {len(data)}): " + json.dumps(
            {k: round(v, 2) for k, v in new.items()}
        )


# --- the command -----------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="CASES_DIR")
    parser.add_argument("--methods", default="reference,uncalibrated,calibrated")
    parser.add_argument("--by", default="category,language,voice")
    parser.add_argument("--categories", default="", help="only these, separated by commas")
    parser.add_argument("--takes", type=int, default=3, help="calibration takes to use")
    parser.add_argument("--foreign", action="store_true", help="calibrate with another voice of the same language")
    parser.add_argument("--bad", type=int, default=0, help="list so many wrong cuts of the last method")
    parser.add_argument("--curve", type=Path, help="draw the confidence's calibration curve into this PNG")
    parser.add_argument(
        "--fit", action="store_true", help="print weights for server/cut/confidence.py fitted on these cases"
    )
    options = parser.parse_args(argv)
    categories = [c for c in options.categories.split(",") if c]
    cases = [case for folder in options.folders for case in read_cases(folder, categories)]
    takes = Takes(options.takes, options.foreign, cases)
    results = {method: [run(case, method, takes) for case in cases] for method in options.methods.split(",")}
    say: Callable[[str], None] = print
    for line in tables(results, [g for g in options.by.split(",") if g]):
        say(line)
    last = list(results.values())[-1]
    shaved = sum(r.shaved_s > EXACT_S and r.early_s <= EXACT_S for r in last)
    say(f"\nfiles whose delivered ending is shorter than the sentence although the cut was right: {shaved}")
    for line in confidence_table(last):
        say(line)
    for r in [r for r in last if r.clipped or r.leaked][: options.bad]:
        say(f"{r.case.of('id'):<44} early {r.early_s:7.3f} late {r.late_s:7.3f} {r.cut.dummy} {r.cut.confidence:.2f}")
    if options.curve:
        draw_curve(calibration_curve(last), options.curve)
    if options.fit:
        for line in fits(last):
            say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
