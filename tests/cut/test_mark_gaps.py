"""Marking gaps by hand: the keys as data, the window driven by its own key events, and the folder that results."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import matplotlib
import pytest

matplotlib.use("Agg")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gaps() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mark_gaps", ROOT / "scripts" / "bench" / "mark_gaps.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("keys", "end_s", "dummy_s", "missing", "complete"),
    [
        ([("e", 1.0)], 1.0, None, False, False),
        ([("e", 1.0), ("d", 1.4)], 1.0, 1.4, False, True),
        ([("d", 1.4), ("e", 1.0)], 1.0, 1.4, False, True),
        ([("e", 1.0), ("d", 1.4), ("e", 2.0)], 2.0, None, False, False),
        ([("e", 1.0), ("d", 0.5)], None, 0.5, False, False),
        ([("m", 1.0)], 1.0, None, True, True),
        ([("e", 1.0), ("d", 1.4), ("m", None)], 1.0, None, True, True),
        ([("m", 1.0), ("d", 1.5)], 1.0, 1.5, False, True),
        ([("e", None)], None, None, False, False),
        ([("x", 1.0)], None, None, False, False),
        ([("e", -3.0), ("d", 99.0)], 0.0, 5.0, False, True),
    ],
)
def test_two_keys_mark_a_gap_that_never_runs_backwards(
    gaps: ModuleType,
    keys: list[tuple[str, float | None]],
    end_s: float | None,
    dummy_s: float | None,
    missing: bool,
    complete: bool,
) -> None:
    marks = gaps.Marks()
    for key, at_s in keys:
        marks = gaps.after_key(marks, key, at_s, 5.0)
    assert (marks.end_s, marks.dummy_s, marks.missing, marks.complete) == (end_s, dummy_s, missing, complete)


def test_rendered_and_marked_takes_are_cases_that_the_benchmark_scores(
    gaps: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINE", "draft")
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "script.txt"
    script.write_text("오늘은 날씨가 참 좋네요.\n내일은 비가 온답니다.\n", "utf-8")
    folder = tmp_path / "gaps"
    assert gaps.render(script, folder, takes=1) == 0
    assert len(json.loads((folder / "renders.json").read_text("utf-8"))) == 2
    import matplotlib.pyplot

    window = gaps.Window(folder, matplotlib.pyplot.figure())

    def press(key: str, at_s: float | None = None) -> None:
        window.on_key(type("Key", (), {"key": key, "xdata": at_s})())

    press(" ")
    assert window.at == 0, "not before both marks are there"
    press("e", 1.7)
    press("d", 2.1)
    press(" ")
    assert window.at == 1
    cases = json.loads((folder / "cases.json").read_text("utf-8"))
    assert [(case["gap_start_s"], case["gap_end_s"], case["suffix_present"]) for case in cases] == [(1.7, 2.1, True)]
    assert all((folder / name).exists() for name in [cases[0]["wav"], *cases[0]["calib"]])
    matplotlib.pyplot.close("all")
    again = gaps.Window(folder, matplotlib.pyplot.figure())
    assert again.at == 1, "an evening later it goes on where it stopped"
    matplotlib.pyplot.close("all")
    import subprocess

    scored = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "bench" / "bench_cut.py"), str(folder)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert scored.returncode == 0, scored.stderr
    assert "calibrated" in scored.stdout
