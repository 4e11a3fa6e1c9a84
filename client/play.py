"""Plays a WAV file with what the system has."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

LINUX_PLAYERS = (
    ("pw-play",),
    ("paplay",),
    ("aplay", "-q"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
    ("play", "-q"),
)


def player_command(platform: str, which: Callable[[str], str | None]) -> tuple[str, ...] | None:
    """The program to call with the file's name behind it; None where there is none. Windows plays by itself."""
    if platform == "darwin":
        return ("afplay",)
    return next((command for command in LINUX_PLAYERS if which(command[0])), None)


def play(file: Path) -> bool:
    """False when this machine has nothing to play it with."""
    if sys.platform == "win32":
        import winsound

        winsound.PlaySound(str(file), winsound.SND_FILENAME)
        return True
    command = player_command(sys.platform, shutil.which)
    if command is None:
        return False
    return subprocess.run([*command, str(file)], check=False).returncode == 0
