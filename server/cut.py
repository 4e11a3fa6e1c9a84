"""Where the real sentence ends in "sentence + dummy": arrays in, sample index and confidence out.

Knows no engine, no server and no file. The dummy's text and the voice never change, so the dummy, said alone a few
times (`prepare_takes`), is looked for from the end of the audio backwards (`find_cut`): sound.py listens, match.py
finds where the dummy would begin, and here the pause is chosen. docs/dev/cutting.md tells the method with a picture and
its figures; scripts/show_cut.py draws one decision, scripts/bench_cut.py scores many.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from server.audio import Samples, silence
from server.match import Match, Rows, features_of, match_takes, path_of
from server.sound import BANDS, HOP_S, Bools, Floats, Ints, Sound, checked, inner_pauses, listen, runs, speech_span

DummyState = Literal["found", "missing", "truncated", "twice", "begun"]
"""`begun`: the take was stopped once its dummy had begun (server/beginning.py)."""

TAIL_SILENCE_S = 0.2


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a picture of the decision needs. Frames are 5 ms apart, the first at sample 0."""

    level_db: Floats
    """(frames,) loudness relative to speech"""
    pauses: tuple[tuple[int, int], ...]
    """Samples: start and end of every pause inside the speech."""
    chosen: tuple[int, int]
    """Samples: start and end of the pause that was cut in; equal where there was none."""
    match_samples: Ints
    """(rows,) sample of each row of match_cost; empty without calibration"""
    match_cost: Floats
    """(rows,) cost that the dummy begins here; below 0 is better than chance"""
    features: tuple[tuple[str, float], ...] = ()
    """Names and values behind the confidence."""


@dataclass(frozen=True, eq=False)
class Cut:
    sample: int
    """Everything before this sample is the sentence."""
    confidence: float
    """0 to 1"""
    dummy: DummyState
    method: str
    """`calibrated`, `uncalibrated` or `reference`"""
    decayed: bool
    """The sentence's ending has faded out before the cut. Not so with a missing dummy: the model stopped early."""
    evidence: Evidence


LEAST_AGREEMENT = 0.25


@dataclass(frozen=True, eq=False)
class DummyTakes:
    """The dummy said alone, a few times, in the voice: made once by prepare_takes."""

    sample_rate: int
    takes: tuple[Sound, ...]
    """Each from its first to its last speech."""
    seconds: tuple[float, ...]
    """Speech in each take."""
    agreement: float
    """0 to 1: how well the takes match each other. eSpeak's 0.8 to 0.95, garbled ones 0.2 to 0.6, noise 0."""

    @property
    def trust(self) -> float:
        """What a confidence is worth that rests on these takes: unlike takes are no calibration."""
        return min(1.0, self.agreement / LEAST_AGREEMENT)


# --- how long a text takes to say ------------------------------------------------------------------------------------

_VOWELS = re.compile(r"[aeiouyàâäáãåéèêëíìîïóòôöõúùûüýœæøаеёиоуыэюя]+")


def spoken_units(text: str) -> float:
    """About the syllables of the text; only ever compared with the dummy's own, in the same language and voice.

    Against eSpeak's durations in ten languages the ratio text : dummy is right within 6 to 11 % (standard deviation).
    """
    kana = sum(0x3041 <= ord(c) <= 0x30FA for c in text)
    han = sum(0x3400 <= ord(c) <= 0x9FFF for c in text)
    hangul = [c for c in text if 0xAC00 <= ord(c) <= 0xD7A3]
    closed = sum((ord(c) - 0xAC00) % 28 > 0 for c in hangul)  # syllables with a final consonant take longer
    digits = sum(c.isdigit() for c in text)
    letters = sum(c.isalpha() for c in text) - kana - han - len(hangul)
    # A kanji is read as about two kana, a Chinese character as one syllable; "strength" has one vowel but takes longer.
    cjk = kana + han * (1.8 if kana else 1.0) + len(hangul) + 0.25 * closed
    plain = 0.3 + cjk + 0.45 * len(_VOWELS.findall(text.lower())) + 0.25 * letters + 1.6 * digits
    return plain + _unwritten_units(text, western=cjk == 0)


