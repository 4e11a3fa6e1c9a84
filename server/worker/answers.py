"""The worker's answer to one line, read from its frame. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from server.contract.codes import ErrorCode
from server.engines import EngineFacts
from server.errors import NarratorError


@dataclass(frozen=True)
class SpokenLine:
    wav: bytes
    seed: int
    """Of the take that was delivered"""
    takes: int
    """How many were spoken for it"""
    confidence: float
    """Of the cut, 0 to 1"""
    doubtful: bool
    generation_seconds: float
    """From the line's arrival in the worker to its last take"""
    audio_seconds: float
    text_sha256: str
    """Of the text as the caller sent it"""
    facts: EngineFacts
    """Of the worker that spoke it"""


def read_answer(header: dict[str, Any], body: bytes, facts: EngineFacts) -> SpokenLine | NarratorError:
    """header: of a frame that is `done` or `failed`; body: the WAV of one that is done."""
    if header["is"] == "failed":
        return NarratorError(ErrorCode(header["code"]), **header["params"])
    return SpokenLine(
        wav=body,
        seed=header["seed"],
        takes=header["takes"],
        confidence=header["confidence"],
        doubtful=header["doubtful"],
        generation_seconds=header["generation_seconds"],
        audio_seconds=header["audio_seconds"],
        text_sha256=header["text_sha256"],
        facts=facts,
    )
