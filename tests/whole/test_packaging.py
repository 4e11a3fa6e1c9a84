"""What an installation pulls in, and what importing pulls in."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "qwen_tts", "librosa"}


def loaded_after(statement: str) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*(n.split('.')[0] for n in sys.modules))"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return set(ended.stdout.split())


def modules_of(*rooms: str) -> str:
    """All modules below these folders, by name and between commas; `__main__` runs a program and is left out."""
    files = [file for room in rooms for file in (ROOT / room).rglob("*.py") if file.stem != "__main__"]
    found = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files}
    return ", ".join(sorted(found))


def test_the_client_imports_neither_torch_nor_fastapi_nor_numpy() -> None:
    loaded = loaded_after(f"import {modules_of('client')}")
    assert not loaded & (HEAVY | {"fastapi", "uvicorn", "starlette", "numpy", "soundfile"})


def test_the_servers_parent_imports_no_torch() -> None:
    loaded = loaded_after("import server.__main__, server.http.app, server.worker.supervisor")
    assert not loaded & HEAVY
    assert "fastapi" in loaded


def test_the_worker_imports_torch_only_when_it_opens_the_engine() -> None:
    loaded = loaded_after("import server.worker.__main__")
    assert not loaded & HEAVY
    assert "numpy" in loaded


def test_the_rooms_that_both_programs_use_are_light() -> None:
    """Which rooms these are, tests/whole/test_floors.py holds."""
    rooms = ("contract", "terminal", "text", "sentences", "script")
    loaded = loaded_after(f"import {modules_of(*(f'server/{room}' for room in rooms))}")
    loaded |= loaded_after("import server.places, server.whole_files, server.wake_lock")
    assert not loaded & (HEAVY | {"fastapi", "numpy", "httpx"})


@pytest.fixture(scope="module")
def pyproject() -> dict[str, object]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"])


def names(requirements: list[str]) -> set[str]:
    import re

    return {re.split(r"[<>=!\[; ]", requirement)[0] for requirement in requirements}


def test_a_plain_install_is_the_client_alone(pyproject: dict[str, list[str]]) -> None:
    assert not names(pyproject["dependencies"]) & {"torch", "fastapi", "uvicorn", "numpy", "qwen-tts", "transformers"}


def test_what_breaks_is_pinned(pyproject: dict[str, dict[str, list[str]]]) -> None:
    qwen = pyproject["optional-dependencies"]["qwen"]
    assert {"qwen-tts==0.1.1", "transformers==4.57.3", "accelerate==1.12.0"} <= set(qwen)
    assert any(requirement.startswith("torch") and "<2.15" in requirement for requirement in qwen)


def test_neither_program_waits_for_a_lock_file_that_holds_addresses() -> None:
    assert not list(ROOT.glob("uv.lock")) + list(ROOT.glob("pylock*.toml"))
