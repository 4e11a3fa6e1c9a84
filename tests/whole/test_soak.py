"""A night in a minute: scripts/bench/soak.py, shortened. The soak's own checks are the assertions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "scripts" / "bench" / "soak.py"


@pytest.mark.timeout(600)
def test_a_stormy_night_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(SOAK), "--lines", "40", "--most-minutes", "0.3", "--calm-lines", "40"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "lines lost or wrong: 0" in ended.stdout
    assert "killed" in ended.stdout, "the storm itself did not happen"
