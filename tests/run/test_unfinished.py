"""What this user's unfinished runs are remembered by."""

from __future__ import annotations

import json
from pathlib import Path

from client.commands.resume import resumed
from client.run.night import Invocation
from client.run.options import RunOptions
from client.run.unfinished import UnfinishedRun, file_of, forget, remember, unfinished, unfinished_run


def run_in(folder: Path) -> UnfinishedRun:
    return unfinished_run(RunOptions(script=folder / "s.txt", draft=True), folder, "p", folder)


def test_runs_are_remembered_in_the_order_of_their_folders_and_forgotten(tmp_path: Path) -> None:
    runs = tmp_path / "state" / "runs"
    assert unfinished(runs) == []
    for name in ("2026-02-20_b", "2026-02-19_a", "2026-02-20_b"):
        assert remember(runs, run_in(tmp_path / name))
    assert [run.folder.name for run in unfinished(runs)] == ["2026-02-19_a", "2026-02-20_b"]
    assert unfinished(runs)[0] == run_in(tmp_path / "2026-02-19_a")
    forget(runs, tmp_path / "2026-02-19_a")
    forget(runs, tmp_path / "2026-02-19_a")
    assert [run.folder.name for run in unfinished(runs)] == ["2026-02-20_b"]


def test_a_damaged_entry_hides_no_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        remember(tmp_path, run_in(tmp_path / name))
    file_of(tmp_path, tmp_path / "a").write_bytes(bytes(50))
    assert [run.folder.name for run in unfinished(tmp_path)] == ["b"]


def test_a_home_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not remember(tmp_path / "file" / "runs", run_in(tmp_path))


WRITTEN_BY_C94DCAD = """{
 "folder": "/n/output/2026-11-28_아침",
 "script": "/n/아침.txt",
 "typed_in": "/n",
 "output": "/n/output",
 "server": "http://192.168.0.2:7860",
 "project": "아침",
 "language": "ko",
 "draft": true,
 "local": true,
 "mix": true,
 "wait_hours": 3.5
}"""
EVERYTHING_ASKED = RunOptions(
    script=Path("/n/아침.txt"),
    project="아침",
    language="ko",
    draft=True,
    local=True,
    new=True,
    into=Path("/n/output/2026-11-28_아침"),
    revoice=True,
    mix=True,
    adopt=True,
    wait_hours=3.5,
    server="http://192.168.0.2:7860",
    output="output",
    as_json=True,
)
MORNING = Path("/n/output/2026-11-28_아침")


def test_a_run_that_c94dcad_remembered_goes_on(tmp_path: Path) -> None:
    file_of(tmp_path, MORNING).write_text(WRITTEN_BY_C94DCAD, "utf-8")
    (run,) = unfinished(tmp_path)
    assert resumed(run, as_json=True, command="narrate resume --all") == (
        UnfinishedRun(
            folder=MORNING,
            typed_in=Path("/n"),
            script=Path("/n/아침.txt"),
            output="/n/output",
            server="http://192.168.0.2:7860",
            project="아침",
            language="ko",
            draft=True,
            local=True,
            mix=True,
            wait_hours=3.5,
            into=MORNING,
            as_json=True,
        ),
        Invocation("narrate resume --all", Path("/n")),
    )


def test_what_is_remembered_now_is_what_c94dcad_wrote(tmp_path: Path) -> None:
    """An option of later days adds a key. What holds for one time only would make every line again on resume."""
    assert remember(tmp_path, unfinished_run(EVERYTHING_ASKED, MORNING, "아침", Path("/n")))
    written = json.loads(file_of(tmp_path, MORNING).read_bytes())
    assert written.items() >= json.loads(WRITTEN_BY_C94DCAD).items()
    assert not written.keys() & {"key", "new", "revoice", "into", "adopt"}


def test_a_resumed_run_is_remembered_as_it_was(tmp_path: Path) -> None:
    file_of(tmp_path, MORNING).write_text(WRITTEN_BY_C94DCAD, "utf-8")
    (run,) = unfinished(tmp_path)
    options, invocation = resumed(run, as_json=False, command="narrate resume --all")
    assert invocation.typed_in is not None
    assert remember(tmp_path, unfinished_run(options, run.folder, run.project, invocation.typed_in))
    assert unfinished(tmp_path) == [run]
