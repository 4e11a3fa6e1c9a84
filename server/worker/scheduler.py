"""The queue: who waits, what the engine gets next, and when. Pure decisions on plain data; knows no HTTP and no clock.

Rules, in this order:
1. A line with which the engine died is spoken alone, so that the line that kills workers is found.
2. A line that was passed over too often comes first: nobody starves.
3. Clients take turns, each with its oldest line.
4. The places left go to lines of similar length, since a batch lasts as long as its longest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.worker.timing import Timing

MAX_PASSED_OVER = 4
"""Batches of better-fitting lines that may leave before a waiting line does."""

SIMILAR = 2.0
"""Lines within this factor of length go into one batch without much waste."""


@dataclass
class Waiting:
    """One line in the queue."""

    number: int
    """Order of arrival"""
    client: str
    weight: float
    """Time to say text and dummy, in the units of server/text/length.py"""
    suspect: bool = False
    """The engine has died with this line."""
    passed_over: int = 0
    arrived: float = 0.0
    """Seconds, by the same clock as `now` of hold_s"""


def next_lines(waiting: Sequence[Waiting], free: int, active: int, last_client: str) -> list[Waiting]:
    """The lines to hand to the engine now, at most `free`; the engine is speaking `active` others.

    waiting: in any order. passed_over is not changed here, see `pass_over`.
    """
    if not waiting or free <= 0:
        return []
    oldest = sorted(waiting, key=lambda line: line.number)
    suspects = [line for line in oldest if line.suspect]
    if suspects:
        return [] if active else suspects[:1]
    chosen = [line for line in oldest if line.passed_over >= MAX_PASSED_OVER][:free]
    rest = [line for line in oldest if line not in chosen]
    if len(chosen) < free and rest:
        first = _next_turn(rest, chosen[-1].client if chosen else last_client)
        chosen.append(first)
        rest.remove(first)
    anchor = chosen[0].weight
    while len(chosen) < free and rest:
        turn = _fitting_turn(rest, chosen[-1].client, anchor)
        if turn is None:
            break
        chosen.append(turn)
        rest.remove(turn)
    return chosen


def _next_turn(oldest: Sequence[Waiting], last_client: str) -> Waiting:
    """The oldest line of the client after the last one, in order of first arrival."""
    clients = list(dict.fromkeys(line.client for line in oldest))
    if last_client in clients and len(clients) > 1:
        at = clients.index(last_client)
        clients = clients[at + 1 :] + clients[: at + 1]
    return next(line for line in oldest if line.client == clients[0])


def _fitting_turn(rest: Sequence[Waiting], last_client: str, anchor: float) -> Waiting | None:
    """A line that fits the anchor's length, another client's before one of the same client; None: none fits."""
    fitting = [line for line in rest if anchor / SIMILAR <= line.weight <= anchor * SIMILAR]
    return _next_turn(fitting, last_client) if fitting else None


def pass_over(waiting: Sequence[Waiting], chosen: Sequence[Waiting]) -> None:
    """Counts one pass for each line that was left waiting although a later line was chosen."""
    if not chosen:
        return
    latest = max(line.number for line in chosen)
    for line in waiting:
        if line not in chosen and line.number < latest:
            line.passed_over += 1


def hold_s(waiting: Sequence[Waiting], free: int, now: float, timing: Timing, draining: bool = False) -> float:
    """Seconds to wait for further lines of a burst before handing over; 0: hand over now.

    Twelve requests sent together arrive one by one: handed over at once, the first would be spoken alone and each of
    the others would join it with a prefill of its own.
    """
    # With one row there is never a wait: one line fills the engine.
    if not waiting or len(waiting) >= free or draining or any(line.suspect for line in waiting):
        return 0.0
    settled = max(line.arrived for line in waiting) + timing.settle_s
    due = min(line.arrived for line in waiting) + timing.max_held_s
    return max(0.0, min(settled, due) - now)
