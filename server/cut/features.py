"""Features of a recording: power per band, background, loudness, where speech is; and the rows that are aligned.

Knows no text and no dummy: arrays in, Features out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.audio.samples import Samples

Floats = npt.NDArray[np.float32]

Ints = npt.NDArray[np.int64]

Bools = npt.NDArray[np.bool_]

# --- time grid -----------------------------------------------------------------------------------------------------
HOP_S = 0.005
"""One frame every 5 ms; frame t is centred on sample t * hop."""

WINDOW_S = 0.020

BANDS = 26

LOWEST_HZ, HIGHEST_HZ = 90.0, 8000.0

# --- what counts as speech, in dB relative to this recording's own speech level ------------------------------------
SPEECH_ON_DB, SPEECH_OFF_DB = -27.0, -36.0

NOISE_MARGIN = 1.25
"""The mean of the quietest frames lies below the mean of the noise by about this factor of power."""

NOISE_SUBTRACTION = 2.0
"""Factor of the background that is subtracted (over-subtraction: Berouti, Schwartz and Makhoul, ICASSP 1979)."""

CLICK_S = 0.020
"""Sounds shorter than this are clicks."""


@dataclass(frozen=True, eq=False)
class Features:
    """A recording in frames of 5 ms."""

    hop: int
    """Samples per frame"""
    mel: Floats
    """(frames, bands) power"""
    noise: Floats
    """(bands,) power of the background"""
    speech_power: float
    """Power of the loud frames, background subtracted: 0 dB of level_db"""
    level_db: Floats
    """(frames,) loudness, background subtracted, dB relative to speech"""
    speech: Bools
    """(frames,)"""


MAX_CHANNELS = 8
"""An axis no longer than this holds channels."""


def checked(audio: Samples, sample_rate: int) -> Samples:
    """Finite float32 mono in [-1, 1], (samples,): NaN and infinities become silence, channels are mixed.

    Raises ValueError for other shapes than (samples,) and (samples, channels), and for rates below 4000 Hertz.
    """
    samples = np.asarray(audio, dtype=np.float32)
    if samples.ndim == 2 and min(samples.shape) <= MAX_CHANNELS:
        # (samples, channels) as soundfile reads it, or the other way round.
        samples = samples.mean(axis=1 if samples.shape[1] <= MAX_CHANNELS else 0)
    if samples.ndim != 1:
        raise ValueError(f"samples of shape (n,) or (n, channels) are needed, got {samples.shape}")
    if sample_rate < 4000:
        raise ValueError(f"a sample rate of at least 4000 Hz is needed, got {sample_rate}")
    if not np.isfinite(samples).all():
        samples = np.where(np.isfinite(samples), samples, np.float32(0))
    return np.clip(samples, -1.0, 1.0)


def _mel_bands(sample_rate: int, fft_size: int) -> Floats:
    """(fft bins, bands) triangles, equally wide in mel (2595 log10(1 + f/700))."""

    def to_mel(hertz: float) -> float:
        return 2595.0 * math.log10(1.0 + hertz / 700.0)

    highest = min(HIGHEST_HZ, 0.475 * sample_rate)
    edges_mel = np.linspace(to_mel(LOWEST_HZ), to_mel(highest), BANDS + 2)
    edges = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    bins = np.arange(fft_size // 2 + 1) * sample_rate / fft_size
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    triangles: Floats = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    return triangles


def mel_power(samples: Samples, sample_rate: int, known: Floats | None = None) -> tuple[Floats, int]:
    """(frames, bands) and the hop in samples.

    known: frames that a shorter part of the same samples gave, as many as `certain_frames` says.
    """
    hop, window = round(sample_rate * HOP_S), round(sample_rate * WINDOW_S)
    fft_size = 1 << (window - 1).bit_length()
    bands = _mel_bands(sample_rate, fft_size)
    blocks = [np.zeros((0, BANDS), np.float32) if known is None else known]
    first, frames = len(blocks[0]), len(samples) // hop + 1
    centred = samples - np.float32(samples.mean(dtype=np.float64)) if len(samples) else samples
    padded = np.pad(centred, (window // 2, window))
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:frames]
    hann = np.hanning(window).astype(np.float32)
    for start in range(first, frames, 2048):  # blocks: five minutes at once would take 500 MB
        spectrum = np.fft.rfft(windows[start : start + 2048] * hann, fft_size, axis=1)
        blocks.append((spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ bands)
    power: Floats = np.concatenate(blocks)
    return power, hop


def certain_frames(samples: int, sample_rate: int) -> int:
    """How many frames stay the same when more samples follow."""
    hop, window = round(sample_rate * HOP_S), round(sample_rate * WINDOW_S)
    return max(0, samples - (window - window // 2)) // hop + 1 if samples >= window else 0


def runs(mask: Bools) -> list[tuple[int, int]]:
    """(start, end) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _speech_level(power: Floats, percentile: float, ignore_below: float) -> float:
    """The level of the loud frames; frames far below the loudest are no speech and do not count."""
    loudest = float(power.max(initial=0.0))
    if loudest <= 1e-15:  # far below one step of 16-bit audio
        return 1e-12
    return float(np.percentile(power[power > loudest * ignore_below], percentile))


