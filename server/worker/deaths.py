"""A worker has ended: who ended it, and what becomes of the lines that it had. Pure; knows no process and no clock.

1. The engine ended by itself: its lines are suspects from now on and are spoken alone (scheduler.py). A line that sees
   a second worker die, and was alone with it, is poison: refused for ever.
2. Something outside ended it: a line is spoken again once, then its caller is told to ask again. A text that was there
   at six such ends is poison too, since then it is the text that needs too much memory.
3. The supervisor ended it, over its budget: the late lines have their answer already, the others are spoken again.

Five ends within ten minutes, with no line answered in between, and the breaker opens: a new worker would end too.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

MAX_DEATHS_SEEN = 2
"""Workers that one line may see die before it is answered with an error."""

MAX_DEATHS_WITHOUT_ANSWER = 5
"""Deaths within the window, and not one line answered in between, that open the breaker."""

MAX_DEATHS_FROM_OUTSIDE = 6
"""Workers killed from outside with one and the same text, over all its requests, before the text counts as poison."""


class Death(StrEnum):
    """Who ended a worker."""

    ENGINE = "engine"
    OUTSIDE = "outside"
    """Another program: the system short of memory, a person with a task manager, a test."""
    HUNG = "hung"
    """The supervisor, because the worker was over its budget."""


@dataclass(frozen=True)
class LineRecord:
    """What is known about a line that is with the worker."""

    number: int
    text: str
    deaths_by_engine: int = 0
    deaths_from_outside: int = 0

    @property
    def suspect(self) -> bool:
        """The engine has died with this line, so the line is spoken alone."""
        return self.deaths_by_engine > 0

    def after(self, death: Death) -> LineRecord:
        return replace(
            self,
            deaths_by_engine=self.deaths_by_engine + (death is Death.ENGINE),
            deaths_from_outside=self.deaths_from_outside + (death is Death.OUTSIDE),
        )


@dataclass(frozen=True)
class Verdict:
    """What the supervisor has to do after a death; lines by their number."""

    death: Death
    poison: tuple[int, ...]
    """Refused for ever."""
    put_off: tuple[int, ...]
    """Answered with an error after which the caller may ask again."""
    retry: tuple[LineRecord, ...]
    """Go back into the queue, this death noted in their records."""
    deaths: int
    """Within the window, this one included, with no line answered in between"""
    give_up: bool
    """The breaker opens: no new worker is started."""


@dataclass
class Deaths:
    """Remembers what one verdict needs of the deaths before it."""

    within_s: float
    """Window of the breaker"""
    _times: deque[float] = field(default_factory=deque)
    """Of deaths since the last answer, in seconds by the clock of judge's now"""
    _killed_with: Counter[str] = field(default_factory=Counter)
    """Deaths from outside by text"""

    def line_answered(self, text: str) -> None:
        """A worker has answered this text: the breaker starts afresh, and so does the text."""
        self._times.clear()
        self._killed_with.pop(text, None)

    def judge(
        self, exit_code: int, over_budget: bool, unanswered: Sequence[LineRecord], alone: bool, now: float
    ) -> Verdict:
        """exit_code: as subprocess gives it. over_budget: the supervisor killed this worker.

        unanswered: the lines that the worker had and that still need an answer. alone: the worker had one line only;
        a line whose caller has gone counts there. now: seconds, by any clock that never goes back.
        """
        death = kind_of_death(exit_code, over_budget)
        poison, put_off, retry = [], [], []
        for line in (record.after(death) for record in unanswered):
            if self._is_poison(line, death, alone):
                poison.append(line.number)
            elif death is Death.OUTSIDE and line.deaths_from_outside >= MAX_DEATHS_SEEN:
                put_off.append(line.number)
            else:
                retry.append(line)
        deaths = self._count(now)
        give_up = deaths >= MAX_DEATHS_WITHOUT_ANSWER
        return Verdict(death, tuple(poison), tuple(put_off), tuple(retry), deaths, give_up)

    def _is_poison(self, line: LineRecord, death: Death, alone: bool) -> bool:
        if death is Death.ENGINE:
            # Any line of a batch may be the one that killed: only a line that was alone is proven.
            return alone and line.deaths_by_engine >= MAX_DEATHS_SEEN
        if death is Death.OUTSIDE:
            self._killed_with[line.text] += 1
            return self._killed_with[line.text] >= MAX_DEATHS_FROM_OUTSIDE
        return False

    def _count(self, now: float) -> int:
        """Deaths within the window, with the one of now."""
        self._times.append(now)
        while now - self._times[0] > self.within_s:
            self._times.popleft()
        return len(self._times)


def kind_of_death(exit_code: int, over_budget: bool, platform: str = sys.platform) -> Death:
    """Only what the engine did by itself is held against a line."""
    if over_budget:
        return Death.HUNG
    killed = {-signal.SIGTERM, -9, -signal.SIGINT} if platform != "win32" else {1, 15}
    return Death.OUTSIDE if exit_code in killed else Death.ENGINE
