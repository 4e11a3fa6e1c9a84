"""One pass over all of CUDA that the engine uses, on a machine with a card. Prints a line of JSON for each finding.

    python scripts/bench/gpu_check.py                         # on a card; some 5 to 8 minutes on a large one
    python scripts/bench/gpu_check.py --only six_gigabytes,peers
    python scripts/bench/gpu_check.py --device cpu --quick    # shows that the script runs; nothing of CUDA runs

Sections run in order of worth, and none begins after --budget seconds. An error in a section is a finding, and the next
section runs all the same. A section that may leave CUDA unusable runs in a process of its own. Most lines have what was
`expected`; a figure far from it is a finding about the engine or about the expectation, and the exit code stays 0.
The lines are also written to gpu_check.jsonl in the folder --out, or else in the folder that $OUT names.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "scripts" / "bench")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from gpu_sections import CHILDREN, SECTIONS
from gpu_times import Check, machine, release

from server.engines.qwen.load.imports import import_qwen_tts

FILE = "gpu_check.jsonl"
CARD_THREADS = 8


class Findings:
    """Prints findings as lines of JSON, and appends them to a file where there is one."""

    def __init__(self, file: Path | None) -> None:
        self.file, self.started = file, time.monotonic()
        if file is not None:
            file.write_text("", encoding="utf-8")

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.started, 1)

    def tell(self, section: str, **found: Any) -> None:
        line = json.dumps({"section": section, "at_s": self.seconds, **found}, ensure_ascii=False, default=str)
        print(line, flush=True)
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def chosen(only: str, sections: Mapping[str, Any]) -> list[str]:
    """Names of the sections to run, in their own order. only: names with commas between; empty means all.

    Raises SystemExit for a name that is none.
    """
    names = [name for name in only.split(",") if name]
    if unknown := [name for name in names if name not in sections]:
        raise SystemExit(f"no section {', '.join(unknown)}; there are: {', '.join(sections)}")
    return [name for name in sections if not names or name in names]


def run_sections(
    names: list[str], sections: Mapping[str, Callable[[Check], None]], check: Check, findings: Findings, budget_s: float
) -> None:
    for name in names:
        if findings.seconds > budget_s:
            findings.tell(name, skipped=f"{budget_s:.0f} s are over")
            continue
        try:
            sections[name](check)
        except Exception as error:  # of any kind: the error is the finding
            where = traceback.format_exc().strip().splitlines()[-3:]
            findings.tell(name, failed=f"{type(error).__name__}: {str(error)[:400]}", where=where)
        if trouble := release(check.on_card):
            findings.tell(name, empty_cache=trouble)


def out_file(folder: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Where the findings are written; None only prints them."""
    if folder is None and environment.get("OUT"):
        folder = Path(environment["OUT"])
    return None if folder is None else folder / FILE


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="cpu, cuda or cuda:0")
    parser.add_argument("--quick", action="store_true", help="the tiny model and few repetitions")
    parser.add_argument("--only", default="", help=f"sections, with commas between: {', '.join(SECTIONS)}")
    parser.add_argument("--budget", type=float, default=420, help="seconds after which no section begins")
    parser.add_argument("--out", type=Path, help="folder for gpu_check.jsonl")
    parser.add_argument("--child", choices=tuple(CHILDREN), help=argparse.SUPPRESS)
    parser.add_argument("--cap-mib", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    names = chosen(asked.only, SECTIONS)
    import_qwen_tts()
    import torch

    if asked.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit(f"torch {torch.__version__} sees no card; --device cpu --quick shows that the script runs")
    torch.set_num_threads(CARD_THREADS if asked.device != "cpu" else 1)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        if asked.child:
            check = Check(asked.device, asked.quick, Path(scratch), lambda *_names, **_found: None)
            print(json.dumps(CHILDREN[asked.child](check, asked.cap_mib), default=str))
            return 0
        findings = Findings(out_file(asked.out, os.environ))
        check = Check(asked.device, asked.quick, Path(scratch), findings.tell)
        findings.tell("machine", **machine(check))
        run_sections(names, SECTIONS, check, findings, asked.budget)
        findings.tell("end", seconds=findings.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
