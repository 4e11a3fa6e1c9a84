"""How the programs of this project end, for whatever started them: a shell, a service manager, the worker's parent.

Documented in docs/en/settings.md and docs/en/service.md. eSpeak NG's child has codes of its own (draft/child.py).
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class ExitCode(IntEnum):
    OK = 0
    """All done; a server or worker ended because it was told to."""
    ERROR = 1
    """The command could not begin, or met a fault of its own."""
    USAGE = 2
    """The command line was not understood."""

    PARTIAL = 3
    """narrate: some lines failed or are missing."""
    SERVER = 4
    """narrate: the server is away."""
    KEY = 5
    """narrate: the server refused the key."""
    VOICE = 6
    """narrate: the server speaks in another voice than this folder, or draft that nobody asked for."""
    DISK = 7
    """narrate: the folder cannot be written."""

    SETTINGS = 40
    """voice-server: a setting is wrong; starting again would end the same way."""
    UNUSABLE = 41
    """voice-server: the port is taken or the engine cannot work here, now; starting again later may help. The worker:
    the engine could not be opened."""
    BROKEN = 42
    """voice-server: the engine's process ended again and again. The worker: its engine cannot be used again in this
    process; one in a new process can."""

    INTERRUPTED = 130
    """narrate: Ctrl-C. voice-server: the second Ctrl-C, which stops it at once."""
