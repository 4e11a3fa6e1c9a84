"""Scores the readings of server/text/length.py and pace.py against what draft speech takes to say the same texts.

    python scripts/bench/bench_length.py [--languages ko,en]

Texts: sentences.json and decoys.json; those with digits or acronyms are counted apart. For spoken_weight and
spoken_units only the ratio of texts matters: the figure is the standard deviation of log(speech / length) within a
language, in percent, for texts with digits or acronyms the root mean square around the mean of the others. For
expected_seconds it is the root mean square of log(audio / expected).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from server.cut.features import HOP_S, extract_features
from server.engines import EngineSettings
from server.engines.draft.engine import open_draft
from server.text.languages import LANGUAGES
from server.text.length import spoken_units, spoken_weight
from server.text.pace import expected_seconds

SEED = 1
FIGURES = re.compile(r"[0-9]|[A-Z]{2}")


@dataclass(frozen=True)
class Measured:
    code: str
    text: str
    speech_s: float
    """Frames of speech, pauses left out"""
    audio_s: float

    @property
    def has_figures(self) -> bool:
        return FIGURES.search(self.text) is not None


def measure(codes: Sequence[str]) -> Iterator[Measured]:
    texts = [
        json.loads((ROOT / "scripts/bench" / name).read_text("utf-8")) for name in ("sentences.json", "decoys.json")
    ]
    engine = open_draft(EngineSettings("draft"), lambda step: None)
    try:
        for code in codes:
            for text in (text for file in texts for text in file[code]):
                audio = engine.speak(text, LANGUAGES[code], SEED)
                speech = extract_features(audio.samples, audio.sample_rate).speech
                yield Measured(code, text, float(speech.sum()) * HOP_S, audio.seconds)
    finally:
        engine.close()


def ratio_errors(measured: Sequence[Measured], length: Callable[[Measured], float]) -> tuple[float, float]:
    """Percent: of plain texts, of texts with figures."""
    logs = np.array([np.log(one.speech_s / max(0.3, length(one))) for one in measured])
    figures = np.array([one.has_figures for one in measured])
    middle = logs[~figures].mean()
    return tuple(100 * float(np.sqrt(np.mean((logs[kind] - middle) ** 2))) for kind in (~figures, figures))


def seconds_errors(measured: Sequence[Measured]) -> tuple[float, float]:
    logs = np.array([np.log(one.audio_s / expected_seconds(one.text, one.code)) for one in measured])
    figures = np.array([one.has_figures for one in measured])
    return tuple(100 * float(np.sqrt(np.mean(logs[kind] ** 2))) for kind in (~figures, figures))


READINGS: dict[str, Callable[[Sequence[Measured]], tuple[float, float]]] = {
    "spoken_weight": lambda found: ratio_errors(found, lambda one: spoken_weight(one.text, one.code)),
    "spoken_units": lambda found: ratio_errors(found, lambda one: spoken_units(one.text)),
    "expected_seconds": seconds_errors,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    codes = parser.parse_args().languages.split(",")
    measured = list(measure(codes))
    print(
        f"{'error in %, plain texts / with figures':<40}" + "".join(f"{code:>12}" for code in codes) + f"{'mean':>12}"
    )
    for name, errors in READINGS.items():
        table = [errors([one for one in measured if one.code == code]) for code in codes]
        cells = [*table, tuple(np.mean(table, axis=0))]
        print(f"{name:<40}" + "".join(f"{plain:>6.1f}{figures:>6.1f}" for plain, figures in cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
