"""Plays a WAV file with what the system has."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Player = tuple[str, ...]
"""A program with its options; the file's name follows them."""

FFPLAY: Player = ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error")
SOX: Player = ("play", "-q")
LINUX_PLAYERS: tuple[Player, ...] = (("pw-play",), ("paplay",), ("aplay", "-q"), FFPLAY, SOX)
MAC_PLAYERS: tuple[Player, ...] = (("afplay",), FFPLAY, SOX)


def known_players(platform: str) -> tuple[Player, ...]:
    """The players in the order in which they are tried; none on Windows, which plays WAV files itself."""
    if platform == "win32":
        return ()
    return MAC_PLAYERS if platform == "darwin" else LINUX_PLAYERS


def players(platform: str, which: Callable[[str], str | None]) -> tuple[Player, ...]:
    """The known players that are installed on this machine."""
    return tuple(player for player in known_players(platform) if which(player[0]))


def play(file: Path) -> bool:
    """False when this machine has nothing that could play it."""
    if sys.platform == "win32":
        return _windows_played(file)
    return any(_played(player, file) for player in players(sys.platform, shutil.which))


def _windows_played(file: Path) -> bool:
    if sys.platform != "win32":
        return False
    import winsound

    try:
        winsound.PlaySound(str(file), winsound.SND_FILENAME)
    except RuntimeError:  # no sound device, or a service that is off
        return False
    return True


def _played(player: Player, file: Path) -> bool:
    # An installed player may find no sound server to play to; its error message would only confuse.
    try:
        return subprocess.run([*player, str(file)], check=False, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False
