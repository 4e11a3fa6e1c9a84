"""The check of a graphics card, driven without one: its sections run, and its findings are lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "bench" / "gpu_check.py"

before = list(sys.path)
sys.path.insert(0, str(ROOT / "scripts" / "bench"))

import gpu_check  # noqa: E402  (the path above)
import gpu_sections  # noqa: E402
import gpu_times  # noqa: E402

sys.path[:] = before


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def check(tmp_path: Path, told: list[dict[str, Any]]) -> gpu_times.Check:
    return gpu_times.Check("cpu", True, tmp_path, lambda section, **found: told.append({"section": section, **found}))


def test_parity_compares_stock_eager_path_and_batches(check: gpu_times.Check, told: list[dict[str, Any]]) -> None:
    gpu_sections.parity(check)
    assert [one["arm"] for one in told] == ["eager", "graphs", "sampled, 1 and 4 rows"]
    assert all(one["equal"] == [True] * 4 for one in told)


def test_a_child_reports_from_a_process_of_its_own(check: gpu_times.Check, told: list[dict[str, Any]]) -> None:
    gpu_sections.poisoned(check)
    (one,) = told
    assert (one["exit"], one["error"]) == (0, [])
    assert one["found"] == {"spoken": 4, "use_graphs": False, "said": [], "empty_cache": "fine"}


def test_a_child_that_dies_is_a_finding(
    check: gpu_times.Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gpu_check.py").write_text("import sys; print('half a li', end=''); sys.exit('out of memory')", "utf-8")
    monkeypatch.setattr(gpu_sections, "HERE", tmp_path)
    assert gpu_sections.run_child(check, "poisoned") == {"exit": 1, "found": None, "error": ["out of memory"]}


def test_rows_stop_at_the_same_frame_in_the_loop_and_in_a_thread(check: gpu_times.Check, tiny_checkpoint: Path) -> None:
    import loops

    engine = check.engine(loops.load(tiny_checkpoint), 2)
    lengths = [gpu_times.stopped_lengths(engine, 3, 2, 30, 0.0, threads) for threads in (0, 1)]
    # After 1.6, 1.68 and 1.76 s; questions come after 20, 24, ... frames.
    assert lengths == [{0: 20 * 1920, 1: 24 * 1920, 2: 24 * 1920}] * 2
    assert engine.loop.counters.stopped == 6


def test_an_error_in_a_section_is_a_finding_and_the_next_one_runs(check: gpu_times.Check, tmp_path: Path) -> None:
    findings = gpu_check.Findings(tmp_path / "found.jsonl")

    def broken(_check: gpu_times.Check) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    sections = {"first": broken, "second": lambda _check: findings.tell("second", ms=1.5)}
    gpu_check.run_sections(list(sections), sections, check, findings, 60)
    first, second = (json.loads(line) for line in (tmp_path / "found.jsonl").read_text("utf-8").splitlines())
    assert first["failed"].startswith("RuntimeError: CUDA error: an illegal memory access") and first["where"]
    assert (second["section"], second["ms"]) == ("second", 1.5)


def test_no_section_begins_after_the_budget(check: gpu_times.Check, capsys: pytest.CaptureFixture[str]) -> None:
    gpu_check.run_sections(["parity"], gpu_sections.SECTIONS, check, gpu_check.Findings(None), -1)
    assert "skipped" in json.loads(capsys.readouterr().out)


def test_sections_are_chosen_by_name_and_keep_their_order() -> None:
    assert gpu_check.chosen("", gpu_sections.SECTIONS) == list(gpu_sections.SECTIONS)
    assert gpu_check.chosen("peers,parity", gpu_sections.SECTIONS) == ["parity", "peers"]
    with pytest.raises(SystemExit, match="no section parrots"):
        gpu_check.chosen("parrots", gpu_sections.SECTIONS)


@pytest.mark.parametrize(
    ("folder", "environment", "file"),
    [
        (None, {}, None),
        (None, {"OUT": "a"}, Path("a/gpu_check.jsonl")),
        (Path("b"), {"OUT": "a"}, Path("b/gpu_check.jsonl")),
    ],
)
def test_findings_are_written_where_they_are_wanted(
    folder: Path | None, environment: dict[str, str], file: Path | None
) -> None:
    assert gpu_check.out_file(folder, environment) == file


def test_without_a_card_it_says_how_to_try_the_script() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    ran = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert ran.returncode == 1 and "--device cpu --quick" in ran.stderr
