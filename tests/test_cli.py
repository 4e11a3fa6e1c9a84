from __future__ import annotations

import sys
from pathlib import Path

import pytest

from client.cli import again_command, program_as_typed, without_once
from client.play import player_command


@pytest.mark.parametrize(
    ("program", "on_path", "typed"),
    [
        ("/p/.venv/bin/narrate", False, "/p/.venv/bin/narrate"),
        ("/p/.venv/bin/narrate", True, "narrate"),
        ("/p/client/__main__.py", False, "narrate"),
    ],
)
def test_the_command_to_go_on_can_be_typed_as_it_stands(program: str, on_path: bool, typed: str) -> None:
    assert program_as_typed(program, lambda name: "/usr/bin/narrate" if on_path else None) == str(Path(typed))


def test_what_was_for_once_and_the_key_are_left_out() -> None:
    words = ["run", "a b.txt", "--new", "--key", "secret", "--mix", "--key=secret", "--revoice", "-p", "x"]
    assert without_once(words) == ["run", "a b.txt", "--mix", "-p", "x"]


def test_a_name_with_a_space_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["narrate", "run", "내 대본.txt"])
    quote = '"' if sys.platform == "win32" else "'"
    assert again_command().endswith(f"run {quote}내 대본.txt{quote}")


@pytest.mark.parametrize(
    ("platform", "has", "command"),
    [
        ("darwin", [], ("afplay",)),
        ("linux", ["aplay", "paplay"], ("paplay",)),
        ("linux", ["aplay"], ("aplay", "-q")),
        ("linux", [], None),
    ],
)
def test_sound_is_played_with_what_there_is(platform: str, has: list[str], command: tuple[str, ...] | None) -> None:
    assert player_command(platform, lambda name: name if name in has else None) == command
