"""The reference audio and its words, read and made fit for cloning. Knows no engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.audio.samples import SILENT_PEAK, Audio, silence
from server.errors import EngineUnusable
from server.terminal.messages import t

SAMPLE_RATE = 24_000

TAIL_SECONDS = 0.5
"""Silence after the clip: without it the first sentence finishes the clip's last sound (faster-qwen3-tts PR 9)."""

MIN_CLIP_S, MAX_CLIP_S = 1.0, 30.0


def prepare_clip(path: str) -> Audio:
    """The reference clip as the model wants it: mono, 24 kHz, half a second of silence behind it.

    Raises EngineUnusable with a sentence when the clip cannot be cloned from.
    """
    clip = _to_24k(_read_mono(path))
    return Audio(np.concatenate([clip.samples, silence(TAIL_SECONDS, SAMPLE_RATE)]), SAMPLE_RATE)


def clean_ref_text(text: str) -> str:
    """One line. Raises EngineUnusable when there is no text."""
    folded = " ".join(text.split())
    if not folded:
        raise EngineUnusable(
            t(
                "REF_TEXT is empty. Write exactly what is said in the voice recording, every word of it: what the text "
                "leaves out, the voice says later where it should not."
            )
        )
    return folded


def _read_mono(path: str) -> Audio:
    import soundfile

    if not path.strip():
        raise EngineUnusable(t("REF_AUDIO is not set. Set it to a recording of the voice, 5 to 15 seconds long."))
    file = Path(path).expanduser()
    if not file.is_file():
        raise EngineUnusable(
            t("The voice recording {file} does not exist. Set REF_AUDIO to the full path of the recording.", file=path)
        )
    try:
        # The header first: a whole audiobook is refused without being loaded.
        info = soundfile.info(str(file))
        _refuse_length(path, info.frames / info.samplerate)
        channels, sample_rate = soundfile.read(str(file), dtype="float32", always_2d=True)  # (samples, channels)
    except (soundfile.LibsndfileError, OSError) as error:
        raise EngineUnusable(
            t(
                "The voice recording {file} cannot be read ({reason}). Save it as WAV, 24 kHz, mono, and set REF_AUDIO "
                "to that file.",
                file=path,
                reason=str(error),
            )
        ) from error
    mono = channels.mean(axis=1, dtype=np.float32)
    _refuse_length(path, len(mono) / sample_rate)
    _refuse_noise(path, mono)
    return Audio(mono, int(sample_rate))


def _refuse_length(path: str, seconds: float) -> None:
    if seconds < MIN_CLIP_S:
        raise EngineUnusable(
            t(
                "The voice recording {file} is {seconds} s long; at least 1 s is needed, and 5 to 15 s clone best.",
                file=path,
                seconds=f"{seconds:.1f}",
            )
        )
    if seconds > MAX_CLIP_S:
        raise EngineUnusable(
            t(
                "The voice recording {file} is {seconds} s long; at most 30 s are taken. Cut 5 to 15 s out of it at a "
                "pause, and write exactly those words into REF_TEXT.",
                file=path,
                seconds=f"{seconds:.1f}",
            )
        )


def _refuse_noise(path: str, mono: npt.NDArray[np.float32]) -> None:
    if not np.isfinite(mono).all():
        raise EngineUnusable(
            t("The voice recording {file} holds values that are not numbers. Export it again as WAV.", file=path)
        )
    if np.abs(mono).max() < SILENT_PEAK:
        raise EngineUnusable(
            t(
                "The voice recording {file} is silent, or its two channels cancel each other. Record it again, or "
                "export one channel only.",
                file=path,
            )
        )


def _to_24k(clip: Audio) -> Audio:
    import soxr

    samples = clip.samples
    if clip.sample_rate != SAMPLE_RATE:
        samples = soxr.resample(samples, clip.sample_rate, SAMPLE_RATE)
    # Float files may exceed full scale, and resampling may overshoot it.
    peak = float(np.abs(samples).max())
    return Audio((samples / peak if peak > 1 else samples).astype(np.float32), SAMPLE_RATE)
