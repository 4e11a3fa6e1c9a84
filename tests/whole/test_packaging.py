"""What an installation pulls in, and what importing pulls in."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "qwen_tts", "librosa"}
SHARED = {
    "server.contract",
    "server.terminal",
    "server.text",
    "server.sentences",
    "server.script",
    "server.places",
    "server.whole_files",
}
"""All that the client may import of the server."""


def loaded_after(statement: str) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*(n.split('.')[0] for n in sys.modules))"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return set(ended.stdout.split())


def test_the_client_imports_neither_torch_nor_fastapi_nor_numpy() -> None:
    loaded = loaded_after("import client.cli, client.voice_server.local, client.demo")
    assert not loaded & (HEAVY | {"fastapi", "uvicorn", "starlette", "numpy", "soundfile"})


def test_the_servers_parent_imports_no_torch() -> None:
    loaded = loaded_after("import server.__main__, server.http.app, server.worker.supervisor")
    assert not loaded & HEAVY
    assert "fastapi" in loaded


def test_the_worker_imports_torch_only_when_it_opens_the_engine() -> None:
    assert not loaded_after("import server.worker") & HEAVY


def imported_names(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} if node.module != "server" else {f"server.{alias.name}" for alias in node.names}
    return names


def test_the_client_knows_of_the_server_only_what_both_share() -> None:
    for file in (ROOT / "client").rglob("*.py"):
        ours = {name for name in imported_names(file) if name.split(".")[0] == "server"}
        assert {".".join(name.split(".")[:2]) for name in ours} <= SHARED, file.name


def test_the_server_knows_nothing_of_the_client() -> None:
    for file in (ROOT / "server").rglob("*.py"):
        assert "client" not in {name.split(".")[0] for name in imported_names(file)}, file.name


def test_the_parts_that_both_share_are_light() -> None:
    loaded = loaded_after("import " + ", ".join(sorted(SHARED)))
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
