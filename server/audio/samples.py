"""Audio = samples with their rate; WAV in and out; seconds to samples. Knows no text and no model."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
"""Mono, in [-1, 1], shape (samples,)."""

SILENT_PEAK = 1e-3
"""-60 dBFS: a recording whose loudest sample lies below holds nothing to hear."""


@dataclass(frozen=True)
class Audio:
    samples: Samples
    """(samples,) float32 in [-1, 1]"""
    sample_rate: int
    """Hertz"""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate

    def __post_init__(self) -> None:
        if self.samples.ndim != 1:
            raise ValueError(f"mono samples of shape (n,) are needed, got {self.samples.shape}")


def silence(seconds: float, sample_rate: int) -> Samples:
    """(samples,) zeros; sample_rate in Hertz."""
    return np.zeros(round(seconds * sample_rate), np.float32)


def to_wav(audio: Audio) -> bytes:
    """A WAV file: mono, 16-bit PCM, true RIFF sizes; samples outside [-1, 1] are clipped.

    Not soundfile: the standard library writes exactly this, and a plain 44-byte header is what old editors want.
    """
    pcm = np.round(np.clip(audio.samples, -1.0, 1.0) * 32767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(audio.sample_rate)
        wav.writeframes(pcm.tobytes())
    return out.getvalue()
