"""How well paragraphs are split into sentences: ours, plain sentencex and, where it is installed, pySBD.

    python scripts/bench/bench_sentences.py CASES.jsonl ... [--show SPLITTER] [--language CODE]

A row of CASES is {"lang": "ko", "text": "...", "gold": ["...", ...]}; "alts" holds other splits that are right as well,
and two rows with the same text are one case that either gold answers. White space does not count. For each language:
exact (cases split as given), precision and recall of the boundaries within a text, lost (characters changed).
A boundary too many is the worse fault: half a sentence is recorded with the wrong cadence.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sentencex

from server.sentences.split import split_sentences

Splitter = Callable[[str, str], list[str]]


@dataclass(frozen=True)
class Case:
    language: str
    text: str
    golds: tuple[tuple[str, ...], ...]
    """Each with its white space left out."""


def squeezed(text: str) -> str:
    return "".join(text.split())


def read_cases(paths: list[Path]) -> list[Case]:
    golds: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for path in paths:
        for row in path.read_text("utf-8").rstrip("\n").split("\n"):
            case = json.loads(row)
            known = golds.setdefault((case["lang"], case["text"]), [])
            for gold in [case["gold"], *case.get("alts", [])]:
                pieces = tuple(map(squeezed, gold))
                if pieces not in known:
                    known.append(pieces)
    return [Case(language, text, tuple(known)) for (language, text), known in golds.items()]


def boundaries(pieces: tuple[str, ...]) -> frozenset[int]:
    """Offsets in the text without white space, its end left out."""
    ends, at = set(), 0
    for piece in pieces[:-1]:
        at += len(piece)
        ends.add(at)
    return frozenset(ends)


def by_sentencex(text: str, code: str) -> list[str]:
    return [piece for line in text.splitlines() for piece in sentencex.segment(code, line)]


def by_pysbd() -> Splitter | None:
    try:
        segmenter = importlib.import_module("pysbd").Segmenter
    except ModuleNotFoundError:
        return None
    known = {code: segmenter(language=code, clean=False) for code in ("en", "de", "fr", "es", "it", "ru", "ja", "zh")}

    def split(text: str, code: str) -> list[str]:
        # pySBD knows neither Korean nor Portuguese; its English rules are what a user of it would take.
        segments = known.get(code, known["en"])
        return [str(piece) for line in text.splitlines() for piece in segments.segment(line)]

    return split


def scores(cases: list[Case], split: Splitter, show: bool) -> dict[str, Counter[str]]:
    totals: dict[str, Counter[str]] = {}
    for case in cases:
        got = tuple(piece for piece in map(squeezed, split(case.text, case.language)) if piece)
        found = boundaries(got)
        # Where golds differ, the one nearest to what was split is the one that counts.
        wanted = min((boundaries(gold) for gold in case.golds), key=lambda gold: len(gold ^ found))
        counts = Counter(
            cases=1,
            exact=got in case.golds,
            lost="".join(got) != squeezed(case.text),
            hit=len(found & wanted),
            over=len(found - wanted),
            under=len(wanted - found),
        )
        if show and not counts["exact"]:
            print(f"{case.language}  want {' | '.join(case.golds[0])}\n    got  {' | '.join(got)}")
        for key in (case.language, "all"):
            totals.setdefault(key, Counter()).update(counts)
    return totals


def line_of(total: Counter[str]) -> str:
    exact = total["exact"] / total["cases"]
    precision = total["hit"] / max(1, total["hit"] + total["over"])
    recall = total["hit"] / max(1, total["hit"] + total["under"])
    return f"exact {exact:6.1%}  precision {precision:6.1%}  recall {recall:6.1%}  lost {total['lost']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, nargs="+")
    parser.add_argument("--show", default="", help="print the cases that this splitter gets wrong")
    parser.add_argument("--language", default="")
    chosen = parser.parse_args()
    cases = [case for case in read_cases(chosen.cases) if chosen.language in ("", case.language)]
    splitters = {"ours": split_sentences, "sentencex": by_sentencex, "pysbd": by_pysbd()}
    for name, split in splitters.items():
        if split is None:
            print(f"{name} is not installed")
            continue
        for language, total in sorted(scores(cases, split, chosen.show == name).items()):
            print(f"{name:10} {language:4} cases {total['cases']:4}  {line_of(total)}")


if __name__ == "__main__":
    main()