# What is said but not written. Figures from eSpeak's durations of such sentences in Korean, English and German.
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\S+", re.IGNORECASE)
_ACRONYM = re.compile(r"(?<![A-Za-z])[A-Z]{2,6}(?![A-Za-z])")
_NO_VOWEL = re.compile(r"(?<![^\W\d_])[bcdfghjklmnpqrstvwxz]{2,4}(?![^\W\d_])", re.IGNORECASE)
_SHORTENED = re.compile(r"(?<![^\W\d_])[^\W\d_]{1,6}\.(?=\s?[a-zа-яß\d,;]|\s?[^\W\d_]\.|$)")
_SYMBOL = re.compile(r"[$€£¥₩%]")


def _unwritten_units(text: str, western: bool) -> float:
    """Units that digits, symbols, addresses, acronyms and abbreviations have beyond their letters.

    western: no Hangul, kana or Chinese character in it; there a digit is a longer word.
    """
    extra = 0.0
    for address in _ADDRESS.findall(text):
        extra += (2.2 if western else 1.2) * address.lower().count("w", 0, 3) + 1.4 * sum(c in "./@" for c in address)
    text = _ADDRESS.sub(" ", text)
    extra += (1.4 if western else 0.0) * sum(c.isdigit() for c in text)
    extra += 2.0 * len(_SYMBOL.findall(text))
    extra += (1.3 if western else 0.7) * sum(len(word) for word in _ACRONYM.findall(text))
    text = _ACRONYM.sub(" ", text)
    extra += 2.0 * len(_NO_VOWEL.findall(text))
    # The text's own last word has a full stop too: it counts only where it is known to be short for something.
    shortened = [word for word in _SHORTENED.findall(text.rstrip()[:-1]) if not _NO_VOWEL.fullmatch(word[:-1])]
    return extra + 2.0 * len(shortened)


# --- choosing the pause ----------------------------------------------------------------------------------------------

PAUSE_WEIGHT = 6.0
NO_PAUSE = 10.0
"""The dummy begins with dots, so that a pause goes before it; a cut inside speech must be much better to be right."""
DURATION_WEIGHT, DURATION_FREE = 16.0, 0.35
"""Per squared log ratio of said to expected length; a third more or less costs nothing."""
NEAR_BEFORE, NEAR_AFTER = 4, 8
"""Rows around a pause's end in which the dummy may begin."""
NEAR_FREE, NEAR_COST = 3, 0.8
"""Rows away from the pause's end that cost nothing, and the cost of each further one"""
SEARCHED_DUMMIES, SEARCHED_S = 4.0, 3.0
"""Only this many dummy lengths and seconds before the end of the speech are looked at."""


def _pause_bonus(pause_s: float, depth_db: float) -> float:
    """0 to 1: long and deep pauses are sentence ends; beyond 300 ms longer is not better."""
    return math.sqrt(min(pause_s, 0.3) / 0.3) * min(1.0, max(0.2, (depth_db - 25.0) / 15.0))


@dataclass(frozen=True)
class Candidate:
    score: float
    """Least is best."""
    row: int
    """Where the dummy would begin"""
    start: int
    end: int
    """Frames of the pause before it; equal without a pause"""
    cost: float
    """Of the match at `row`"""
    pause_s: float
    depth_db: float


@dataclass(frozen=True, eq=False)
class Search:
    rows: Rows
    match: Match
    candidates: tuple[Candidate, ...]
    """Best first, never empty"""


@dataclass(frozen=True, eq=False)
class Timing:
    spoken: Ints
    """(frames + 1,) frames of speech before each frame"""
    first: int
    expected_text: float
    """Frames that the sentence should take"""
    dummy: float
    """Frames that the dummy takes"""

    def said(self, frame: int) -> float:
        """Frames of speech before this one."""
        return float(self.spoken[frame] - self.spoken[self.first])

    def text_mismatch(self, frame: int) -> float:
        """Log of said to expected length if the sentence ended here."""
        return math.log(max(self.said(frame), 6.0) / self.expected_text)


