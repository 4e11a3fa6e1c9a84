"""One line of a script to finished audio: add the dummy, speak, cut, end with silence. Knows no HTTP and no process.

The dummy sentence is what keeps the ending whole: models stop a little early, and then it is the dummy's ending that
suffers (the method is the user's own; see docs/cutting.md).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from server.audio import Audio
from server.contract import MAX_SEED, Code
from server.cut import Cut, find_cut, finish
from server.engines import Engine, EngineFacts
from server.errors import NarratorError, TakeFailed
from server.suffix import dummy_for, join
from server.text import normalise

CUT_VERSION = 1
"""Raised whenever the cut or what follows it changes the sound of a line."""


@dataclass(frozen=True)
class TakeSettings:
    dummy_suffix: str = ""
    """Replaces the language's own dummy sentence."""
    max_takes: int = 3
    """How often a sentence is spoken at most before it counts as failed."""


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
    """How many were spoken, this one included."""
    cut: Cut


def retake_seed(seed: int, attempt: int) -> int:
    """The seed of the attempt-th take (0 is the request's own): far apart, and the same every time."""
    if attempt == 0:
        return seed
    digest = hashlib.sha256(f"{seed}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:4]) % (MAX_SEED + 1)


def make_take(engine: Engine, line: Line, settings: TakeSettings) -> Take:
    """Raises TextRefused, or NarratorError(take_failed) when no take was good."""
    text = normalise(line.text, line.language)
    dummy = dummy_for(line.language, text, settings.dummy_suffix)
    padded, _ = join(text, dummy)
    reasons = []
    for attempt in range(settings.max_takes):
        seed = retake_seed(line.seed, attempt)
        try:
            spoken = engine.speak(padded, line.language, seed)
        except TakeFailed as failure:
            reasons.append(failure.reason)
            continue
        cut = find_cut(spoken.samples, spoken.sample_rate, text, dummy.text, None)
        finished = Audio(finish(spoken.samples, cut, spoken.sample_rate), spoken.sample_rate)
        return Take(finished, seed, attempt + 1, cut)
    raise NarratorError(Code.TAKE_FAILED, takes=settings.max_takes, reason="; ".join(dict.fromkeys(reasons)))


def sound_fingerprint(facts: EngineFacts, settings: TakeSettings) -> str:
    """Whatever changes how a line sounds, beside engine, model and voice: 12 hex digits."""
    parts = (facts.sound, str(facts.sample_rate), settings.dummy_suffix, f"cut {CUT_VERSION}")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
