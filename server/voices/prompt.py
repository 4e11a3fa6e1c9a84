"""The reference clip, and the voice clone prompt made from it: made once, kept on disk, keyed by content.

Knows no torch and no model: the caller, who has the model, hands in `make`. A kept prompt is arrays with metadata in a
safetensors file (never a pickle), and is used only after its key, its checksum and its shapes have been checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.errors import EngineUnusable
from server.terminal.messages import t
from server.voices.clip import MAX_CLIP_S, SAMPLE_RATE, TAIL_SECONDS
from server.whole_files import write_whole

FORMAT = "voice-prompt 1"
"""Goes up when the preparation of the clip or the layout of the file changes; kept prompts are then made again."""

SAMPLES_PER_FRAME = 1920
"""Of the codec: 12.5 frames a second at 24 kHz"""


@dataclass(frozen=True)
class PromptShape:
    """What a prompt of this model looks like."""

    code_groups: int
    codebook_size: int
    speaker_size: int


@dataclass(frozen=True)
class VoicePrompt:
    codes: npt.NDArray[np.int64]
    """(frames, code groups): the clip as codec tokens"""
    speaker: npt.NDArray[np.float32]
    """(speaker size,): the voice as one vector"""
    ref_text: str


def prompt_key(clip_bytes: bytes, ref_text: str, model_identity: str, package_version: str) -> str:
    """SHA-256 of all that a prompt depends on; its first 16 digits are the voice's fingerprint.

    The file's bytes, not its samples: MP3 decoders differ in the last bit from one processor to another, and that
    must not change a voice's fingerprint.
    """
    digest = hashlib.sha256()
    for part in (FORMAT.encode(), clip_bytes, ref_text.encode(), model_identity.encode(), package_version.encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def fingerprint(key: str) -> str:
    """The voice's public name: 16 hex digits of the key."""
    return key[:16]


def prompt_file(folder: Path, key: str) -> Path:
    return folder / f"{fingerprint(key)}.safetensors"


def keep_or_make(
    folder: Path | None,
    key: str,
    shape: PromptShape,
    model_id: str,
    make: Callable[[], VoicePrompt],
    announce: Callable[[str], None],
) -> VoicePrompt:
    """The kept prompt of this key, or a new one, kept for the next start.

    folder: where prompts are kept; None keeps nothing. make: called only if no usable prompt is kept.
    Raises EngineUnusable when the new prompt does not fit the model.
    """
    file = prompt_file(folder, key) if folder is not None else None
    if file is not None and file.exists():
        announce(t("reading the prepared voice"))
        try:
            return read_prompt(file, key, shape)
        except ValueError as error:
            announce(t("the prepared voice that was kept cannot be used ({error})", error=error))
    announce(t("preparing the voice"))
    prompt = make()
    flaw = find_flaw(prompt, shape)
    if flaw:
        raise EngineUnusable(t("No voice can be made from this voice recording ({flaw}). Try another one.", flaw=flaw))
    if file is not None:
        try:
            write_prompt(file, prompt, key, model_id)
        except OSError as error:  # a read-only folder or a full disk costs time at the next start, nothing else
            announce(t("could not keep the prepared voice in {file}: {error}", file=file, error=error))
    return prompt


def read_prompt(file: Path, key: str, shape: PromptShape) -> VoicePrompt:
    """Raises ValueError, with what is wrong, for a file that is damaged, foreign or of another model."""
    from safetensors import SafetensorError, safe_open

    try:
        # Untrusted content from here on: any name may be missing, any type may differ.
        with safe_open(file, framework="numpy") as stored:
            metadata: dict[str, str] = stored.metadata() or {}
            names = set(stored.keys())
            if metadata.get("format") != FORMAT or names != {"codes", "speaker"}:
                raise ValueError("not of this version")
            codes, speaker = stored.get_tensor("codes"), stored.get_tensor("speaker")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"unreadable: {error}") from error
    if metadata.get("key") != key:
        raise ValueError("made from another clip, text or model")
    if codes.dtype != np.int64 or speaker.dtype != np.float32:
        raise ValueError(f"its arrays are {codes.dtype} and {speaker.dtype}")
    prompt = VoicePrompt(codes, speaker, metadata.get("ref_text", ""))
    if metadata.get("checksum") != _checksum(prompt):
        raise ValueError("its checksum differs")
    flaw = find_flaw(prompt, shape)
    if flaw:
        raise ValueError(flaw)
    return prompt


def write_prompt(file: Path, prompt: VoicePrompt, key: str, model_id: str) -> None:
    """Raises OSError."""
    from safetensors.numpy import save

    metadata = {
        "format": FORMAT,
        "key": key,
        "fingerprint": fingerprint(key),
        "model": model_id,
        "ref_text": prompt.ref_text,
        "checksum": _checksum(prompt),
    }
    tensors: dict[str, npt.NDArray[Any]] = {
        "codes": np.ascontiguousarray(prompt.codes),
        "speaker": np.ascontiguousarray(prompt.speaker),
    }
    write_whole(file, save(tensors, metadata=metadata))


def find_flaw(prompt: VoicePrompt, shape: PromptShape) -> str | None:
    """What makes this prompt unusable with such a model, in a short phrase; None for a good one."""
    longest = int((MAX_CLIP_S + TAIL_SECONDS) * SAMPLE_RATE / SAMPLES_PER_FRAME) + 1
    if prompt.codes.ndim != 2 or prompt.codes.shape[1] != shape.code_groups:
        return f"codes of shape {prompt.codes.shape}, wanted (frames, {shape.code_groups})"
    if not 0 < len(prompt.codes) <= longest:
        return f"{len(prompt.codes)} frames"
    if prompt.codes.min() < 0 or prompt.codes.max() >= shape.codebook_size:
        return f"codes outside 0 to {shape.codebook_size - 1}"
    if prompt.speaker.shape != (shape.speaker_size,):
        return f"a speaker vector of shape {prompt.speaker.shape}, wanted ({shape.speaker_size},)"
    if not np.isfinite(prompt.speaker).all():
        return "a speaker vector that is not finite"
    return None


def _checksum(prompt: VoicePrompt) -> str:
    content = prompt.codes.tobytes() + prompt.speaker.tobytes() + prompt.ref_text.encode()
    return hashlib.sha256(content).hexdigest()