def expected_timing(sound: Sound, first: int, text: str, dummy: str, takes: DummyTakes) -> Timing:
    dummy_frames = float(np.median(takes.seconds)) / HOP_S
    expected = dummy_frames * spoken_units(text) / spoken_units(dummy)
    return Timing(np.concatenate(([0], np.cumsum(sound.speech))), first, expected, dummy_frames)


def search_dummy(
    sound: Sound, takes: Sequence[Sound], timing: Timing, last: int, unfinished: bool = False
) -> Search | None:
    """Where the dummy would begin if the speech ended at frame `last`; None where that is too short to tell.

    unfinished: the take is still being spoken, and may end anywhere in the dummy.
    """
    reach = SEARCHED_DUMMIES * timing.dummy + SEARCHED_S / HOP_S
    start = max(timing.first, round(last - reach))
    rows = features_of(sound, start, last)
    if len(rows.frames) < 8:
        return None
    noise = sound.noise / np.float32(sound.speech_power)
    patterns = [features_of(t, 0, len(t.speech), noise * np.float32(t.speech_power)) for t in takes]
    match = match_takes(patterns, rows, unfinished)
    pauses = [(a, b) for a, b in runs(~sound.speech[:last]) if timing.first < a and start < b < last]
    found = [c for a, b in pauses if (c := _at_pause(sound, timing, rows, match, a, b)) is not None]
    row = int(np.argmin(match.cost))
    frame = int(rows.frames[row])
    score = float(match.cost[row]) + NO_PAUSE + _duration_cost(timing, frame)
    found.append(Candidate(score, row, frame, frame, float(match.cost[row]), 0.0, 0.0))
    return Search(rows, match, tuple(sorted(found, key=lambda c: c.score)))


def _duration_cost(timing: Timing, frame: int) -> float:
    return DURATION_WEIGHT * max(0.0, abs(timing.text_mismatch(frame)) - DURATION_FREE) ** 2


def _at_pause(sound: Sound, timing: Timing, rows: Rows, match: Match, start: int, end: int) -> Candidate | None:
    expected_row = int(np.searchsorted(rows.frames, end))
    near = np.arange(max(0, expected_row - NEAR_BEFORE), min(len(rows.frames), expected_row + NEAR_AFTER + 1))
    if len(near) == 0:
        return None
    costs = match.cost[near] + NEAR_COST * np.maximum(0, np.abs(near - expected_row) - NEAR_FREE)
    row = int(near[np.argmin(costs)])
    pause_s, depth = (end - start) * HOP_S, -float(sound.level_db[start:end].min())
    bonus = PAUSE_WEIGHT * _pause_bonus(pause_s, depth)
    score = float(costs.min()) - bonus + _duration_cost(timing, start)
    return Candidate(score, row, start, end, float(match.cost[row]), pause_s, depth)


ISLAND_S = 0.15


def nearest_pause(sound: Sound, search: Search, chosen: Candidate) -> tuple[int, int]:
    """The chosen pause, or a later one within 150 ms that ends nearer to the dummy's first row.

    A long pause outscores a short one; where only a faint last syllable lies between the two, the short one is right.
    """
    pause, begins = (chosen.start, chosen.end), int(search.rows.frames[chosen.row])
    for other in inner_pauses(sound):
        follows = chosen.end < other[1] <= chosen.end + ISLAND_S / HOP_S
        if chosen.end > chosen.start and follows and abs(other[1] - begins) < abs(pause[1] - begins):
            pause = other
    return pause


# --- decisions: is the dummy there, was it said twice, is the sound before it a breath? ------------------------------


def _logistic(weights: dict[str, float], features: dict[str, float]) -> float:
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, sum(weights[k] * features[k] for k in weights)))))


# Weights of logistic regressions, by scripts/bench_cut.py --fit on one half of the voices and sentences, some with
# takes of another speaker or garbled takes (docs/dev/cutting.md). Cases with the voice's own takes count eight times.
PRESENT = {
    "bias": -2.7,  # fitted -1.2; moved to the middle between present (from +4.0) and missing (to -0.9) with own takes
    "match_near_0": 2.6,
    "pause": 4.8,
    "length_says_present": 5.7,
    "text_mismatch": -2.0,
}


