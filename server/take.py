"""One line of a script to finished audio: add the dummy, speak, cut, end with silence. Knows no HTTP and no process.

The dummy sentence is what keeps the ending whole: models stop a little early, and then it is the dummy's ending that
suffers (the method is the user's own; see docs/cutting.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from server.audio import Audio
from server.calibration import Calibration
from server.contract import MAX_SEED, Code
from server.cut import Cut, find_cut, finish, reference_cut
from server.engines import Engine, EngineFacts
from server.errors import NarratorError, TakeFailed
from server.suffix import Dummy, dummy_for, join
from server.text import normalise

CUT_VERSION = 1
"""Raised whenever the cut or what follows it changes the sound of a line."""

CONFIDENCE_LIMIT = 0.8
"""Below it a take is spoken again; docs/cutting.md shows what that catches and what it costs."""


@dataclass(frozen=True)
class TakeSettings:
    language: str = "Korean"
    """The server's own: its dummy is calibrated at start."""
    dummy_suffix: str = ""
    """Replaces the language's own dummy sentence."""
    max_takes: int = 3
    """How often a sentence is spoken at most."""
    cut: str = "calibrated"
    """`calibrated`, or `reference` for the first server's algorithm"""
    confidence: float = CONFIDENCE_LIMIT
    head_ms: float = 40.0
    """Kept before the first sound."""


@dataclass(frozen=True)
class Line:
    text: str
    """As received."""
    language: str
    """One of the ten, such as `Korean`."""
    seed: int


@dataclass(frozen=True)
class Take:
    audio: Audio
    seed: int
    takes: int
    """How many were spoken for it, this one and the failed ones included."""
    cut: Cut
    doubtful: bool
    """No take was above the limit; this one is the best of them."""


def retake_seed(seed: int, attempt: int) -> int:
    """The seed of the attempt-th take (0 is the request's own): far apart, and the same every time."""
    if attempt == 0:
        return seed
    digest = hashlib.sha256(f"{seed}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:4]) % (MAX_SEED + 1)


def stopped_early(cut: Cut) -> bool:
    """The model ended before the dummy and in the middle of a sound: the very fault that the dummy is there against."""
    return cut.dummy == "missing" and not cut.decayed


def is_good(cut: Cut, limit: float) -> bool:
    return cut.confidence >= limit and not stopped_early(cut)


def rank(cut: Cut) -> tuple[bool, float]:
    """The greater the better."""
    return (not stopped_early(cut), cut.confidence)


def make_take(engine: Engine, line: Line, settings: TakeSettings, calibration: Calibration | None = None) -> Take:
    """The first good take, else the best of all, marked doubtful.

    Raises TextRefused, or NarratorError(take_failed) when no take could be used at all.
    """
    text = normalise(line.text, line.language)
    dummy = dummy_for(line.language, text, settings.dummy_suffix)
    padded, _ = join(text, dummy)
    find = cutter(text, dummy, line.language, settings, calibration)
    reasons: list[str] = []
    best: tuple[Audio, int, Cut] | None = None
    attempt = 0
    for attempt in range(settings.max_takes):
        seed = retake_seed(line.seed, attempt)
        try:
            spoken = engine.speak(padded, line.language, seed)
        except TakeFailed as failure:
            reasons.append(failure.reason)
            continue
        cut = find(spoken)
        if best is None or rank(cut) > rank(best[2]):
            best = (spoken, seed, cut)
        # The reference cannot tell a good cut from a bad one: speaking again would gain nothing.
        if is_good(cut, settings.confidence) or settings.cut == "reference":
            break
    if best is None:
        raise NarratorError(Code.TAKE_FAILED, takes=settings.max_takes, reason="; ".join(dict.fromkeys(reasons)))
    spoken, seed, cut = best
    finished = finish(spoken.samples, cut, spoken.sample_rate, head_ms=settings.head_ms)
    return Take(
        Audio(finished, spoken.sample_rate),
        seed,
        attempt + 1,
        cut,
        doubtful=settings.cut != "reference" and not is_good(cut, settings.confidence),
    )


def cutter(
    text: str, dummy: Dummy, language: str, settings: TakeSettings, calibration: Calibration | None
) -> Callable[[Audio], Cut]:
    """The cut as the settings want it."""
    if settings.cut == "reference":
        return lambda spoken: reference_cut(spoken.samples, spoken.sample_rate, text, dummy.text)
    takes = calibration.takes(dummy, language) if calibration else None
    return lambda spoken: find_cut(spoken.samples, spoken.sample_rate, text, dummy.text, takes)


def sound_fingerprint(facts: EngineFacts, settings: TakeSettings) -> str:
    """Whatever changes how a line sounds, beside engine, model and voice: 12 hex digits."""
    parts = (
        facts.sound,
        str(facts.sample_rate),
        settings.dummy_suffix,
        settings.cut,
        str(settings.head_ms),
        f"cut {CUT_VERSION}",
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
