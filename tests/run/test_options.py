"""An option of `narrate run` is a parameter in client/cli.py and a field of RunOptions, and nothing else."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import typer
from kept import KEPT
from pydantic.fields import FieldInfo

from client import cli
from client.run.options import RunOptions
from client.run.unfinished import file_of, remember, unfinished_run
from server.terminal.exit_codes import ExitCode

NO_PART_OF_THE_RUN = {
    "key": "a secret: it goes into the settings and never into a file",
    "lang": "the language of this terminal",
    "context": "typer's own; not on the command line",
}


def run_command() -> Callable[..., Any]:
    return next(each.callback for each in cli.build().registered_commands if each.callback.__name__ == "run")


def plain_type(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def test_every_option_is_a_parameter_and_a_field_of_one_name_one_type_and_one_default() -> None:
    """A default that stands in both may not drift: the demo and `resume` take the field's, `run` the parameter's."""
    parameters = {
        name: (plain_type(parameter.annotation), parameter.default)
        for name, parameter in inspect.signature(run_command()).parameters.items()
        if name not in NO_PART_OF_THE_RUN
    }
    hints = get_type_hints(RunOptions)
    options = {
        field.name: (hints[field.name], inspect.Parameter.empty if field.default is MISSING else field.default)
        for field in fields(RunOptions)
    }
    assert parameters == options


def test_every_option_is_remembered_or_says_why_not(tmp_path: Path) -> None:
    run = unfinished_run(RunOptions(script=Path("a.txt")), tmp_path / "p", "p", tmp_path)
    assert remember(tmp_path, run)
    remembered = json.loads(file_of(tmp_path, run.folder).read_bytes())
    reasons = {
        name: mark.description
        for name, hint in get_type_hints(RunOptions, include_extras=True).items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, FieldInfo)
    }
    assert {field.name for field in fields(RunOptions)} - remembered.keys() == reasons.keys()
    assert all(reasons.values())


EVERY_OPTION = {
    "script": ("a.txt", Path("a.txt")),
    "project": ("--project", "p"),
    "language": ("--language", "ko"),
    "draft": ("--draft", True),
    "local": ("--local", True),
    "new": ("--new", True),
    "into": ("--into", Path("f")),
    "revoice": ("--revoice", True),
    "mix": ("--mix", True),
    "adopt": ("--adopt", True),
    "resplit": ("--resplit", True),
    "wait_hours": ("--wait", 0.5),
    "server": ("--server", "127.0.0.1:1"),
    "output": ("--output", "o"),
    "as_json": ("--json", True),
}


@pytest.mark.parametrize("name", EVERY_OPTION)
def test_what_is_typed_arrives_in_the_field_of_its_option(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own field and in no other; --key may stand beside it and arrives in none."""
    word, value = EVERY_OPTION[name]
    asked: list[RunOptions] = []

    def started(settings: object, options: RunOptions, invocation: object) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(cli, "_run_with_server", started)
    words = ["run", "a.txt", "--key", "k"]
    if name != "script":
        words += [word] if value is True else [word, str(value)]
    command: Any = typer.main.get_command(cli.build())
    command.main(args=words, prog_name="narrate", standalone_mode=False)
    assert asked == [RunOptions(**{"script": Path("a.txt"), name: value})]


def test_every_field_is_typed_in_the_test_above() -> None:
    assert set(EVERY_OPTION) == {field.name for field in fields(RunOptions)}


def test_the_exit_codes_are_those_of_c94dcad() -> None:
    golden = json.loads((KEPT / "surface.json").read_text("utf-8"))["exit_codes"]["narrate"]
    of_the_server = {ExitCode.SETTINGS, ExitCode.UNUSABLE, ExitCode.BROKEN}
    assert {str(int(code)) for code in ExitCode if code not in of_the_server} == set(golden)
