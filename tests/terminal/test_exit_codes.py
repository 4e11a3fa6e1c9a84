from __future__ import annotations

import json

from kept import KEPT

from server.terminal.exit_codes import ExitCode


def test_the_codes_are_those_that_service_managers_and_scripts_have_been_told() -> None:
    kept = json.loads((KEPT / "surface.json").read_text("utf-8"))["exit_codes"]
    assert {int(code) for program in kept.values() for code in program} == set(ExitCode)
