"""A finished folder whose sentences an earlier splitter tore: it stays, and --resplit says what mending it costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kept import KEPT, copy_of, requests_for_speech, wavs_in
from narrator import Narrator
from servers import RunningServer, running_server

TORN = "2026-11-28_찢긴_draft"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server"), wait=False) as running:
        running.wait_ready(600)
        yield running


def test_resplit_says_the_cost_and_makes_only_what_is_split_otherwise(server: RunningServer, tmp_path: Path) -> None:
    narrator = Narrator(tmp_path, server)
    folder = copy_of(TORN, narrator.output)
    script = str(KEPT / "scripts" / "찢긴.txt")
    before = wavs_in(folder)
    stayed = narrator.run("run", script, "--draft", LC_ALL="en_US.UTF-8", timeout=600)
    assert "--resplit" in stayed.stdout, stayed.stdout + stayed.stderr
    assert wavs_in(folder) == before
    at_first = requests_for_speech(server)
    anew = narrator.run("run", script, "--draft", "--resplit", LC_ALL="en_US.UTF-8", timeout=600)
    assert anew.returncode == 0, anew.stdout + anew.stderr
    assert "finished lines are made again" in anew.stdout
    assert 1 <= requests_for_speech(server) - at_first < len(before)
    assert set(before.values()) <= set(wavs_in(folder).values()), "what was recorded lies in old/"
    settled = requests_for_speech(server)
    assert narrator.run("run", script, "--draft", timeout=600).returncode == 0
    assert requests_for_speech(server) == settled