def _noise_spectrum(mel: Floats, emphasis: Floats) -> Floats:
    """Power per band of the quietest frames, capped where the recording has no quiet frame at all."""
    power = mel @ emphasis
    speech_power = _speech_level(power, 90, 1e-4)
    smooth = np.convolve(power, np.full(5, 0.2, np.float32), "same")[: len(power)]
    count = min(len(power), max(round(0.060 / HOP_S), len(power) * 3 // 100))
    quietest = np.argpartition(smooth, count - 1)[:count]
    least = speech_power * 1e-6 / BANDS
    noise = np.maximum(mel[quietest].mean(axis=0) * NOISE_MARGIN, least)
    if float(noise @ emphasis) > speech_power * 10**-1.3:  # within 13 dB of speech: these frames are speech
        noise = np.minimum(noise, np.maximum(np.percentile(mel, 90, axis=0) * 10**-1.4, least))
    return np.asarray(noise, np.float32)


def extract_features(audio: Samples, sample_rate: int, known: Floats | None = None) -> Features:
    """Mel power, background and speech of a recording; speech is found with two thresholds (hysteresis).

    audio: float32, (samples,) or with channels. known: see mel_power. Raises ValueError as `checked` does.
    """
    mel, hop = mel_power(checked(audio, sample_rate), sample_rate, known)
    # A mild pre-emphasis: soft consonants live in the upper bands.
    emphasis = np.linspace(0.3, 1.0, BANDS).astype(np.float32)
    noise = _noise_spectrum(mel, emphasis)
    clean = np.maximum(mel - NOISE_SUBTRACTION * noise, 0.0) @ emphasis
    speech_power = _speech_level(clean, 85, 1e-3)
    level = 10.0 * np.log10(clean / speech_power + 1e-6)
    if len(level) > 3:
        level = np.convolve(level, np.array([0.25, 0.5, 0.25]), "same")
    return Features(hop, mel, noise, speech_power, level.astype(np.float32), _speech_frames(level))


def _speech_frames(level_db: npt.NDArray[np.floating]) -> Bools:
    """Hysteresis: speech starts where it is loud and reaches as far as it is not quiet."""
    loud = level_db > SPEECH_ON_DB
    speech = np.zeros(len(level_db), bool)
    for start, end in runs(level_db > SPEECH_OFF_DB):
        if end - start >= round(CLICK_S / HOP_S) and loud[start:end].any():
            speech[start:end] = True
    return speech


def speech_span(features: Features) -> tuple[int, int] | None:
    """The first speech frame and the one after the last; None without speech."""
    frames = np.flatnonzero(features.speech)
    return (int(frames[0]), int(frames[-1]) + 1) if len(frames) else None


def inner_pauses(features: Features) -> list[tuple[int, int]]:
    """(start, end) of the pauses between speech, as frames."""
    return [(a, b) for a, b in runs(~features.speech) if a > 0 and b < len(features.speech)]


CEPSTRA = 13

ENERGY_WEIGHT = 0.25
"""Loudness differs between takes more than timbre does."""

DELTA_WEIGHT = 1.6

MAX_PAUSE_S = 0.060
"""Longer pauses are shortened to this, so that a pause inside the dummy does not matter."""

FEATURE_FLOOR_DB = -42.0
"""Added to each band before the logarithm, relative to speech: silence has no shape."""


@dataclass(frozen=True, eq=False)
class FramePairs:
    """What is aligned: a row for every two frames (10 ms), long pauses shortened."""

    features: Floats
    """(rows, 2 x CEPSTRA)"""
    frames: Ints
    """(rows,) the frame where each row begins"""
    speech: Bools
    """(rows,)"""


def _squeezed(speech: Bools) -> Ints:
    """The frames that remain when long pauses are shortened from their middle; an even number."""
    kept = np.ones(len(speech), bool)
    edge = round(MAX_PAUSE_S / HOP_S) // 2
    for start, end in runs(~speech):
        kept[start + edge : max(start + edge, end - edge)] = False
    frames = np.flatnonzero(kept)
    return frames[: len(frames) // 2 * 2]


def _cosines() -> Floats:
    """(BANDS, CEPSTRA): cosine transform with a sine lifter, which gives the coefficients similar ranges."""
    orders = np.arange(CEPSTRA)
    transform: Floats = np.cos(np.pi / BANDS * (np.arange(BANDS)[:, None] + 0.5) * orders).astype(np.float32)
    weights = math.sqrt(2.0 / BANDS) * (1.0 + np.sin(np.pi * orders / CEPSTRA))
    weights[0] *= ENERGY_WEIGHT
    return transform * weights.astype(np.float32)


COSINES = _cosines()


def frame_pairs_of(features: Features, start: int, end: int, added_noise: Floats | None = None) -> FramePairs:
    """MFCC (Davis and Mermelstein 1980) and their slopes, of the frames start to end.

    added_noise: (bands,) power of another recording's background, so that both recordings have it.
    """
    speech = features.speech[start:end]
    kept = _squeezed(speech)
    mel = features.mel[start:end][kept]
    if added_noise is not None:
        mel = mel + added_noise
    pairs = mel.reshape(-1, 2, BANDS).mean(axis=1)
    floor = np.float32(features.speech_power / BANDS * 10 ** (FEATURE_FLOOR_DB / 10))
    cepstra = np.log(pairs + floor) @ COSINES
    row_speech = np.asarray(speech[kept].reshape(-1, 2).any(axis=1))
    if len(cepstra):
        cepstra = cepstra - cepstra[row_speech if row_speech.any() else slice(None)].mean(axis=0)
    slopes = np.zeros_like(cepstra)
    if len(cepstra) > 4:
        slopes[2:-2] = (cepstra[3:-1] - cepstra[1:-3] + 2.0 * (cepstra[4:] - cepstra[:-4])) / 10.0
    return FramePairs(
        np.concatenate((cepstra, DELTA_WEIGHT * slopes), axis=1).astype(np.float32), kept[::2] + start, row_speech
    )
