"""Which folder may import which: every import leads down, and both programs share only the rooms meant for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SERVER_FLOORS = (
    ("__main__",),
    ("commands",),
    ("http",),
    ("settings", "worker"),
    ("takes",),
    ("engines.qwen", "engines.draft"),
    ("engines",),
    ("cut", "voices"),
    ("audio",),
    ("network", "awake", "downloads"),
    ("wake_lock",),
    ("script",),
    ("sentences",),
    ("text",),
    ("errors",),
    ("contract",),
    ("terminal",),
    ("places", "whole_files"),
)
"""From the top down. Rooms of one floor do not import each other, except the pairs of LEVEL."""
LEVEL = {("engines", "engines.qwen"), ("engines", "engines.draft")}
"""(importer, imported): `engines` imports an engine when the engine is opened."""

CLIENT_FLOORS = (
    ("__main__", "demo"),
    ("cli",),
    ("commands",),
    ("run",),
    ("project",),
    ("voice_server", "settings"),
    ("errors",),
)
SHARED = {"contract", "terminal", "text", "sentences", "script", "places", "whole_files", "wake_lock"}
"""Rooms of the server that the client may import."""


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(file) for program in ("server", "client") for file in (ROOT / program).rglob("*.py")}


def room_of(module: str) -> str:
    """The module's folder, or the module itself where it lies beside the folders. Each engine is a room of its own."""
    parts = module.split(".")[1:]
    if parts[:1] == ["engines"] and len(parts) > 1:
        return ".".join(parts[:2])
    return parts[0] if parts else ""


@cache
def imports_of(file: Path) -> tuple[str, ...]:
    return tuple(_imports_of(file))


def _imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def ours(program: str, file: Path) -> Iterator[str]:
    """Rooms of `program` that the file imports, without the file's own room."""
    for name in imports_of(file):
        if name.split(".")[0] == program and room_of(name) and room_of(name) != room_of(module_name(file)):
            yield room_of(name)


@pytest.mark.parametrize(("program", "floors"), [("server", SERVER_FLOORS), ("client", CLIENT_FLOORS)])
def test_every_room_has_its_floor(program: str, floors: tuple[tuple[str, ...], ...]) -> None:
    rooms = {room_of(module) for module in MODULES if module.startswith(program + ".")}
    assert rooms == {room for floor in floors for room in floor}


@pytest.mark.parametrize(("program", "floors"), [("server", SERVER_FLOORS), ("client", CLIENT_FLOORS)])
def test_no_import_leads_up_or_sideways(program: str, floors: tuple[tuple[str, ...], ...]) -> None:
    height = {room: level for level, floor in enumerate(floors) for room in floor}
    wrong = [
        f"{module_name(file)} imports {room}"
        for file in sorted((ROOT / program).rglob("*.py"))
        for room in ours(program, file)
        if (importer := room_of(module_name(file)))
        and height[room] <= height[importer]
        and (importer, room) not in LEVEL
    ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Modules in a circle are one module in several files. Imports inside `open_engine` come later, at its call."""
    open_ones = {
        module_name(file): {
            name
            for name in imports_of(file)
            if name in MODULES
            and name != module_name(file)
            and not (module_name(file) == "server.engines" and name.startswith("server.engines."))
        }
        for program in ("server", "client")
        for file in (ROOT / program).rglob("*.py")
    }
    while leaves := {module for module, targets in open_ones.items() if not targets & set(open_ones)}:
        open_ones = {module: targets for module, targets in open_ones.items() if module not in leaves}
    assert not open_ones


def test_the_client_knows_of_the_server_only_what_both_share() -> None:
    for file in (ROOT / "client").rglob("*.py"):
        assert set(ours("server", file)) <= SHARED, module_name(file)


def test_the_server_knows_nothing_of_the_client() -> None:
    for file in (ROOT / "server").rglob("*.py"):
        assert not [name for name in imports_of(file) if name.split(".")[0] == "client"], module_name(file)


@pytest.mark.parametrize("file", sorted(MODULES))
def test_no_file_is_longer_than_a_subject(file: str) -> None:
    path = ROOT / Path(*file.split("."))
    path = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    assert len(path.read_text("utf-8").splitlines()) <= 460
