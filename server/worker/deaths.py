"""Who ended a worker, and how long to wait before the next one. Pure."""

from __future__ import annotations

import signal
import sys
from enum import StrEnum

MAX_DEATHS_SEEN = 2
"""Workers that one line may see die before it is answered with an error."""

MAX_DEATHS_WITHOUT_SPEECH = 5

DEATHS_WITHIN_S = 600.0
"""So many deaths within this time and not one line in between: a new worker would die too."""

RESTART_DELAYS_S = (0.0, 2.0, 5.0, 15.0, 60.0)
"""Pause before the n-th new worker in a row that never became ready; the last one repeats."""

MAX_DEATHS_FROM_OUTSIDE = 6
"""Workers killed with one and the same text, over all its requests: then the text itself is the cause (memory)."""


class Death(StrEnum):
    """Who ended a worker."""

    ENGINE = "engine"
    OUTSIDE = "outside"
    """Somebody else: the system short of memory, a person, a test."""
    HUNG = "hung"
    """We did, over its budget."""


def kind_of_death(exit_code: int, over_budget: bool, platform: str = sys.platform) -> Death:
    """Only what the engine did by itself is held against a line."""
    if over_budget:
        return Death.HUNG
    killed = {-signal.SIGTERM, -9, -signal.SIGINT} if platform != "win32" else {1, 15}
    return Death.OUTSIDE if exit_code in killed else Death.ENGINE


def restart_delay_s(failures: int) -> float:
    """failures: workers in a row that ended before they were ready."""
    return RESTART_DELAYS_S[min(failures, len(RESTART_DELAYS_S) - 1)]
