"""A key is shown by nothing that prints an object: no log, no traceback with values, no failed assertion."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
SECRET = "the-secret-itself"
KEYS = {"key", "api_key", "token", "passed_on", "environment"}
"""Names of fields that hold a secret; `passed_on` and `environment` may hold HF_TOKEN."""
NEED_TORCH = ("server.engines.qwen",)


def modules() -> Iterator[str]:
    for program in ("server", "client"):
        for file in sorted((ROOT / program).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if not name.startswith(NEED_TORCH) and not name.endswith("__main__"):
                yield name
    yield from ("servers", "narrator")


def classes_with_a_key() -> dict[str, type]:
    found = {}
    for name in modules():
        for kind in vars(importlib.import_module(name)).values():
            if isinstance(kind, type) and kind.__module__ == name and KEYS & set(fields_of(kind)):
                found[f"{name}.{kind.__qualname__}"] = kind
    return found


def fields_of(kind: type) -> list[str]:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return list(kind.model_fields) if issubclass(kind, BaseModel) else []


def holding_secrets(kind: type) -> object:
    """An object of this class, made without its constructor: every field says its own name, and the keys the secret."""
    if issubclass(kind, BaseModel):
        return kind.model_validate(dict.fromkeys(KEYS & set(kind.model_fields), SECRET))
    made = object.__new__(kind)
    for name in fields_of(kind):
        object.__setattr__(made, name, SECRET if name in KEYS else name)
    return made


FOUND = classes_with_a_key()


def test_the_classes_that_are_known_to_hold_a_key_are_found() -> None:
    known = {"server.settings.Settings", "server.settings.Loaded", "server.commands.init.Answers"}
    known |= {
        "server.worker.supervisor.Supervisor",
        "client.settings.ClientSettings",
        "client.voice_server.local.LocalServer",
        "servers.RunningServer",
    }
    assert known <= FOUND.keys()


@pytest.mark.parametrize("name", FOUND)
def test_no_object_shows_its_key_when_it_is_printed(name: str) -> None:
    made = holding_secrets(FOUND[name])
    for shown in (repr(made), str(made), f"{made}", repr([made]), f"{made!r:>10}"):
        assert SECRET not in shown