def _present_features(search: Search, timing: Timing, last: int) -> dict[str, float]:
    best = search.candidates[0]
    total = max(timing.said(last), 10.0)
    as_missing = abs(math.log(total / timing.expected_text))
    as_present = abs(math.log(total / (timing.expected_text + timing.dummy)))
    return _match_shape(search) | {
        "bias": 1.0,
        "has_pause": float(best.end > best.start),
        "pause": min(best.pause_s, 0.3) / 0.3,
        "length_says_present": max(-1.0, min(1.0, as_missing - as_present)),
        "text_mismatch": min(1.0, abs(timing.text_mismatch(best.start))),
        "whole_mismatch": as_missing,
        "depth": best.depth_db / 20.0,
        "margin": margin_of(search),
    }


def _match_shape(search: Search) -> dict[str, float]:
    """How well, how completely and how close to the end the best candidate's dummy was matched."""
    best = search.candidates[0]
    path = path_of(search.match, best.row)
    return {
        "match": -best.cost / 10.0,
        "match_near_0": max(-1.0, min(3.0, -best.cost / 10.0)),  # beyond, more says no more
        "quality": -best.cost / max(1, path.until - best.row + 1),
        "opening": -path.opening_cost,
        "cut_short": path.unsaid / search.match.take_rows[int(search.match.take[best.row])],
        "rows_after": min(60, len(search.rows.frames) - 1 - path.until) / 10.0,
    }


def margin_of(search: Search) -> float:
    """How much worse the best candidate more than 150 ms away scores, 0 to 3."""
    best = search.candidates[0]
    other = next((c for c in search.candidates[1:] if abs(c.end - best.end) * HOP_S > 0.15), None)
    return min(30.0, other.score - best.score) / 10.0 if other else 3.0


TWICE = {
    "bias": -4.5,
    "match": 0.91,
    "rows_after": -0.65,
    "length_says_twice": 3.4,
    "cut_short": -2.8,
}


@dataclass(frozen=True, eq=False)
class Earlier:
    """A possible earlier copy of the dummy, ending where the found one begins."""

    search: Search
    features: dict[str, float]
    probability: float


def _said_before(sound: Sound, takes: DummyTakes, timing: Timing, found: Candidate, last: int) -> Earlier | None:
    """Looks for the dummy once more before the found one, which serves as one more take: it has this very sound."""
    spoken = np.flatnonzero(sound.speech[: found.start])
    if len(spoken) == 0 or found.start - timing.first < 0.6 * timing.dummy:
        return None
    patterns = takes.takes
    if last - found.end > 0.6 * timing.dummy:
        patterns = (*patterns, _only(sound, found.end, last))
    search = search_dummy(sound, patterns, timing, int(spoken[-1]) + 1)
    if search is None:
        return None
    best = search.candidates[0]
    nearer = abs(timing.text_mismatch(found.start)) - abs(timing.text_mismatch(best.start))
    features = _match_shape(search) | {"bias": 1.0, "length_says_twice": max(-1.0, min(1.0, nearer))}
    return Earlier(search, features, _logistic(TWICE, features))


BREATH_S = (0.15, 0.55)
BREATH_PAUSE_S = 0.07
"""Before an inhalation"""
BREATH_LOUDEST_DB = -9.0
BREATH_VOICING = 0.30
"""Autocorrelation at a pitch: 0 for ideal noise, 1 for an ideal vowel"""
BREATH_CENTRE = 0.72
"""Centre of gravity as a share of the mel axis: an s lies above"""


