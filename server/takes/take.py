"""One prepared line to finished audio: add the dummy, speak, cut, end with silence. Knows no HTTP and no process.

The dummy sentence keeps the line's ending whole: models stop a little early, and then the dummy's ending suffers, not
the line's (the method is the user's own; see docs/dev/cutting.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from server.audio.samples import Audio
from server.contract.codes import ErrorCode
from server.cut.dummy_takes import DummyTakes
from server.cut.find import find_cut
from server.cut.result import Cut
from server.cut.trim import finish
from server.cut.uncalibrated import reference_cut
from server.engines import EngineFacts, TakeRequest
from server.errors import NarratorError, TakeFailed
from server.takes.calibration import Calibration
from server.takes.checks import take_fault
from server.takes.dummy import Dummy, join
from server.takes.early_stop import STOPPED_CONFIDENCE, detector_for
from server.takes.line import PreparedLine
from server.text.seed import seed_from

CUT_VERSION = 2
"""Part of the fingerprint: raised when a change of the cut, or of what follows it, changes how a line sounds."""

CONFIDENCE_LIMIT = 0.9
"""Below it a take is spoken again: refuses 87 % of the wrong cuts for 2 % retakes, docs/dev/cutting.md."""

UNCALIBRATED_LIMIT = 0.6
"""Without calibration a cut's confidence is 0.7 at most: a higher limit would have every line spoken again."""


@dataclass(frozen=True)
class TakeSettings:
    language: str = "Korean"
    """Of requests that name none; its dummy is calibrated at start."""
    dummy_suffix: str = ""
    """Replaces the language's own dummy sentence."""
    max_takes: int = 3
    """Takes of one line at most"""
    cut: str = "calibrated"
    """`calibrated`, or `reference` for the first server's algorithm"""
    confidence: float = CONFIDENCE_LIMIT
    """Limit below which a take is spoken again, 0 to 1"""
    head_ms: float = 40.0
    """Milliseconds of the take that are kept before its first sound"""
    early_stop: bool = True
    """A take is stopped once its dummy has surely begun, where the engine can be stopped."""


@dataclass(frozen=True)
class Take:
    audio: Audio
    seed: int
    takes: int
    """How many were spoken for the line, this one and the failed ones included"""
    cut: Cut
    spoken_seconds: float
    """Audio that the engine made for the line: all takes, their dummies included"""
    doubtful: bool
    """No take reached the confidence limit; this one is the best of them."""


def retake_seed(seed: int, attempt: int) -> int:
    """The seed of the attempt-th take; 0 is the first and has the line's own. Far apart, and the same every time."""
    if attempt == 0:
        return seed
    return seed_from(f"{seed}/{attempt}")


def stopped_early(cut: Cut) -> bool:
    """The model ended before the dummy and in the middle of a sound: the fault that the dummy is there to prevent."""
    return cut.dummy == "missing" and not cut.decayed


def is_good(cut: Cut, limit: float) -> bool:
    if cut.method == "uncalibrated":
        limit = min(limit, UNCALIBRATED_LIMIT)
    return cut.confidence >= limit and not stopped_early(cut)


def rank(cut: Cut) -> tuple[bool, float]:
    """Orders cuts: the better one is the greater one."""
    return (not stopped_early(cut), cut.confidence)


class LineTakes:
    """The takes of one line, from the first one to the one that is delivered. Speaks nothing itself.

    `request` is the take to ask the engine for; `add` judges its audio and returns the take to deliver, or None for one
    more.
    """

    def __init__(self, line: PreparedLine, settings: TakeSettings, calibration: Calibration | None = None) -> None:
        """calibration: of the engine that will speak; a dummy that it does not know yet is spoken at once."""
        self.line = line
        self.settings = settings
        self.padded, _ = join(line.spoken_text, line.dummy)
        known = calibration.takes(line.dummy, line.language) if calibration and settings.cut != "reference" else None
        self._find = cutter(line.spoken_text, line.dummy, settings, known)
        # Early stop reports STOPPED_CONFIDENCE; a higher CUT_CONFIDENCE therefore switches it off.
        self._known = known if settings.early_stop and settings.confidence <= STOPPED_CONFIDENCE else None
        self._detector = detector_for(line.spoken_text, line.dummy, self._known)
        self._spoken_s = 0.0
        self._attempt = 0
        self._reasons: list[str] = []
        self._best: tuple[Audio, int, Cut] | None = None

    def request(self) -> TakeRequest:
        seed = retake_seed(self.line.seed, self._attempt)
        return TakeRequest(self.padded, self.line.language, seed, self._detector)

    def add(self, spoken: Audio | TakeFailed) -> Take | None:
        """The take to deliver; None: speak `request` once more.

        Raises NarratorError(take_failed) when no take could be used at all.
        """
        seed = self.request().seed
        self._attempt += 1
        enough = False
        if isinstance(spoken, TakeFailed):
            self._reasons.append(spoken.reason)
        else:
            enough = self._judge(spoken, seed)
        self._detector = detector_for(self.line.spoken_text, self.line.dummy, self._known)  # for the next take
        if not enough and self._attempt < self.settings.max_takes:
            return None
        return self._delivered()

    def _judge(self, spoken: Audio, seed: int) -> bool:
        """Whether this take may end the search."""
        self._spoken_s += spoken.seconds
        stopped_at = self._detector.cut_of(spoken) if self._detector is not None else None
        # A stopped take holds only the start of the dummy, so its length is checked against the text alone.
        fault = take_fault(spoken, self.padded if stopped_at is None else self.line.spoken_text, self.line.language)
        if fault is not None:
            self._reasons.append(fault)
            return False
        cut = stopped_at or self._find(spoken)
        if self._best is None or rank(cut) > rank(self._best[2]):
            self._best = (spoken, seed, cut)
        # The reference cannot tell a good cut from a bad one: speaking again would gain nothing.
        return is_good(cut, self.settings.confidence) or self.settings.cut == "reference"

    def _delivered(self) -> Take:
        if self._best is None:
            reason = "; ".join(dict.fromkeys(self._reasons))
            raise NarratorError(ErrorCode.TAKE_FAILED, takes=self._attempt, reason=reason)
        spoken, seed, cut = self._best
        finished = finish(spoken.samples, cut, spoken.sample_rate, head_ms=self.settings.head_ms)
        return Take(
            Audio(finished, spoken.sample_rate),
            seed,
            self._attempt,
            cut,
            spoken_seconds=self._spoken_s,
            doubtful=self.settings.cut != "reference" and not is_good(cut, self.settings.confidence),
        )


def cutter(text: str, dummy: Dummy, settings: TakeSettings, takes: DummyTakes | None) -> Callable[[Audio], Cut]:
    """The function that cuts a take by the method of the settings."""
    if settings.cut == "reference":
        return lambda spoken: reference_cut(spoken.samples, spoken.sample_rate, text, dummy.text)
    return lambda spoken: find_cut(spoken.samples, spoken.sample_rate, text, dummy.text, takes)


def sound_fingerprint(facts: EngineFacts, settings: TakeSettings) -> str:
    """12 hex digits that change with everything that changes how a line sounds, except engine, model and voice."""
    parts = (
        facts.sound,
        str(facts.sample_rate),
        settings.dummy_suffix,
        settings.cut,
        str(settings.head_ms),
        f"cut {CUT_VERSION}",
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
