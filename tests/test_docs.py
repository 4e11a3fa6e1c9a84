"""The papers agree with the programs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from client.settings import NAMES as CLIENT_NAMES
from server.envfile import read_env_file
from server.settings import NAMES, validated

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.ko.md")


def test_every_setting_is_explained_in_the_example_and_nothing_else_is() -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    named = re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", text, re.MULTILINE)
    assert set(named) - {"HF_ENDPOINT", "HF_HUB_OFFLINE"} == {*NAMES, *CLIENT_NAMES}
    for name in named:
        before = text[: re.search(rf"^(?:# )?{name}=", text, re.MULTILINE).start()]  # type: ignore[union-attr]
        assert before.rstrip().splitlines()[-1].startswith("#"), f"{name} has no sentence above it"


def test_the_examples_defaults_are_the_programs(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    switched_on = re.sub(r"^# (?=[A-Z][A-Z_]+=)", "", text, flags=re.MULTILINE)
    (tmp_path / ".env").write_text(switched_on, "utf-8")
    values = {name.lower(): value for name, value in read_env_file(tmp_path / ".env").items() if name in NAMES}
    shown = {name: values.pop(name) for name in ("ref_audio", "ref_text")}
    assert shown["ref_audio"] == "C:\\voices\\me.wav"
    assert validated(values) == validated({})


def options(module: str, command: str) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-m", module, command, "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(re.findall(r"--[a-z-]+", ended.stdout))


@pytest.mark.parametrize("readme", READMES)
def test_every_command_is_in_the_readme(readme: str) -> None:
    text = (ROOT / readme).read_text("utf-8")
    for command in ("serve", "init", "doctor"):
        assert f"voice-server {command}" in text
    for command in ("run", "split", "say", "status", "resume"):
        assert f"narrate {command}" in text
    for script in ("demo", "test", "install"):
        assert f"python scripts/{script}.py" in text


@pytest.mark.parametrize("readme", READMES)
def test_the_readme_names_no_option_that_is_not_there(readme: str) -> None:
    text = (ROOT / readme).read_text("utf-8")
    known = {
        program: {command: options(module, command) for command in commands}
        for program, module, commands in (
            ("narrate", "client", ("run", "split", "say", "status", "resume")),
            ("voice-server", "server", ("serve", "init", "doctor")),
        )
    }
    used = re.findall(r"(narrate|voice-server) ([a-z]+)([^\n`]*)", text)
    assert used
    for program, command, rest in used:
        if command in known[program]:
            assert set(re.findall(r"--[a-z-]+", rest)) <= known[program][command], (program, command, rest)


@pytest.mark.parametrize("readme", READMES)
def test_links_within_the_project_lead_somewhere(readme: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / readme).read_text("utf-8")):
        if "://" not in target:
            assert (ROOT / target).exists(), target


SYMPTOMS = (
    "device-side assert",
    "latin-1",
    "Torch not compiled with CUDA",
    "No module named",
    "Flash",
    "out of memory",
    "HF_ENDPOINT",
    "bfloat16",
)


@pytest.mark.parametrize("readme", READMES)
def test_each_trouble_of_the_first_guide_has_an_entry(readme: str) -> None:
    text = (ROOT / readme).read_text("utf-8")
    for symptom in SYMPTOMS:
        assert symptom.casefold() in text.casefold(), symptom