def before_breath(samples: Samples, sound: Sound, first: int, pause: tuple[int, int]) -> tuple[int, int]:
    """The pause before an inhalation, where the sound that ends in `pause` is one: soft, unvoiced, not an s."""
    earlier = [(a, b) for a, b in runs(~sound.speech[: pause[0]]) if a > first]
    if pause[1] - pause[0] < 3 or not earlier:
        return pause
    start, end = earlier[-1][1], pause[0]
    long_enough = BREATH_S[0] <= (end - start) * HOP_S <= BREATH_S[1]
    paused = (earlier[-1][1] - earlier[-1][0]) * HOP_S >= BREATH_PAUSE_S
    if not (long_enough and paused) or sound.level_db[start:end].max() >= BREATH_LOUDEST_DB:
        return pause
    power = np.maximum(sound.mel[start:end] - sound.noise, 0.0).sum(axis=0)
    centre = float(power @ np.arange(BANDS)) / (float(power.sum()) + 1e-12) / BANDS
    if centre >= BREATH_CENTRE:
        return pause
    sample_rate = round(sound.hop / HOP_S)
    voicing = _voicing(samples[start * sound.hop : end * sound.hop], sample_rate)
    return earlier[-1] if voicing < BREATH_VOICING else pause


def _voicing(samples: Samples, sample_rate: int) -> float:
    """0 to 1: the 70th percentile of the autocorrelation at a voice's pitch (70 to 400 Hz) over 40 ms windows."""
    step = max(1, sample_rate // 8000)
    low = samples[: len(samples) // step * step].reshape(-1, step).mean(axis=1)
    rate, window = sample_rate / step, round(0.040 * sample_rate / step)
    if len(low) < window:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(low, window)[:: window // 2]
    frames = frames - frames.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(frames, 2 * window, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)
    lags = slice(int(rate / 400), min(window - 1, int(rate / 70)))
    return float(np.percentile(correlation[:, lags].max(axis=1) / (correlation[:, 0] + 1e-9), 70))


DECAYED_DB = -45.0
DECAY_S = 0.02
"""A sound that ends less than this before the audio does was broken off."""
LONGEST_DECAY_S = 0.3
BURST_S, ONSET_S = 0.025, 0.060
"""Longest burst of a consonant, and longest time from it to the vowel"""
FAINT_DB, FAINT_S = -42.0, 0.020
"""A sound this loud and long is heard, though too soft for speech: often the sentence's last syllable."""


def cut_frame(level_db: Floats, start: int, end: int) -> int:
    """The frame of the pause to cut at: the quietest 25 ms after the last faint sound, ties towards 70 % of them.

    The onset of what follows is known to about 10 ms, the end of the decay is not. Where all is quiet, 300 ms of it
    are kept at most.
    """
    if end - start < 3:
        first = max(0, start - 8)
        return first + int(np.argmin(_smooth(level_db)[first : start + 5]))
    start = _after_faint_sounds(level_db, start, end)
    position = np.linspace(0.0, 1.0, end - start) - 0.7
    quietest = start + int(np.argmin(_smooth(np.maximum(level_db, -48.0))[start:end] + 8.0 * position**2))
    quiet = np.flatnonzero(level_db[start:quietest] <= DECAYED_DB)
    return min(quietest, start + int(quiet[0]) + round(LONGEST_DECAY_S / HOP_S)) if len(quiet) else quietest


def _after_faint_sounds(level_db: Floats, start: int, end: int) -> int:
    """Where the last hole of a pause begins: a faint sound after a hole still belongs to the sentence.

    Not one that is the burst of the dummy's first consonant (a Chinese zh: 15 to 25 ms, then 30 ms of faint hiss).
    """
    pause = level_db[start:end]
    for a, b in reversed(runs(pause > FAINT_DB)):
        if a == 0 or b == len(pause) or (b - a) * HOP_S < FAINT_S:
            continue
        is_burst = (b - a) * HOP_S <= BURST_S and (len(pause) - a) * HOP_S <= ONSET_S
        if not is_burst:
            return start + b
    return start


def _smooth(level_db: Floats) -> Floats:
    return np.convolve(level_db, np.full(5, 0.2, np.float32), "same")[: len(level_db)]


# --- the two ways ----------------------------------------------------------------------------------------------------

CONFIDENCE = {
    "bias": 0.9,
    "margin": 0.31,
    "opening": 7.4,
    "left_mismatch": -5.1,
    "sure_twice": 0.63,
}
"""That the boundary is the right one if the dummy is there; fitted with the others above."""


def _calibrated(samples: Samples, sound: Sound, text: str, dummy: str, takes: DummyTakes) -> Cut:
    span = speech_span(sound)
    if span is None:
        return _nothing_to_cut(samples, sound, "calibrated")
    first, last = span
    timing = expected_timing(sound, first, text, dummy, takes)
    search = search_dummy(sound, takes.takes, timing, last)
    if search is None:
        return _nothing_to_cut(samples, sound, "calibrated")
    best = search.candidates[0]
    features = _present_features(search, timing, last)
    features["present"] = _logistic(PRESENT, features)
    if features["present"] < 0.5:
        cut = len(samples)
        # The decision's own probability, which was fitted on cases where it errs; less where the whole is longer or
        # shorter than any way of saying the sentence.
        fits = math.exp(-3.0 * max(0.0, features["whole_mismatch"] - 0.5))
        confidence = takes.trust * fits * (1.0 - features["present"])
        decayed = (len(sound.speech) - last) * HOP_S >= DECAY_S
        evidence = evidence_of(sound, search, (cut, cut), features)
        return Cut(cut, confidence, "missing", "calibrated", decayed, evidence)
    features["sure_twice"] = SUREST
    state: DummyState = "truncated" if features["cut_short"] > 0 else "found"
    chosen, chosen_search = best, search
    for _ in range(2):
        earlier = _said_before(sound, takes, timing, chosen, last)
        if earlier is None:
            break
        if state != "twice":
            features |= {f"twice.{name}": value for name, value in earlier.features.items()}
            features["sure_twice"] = _sureness(earlier.probability)
        if earlier.probability < 0.5:
            break
        last = chosen.start
        chosen, chosen_search, state = earlier.search.candidates[0], earlier.search, "twice"
    features["left_mismatch"] = min(1.0, abs(timing.text_mismatch(chosen.start)))
    pause = before_breath(samples, sound, first, nearest_pause(sound, chosen_search, chosen))
    sample = min(len(samples), cut_frame(sound.level_db, *pause) * sound.hop)
    chosen_samples = (pause[0] * sound.hop, pause[1] * sound.hop)
    evidence = evidence_of(sound, search, chosen_samples, features)
    confidence = takes.trust * features["present"] * _logistic(CONFIDENCE, features)
    return Cut(sample, confidence, state, "calibrated", True, evidence)


SUREST = 6.0


def _sureness(probability: float) -> float:
    """Log odds of the decision that was taken, at most 6 (one error in 400)."""
    likelier = max(probability, 1.0 - probability)
    return min(SUREST, math.log(likelier / max(1e-9, 1.0 - likelier)))


def evidence_of(sound: Sound, search: Search, chosen: tuple[int, int], features: dict[str, float]) -> Evidence:
    pauses = tuple((a * sound.hop, b * sound.hop) for a, b in inner_pauses(sound))
    rows = search.rows.frames * sound.hop
    return Evidence(sound.level_db, pauses, chosen, rows, search.match.cost, tuple(features.items()))


def _nothing_to_cut(samples: Samples, sound: Sound, method: str) -> Cut:
    nothing = np.zeros(0, np.float32)
    evidence = Evidence(sound.level_db, (), (len(samples), len(samples)), np.zeros(0, np.int64), nothing)
    return Cut(len(samples), 0.0, "missing", method, decayed=False, evidence=evidence)


def _uncalibrated(samples: Samples, sound: Sound, text: str, dummy: str) -> Cut:
    """Pauses scored by length, depth and where the texts' lengths put the boundary."""
    span = speech_span(sound)
    if span is None:
        return _nothing_to_cut(samples, sound, "uncalibrated")
    spoken = np.concatenate(([0], np.cumsum(sound.speech)))
    total = spoken[span[1]]
    expected = spoken_units(text) / (spoken_units(text) + spoken_units(dummy))

    def score(pause: tuple[int, int]) -> float:
        share = min(0.99, max(0.01, spoken[pause[0]] / total))
        away = abs(math.log(share / (1 - share)) - math.log(expected / (1 - expected)))
        depth = -float(sound.level_db[pause[0] : pause[1]].min())
        return 6.0 * _pause_bonus((pause[1] - pause[0]) * HOP_S, depth) - 8.0 * max(0.0, away - 0.15) ** 2

    pauses = inner_pauses(sound)
    ranked = sorted(pauses, key=score, reverse=True)
    if ranked:
        best = ranked[0]
        margin = score(best) - (score(ranked[1]) if len(ranked) > 1 else 0.0)
    else:
        frame = int(np.searchsorted(spoken, expected * total))
        best, margin = (frame, frame), 0.0
    frame = cut_frame(sound.level_db, *best)
    hop = sound.hop
    evidence = Evidence(
        sound.level_db,
        tuple((a * hop, b * hop) for a, b in pauses),
        (best[0] * hop, best[1] * hop),
        np.zeros(0, np.int64),
        np.zeros(0, np.float32),
    )
    confidence = 0.7 / (1.0 + math.exp(-margin))
    return Cut(min(len(samples), frame * hop), confidence, "found", "uncalibrated", True, evidence)


# --- the interface ---------------------------------------------------------------------------------------------------


def prepare_takes(takes: Sequence[Samples], sample_rate: int) -> DummyTakes:
    """Once per voice and dummy. Takes with nothing to hear in them are left out."""
    kept: list[Sound] = []
    for take in takes:
        sound = listen(take, sample_rate)
        span = speech_span(sound)
        if span is not None and span[1] - span[0] >= 20:
            kept.append(_only(sound, *span))
    seconds = tuple(float(take.speech.sum()) * HOP_S for take in kept)
    return DummyTakes(sample_rate, tuple(kept), seconds, _agreement(kept))


def _only(sound: Sound, start: int, end: int) -> Sound:
    return Sound(
        sound.hop,
        sound.mel[start:end],
        sound.noise,
        sound.speech_power,
        sound.level_db[start:end],
        sound.speech[start:end],
    )


SAME_VOICE_QUALITY = 0.55
"""Cost per row, negated, with which one eSpeak take is found in another one of the same voice"""


def _agreement(takes: Sequence[Sound]) -> float:
    """0 to 1: how well each take is found in each other one."""
    if len(takes) < 2:
        return float(len(takes))
    rows = [features_of(take, 0, len(take.speech)) for take in takes]
    quality = [-float(match_takes([a], b).cost[0]) / max(1, len(b.frames)) for a in rows for b in rows if a is not b]
    return max(0.0, min(1.0, float(np.median(quality)) / SAME_VOICE_QUALITY))


def find_cut(
    audio: Samples,
    sample_rate: int,
    text: str,
    dummy: str,
    dummy_takes: DummyTakes | Sequence[Samples] | None,
) -> Cut:
    """Where `text` ends in a take of `text + dummy`.

    audio: float32 mono, (samples,). dummy_takes: what prepare_takes returned, or recordings of the dummy alone at the
    same rate; without them the pauses alone decide, at a lower confidence. Channels are mixed; Cut.sample counts time.
    """
    samples = checked(audio, sample_rate)
    takes = dummy_takes
    if takes is not None and not isinstance(takes, DummyTakes):
        takes = prepare_takes(takes, sample_rate)
    sound = listen(samples, sample_rate)
    if takes is None or not takes.takes:
        return _uncalibrated(samples, sound, text, dummy)
    if takes.sample_rate != sample_rate:
        raise ValueError(f"the takes of the dummy have {takes.sample_rate} Hz, the audio has {sample_rate} Hz")
    return _calibrated(samples, sound, text, dummy, takes)


REFERENCE_CONFIDENCE = 0.3
"""The reference cannot tell when it is wrong: this says only that it often is."""


def reference_cut(audio: Samples, sample_rate: int, text: str, dummy: str) -> Cut:
    """The first server's way: the quietest 80 ms within 10 % of the audio around the share of characters."""
    samples = checked(audio, sample_rate)
    window = round(sample_rate * 0.08)
    expected = int(len(samples) * len(text) / max(1, len(text) + len(dummy)))
    reach = int(len(samples) * 0.1)
    first, last = max(0, expected - reach), min(len(samples), expected + reach) - window
    energy = np.concatenate(([0.0], np.cumsum(samples.astype(np.float64) ** 2)))
    starts = np.arange(first, last, max(1, window // 4))
    sample = expected if len(starts) == 0 else int(starts[np.argmin(energy[starts + window] - energy[starts])])
    nothing = np.zeros(0, np.float32)
    evidence = Evidence(nothing, (), (sample, min(len(samples), sample + window)), np.zeros(0, np.int64), nothing)
    return Cut(sample, REFERENCE_CONFIDENCE, "found", "reference", True, evidence)


HEAD_MS, DECAY_MS = 40.0, 120.0


def delivered_span(
    audio: Samples, cut: Cut, sample_rate: int, head_ms: float = HEAD_MS, decay_ms: float = DECAY_MS
) -> tuple[int, int]:
    """Samples: head_ms before the first sound to decay_ms after the last one before the cut, or the cut itself."""
    samples = checked(audio, sample_rate)
    sound = listen(samples, sample_rate)
    start, end = 0, min(len(samples), max(0, cut.sample))
    span = speech_span(sound)
    if span is not None:
        start = max(0, _first_sound(sound, span[0]) * sound.hop - round(head_ms * sample_rate / 1000))
        end = min(end, _last_sound(sound, end // sound.hop) * sound.hop + round(decay_ms * sample_rate / 1000))
    return min(start, end), end


def finish(
    audio: Samples,
    cut: Cut,
    sample_rate: int,
    *,
    head_ms: float = HEAD_MS,
    decay_ms: float = DECAY_MS,
    fade_in_ms: float = 3.0,
    fade_out_ms: float = 8.0,
) -> Samples:
    """What is delivered: head_ms before the first sound, the sentence, decay_ms of its decay, 0.2 s of silence."""
    start, end = delivered_span(audio, cut, sample_rate, head_ms, decay_ms)
    kept = checked(audio, sample_rate)[start:end].copy()
    rise = min(len(kept), round(fade_in_ms * sample_rate / 1000))
    fall = min(len(kept), round(fade_out_ms * sample_rate / 1000))
    kept[:rise] *= np.linspace(0.0, 1.0, rise, dtype=np.float32)
    kept[len(kept) - fall :] *= np.linspace(1.0, 0.0, fall, dtype=np.float32)
    return np.concatenate((kept, silence(TAIL_SILENCE_S, sample_rate)))


AUDIBLE_DB = 3.0
"""Above the noise by this much, a soft onset or a decay can be heard."""
SOFT_ONSET_S = 0.25
"""No initial consonant is longer."""


def _audible(sound: Sound) -> Bools:
    """(frames,) anything at all over the background in some third of the spectrum, at most 60 dB below speech."""
    thirds = np.array_split(np.arange(BANDS), 3)
    power = np.stack([sound.mel[:, third].sum(axis=1) for third in thirds], axis=1)
    floor = np.array([sound.noise[third].sum() for third in thirds]) * 10 ** (AUDIBLE_DB / 10)
    smooth = np.stack([np.convolve(p, np.full(3, 1 / 3), "same")[: len(p)] for p in power.T], axis=1)
    audible = (smooth > np.maximum(floor, sound.speech_power * 1e-6)).any(axis=1)
    return np.asarray(audible)


def _first_sound(sound: Sound, first_speech: int) -> int:
    """The frame where a soft onset (s, h, f) before the first speech frame begins."""
    earliest = max(0, first_speech - round(SOFT_ONSET_S / HOP_S))
    quiet = np.flatnonzero(~_audible(sound)[earliest:first_speech])
    return earliest + (int(quiet[-1]) + 1 if len(quiet) else 0)


def _last_sound(sound: Sound, end: int) -> int:
    """The frame after the last audible one before `end`."""
    heard = np.flatnonzero(_audible(sound)[:end])
    return int(heard[-1]) + 1 if len(heard) else end
