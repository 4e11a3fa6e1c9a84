"""What an engine is, and which one to open. Imports neither torch nor eSpeak NG: `open_engine` imports the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.audio.samples import Audio
from server.errors import TakeFailed


@dataclass(frozen=True)
class EngineSettings:
    """Everything an engine is opened with, as plain data: the settings travel to the worker as JSON."""

    engine: str
    """`qwen` or `draft`"""
    model: str = "Qwen/Qwen3-TTS-12Hz-1.7B-Base"
    """A hub name or a local folder."""
    ref_audio: str = ""
    ref_text: str = ""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:0`, ..."""
    dtype: str = "auto"
    """`auto`, `float32`, `float16`, `bfloat16`"""
    attention: str = "sdpa"
    """`sdpa`, `eager` or `flash_attention_2`"""
    prompt_dir: str = ""
    """Folder of the voice clone prompts; empty keeps none."""
    loop: str = "own"
    """`own`: batched decoding; `stock`: one line at a time through the package's own generate"""
    rows: int = 0
    """Most lines at a time; 0 leaves the number to the engine and the memory."""
    codec_context: str = "state"
    """`state`: the codec continues from its state after the reference; `whole`: the codec decodes the reference before
    every line, as stock does"""


@dataclass(frozen=True)
class EngineFacts:
    """What the server tells about an open engine. All but the reason is ASCII, since some fields go into headers."""

    engine: str
    """`qwen` or `draft`"""
    model: str
    voice: str
    """Fingerprint in hex digits: the same as long as reference audio, its text and the model are the same."""
    sample_rate: int
    """Hertz"""
    device: str
    dtype: str
    reason: str
    """One sentence in the reader's language: why this device and dtype."""
    in_flight: int
    """Lines that a client should have at the server at a time: those being spoken and those waiting"""
    rows: int = 1
    """Lines that the engine speaks at once."""
    draft: bool = False
    sound: str = ""
    """What else changes how a line sounds (sampling, dtype, version of the voices), as one short string"""


class StopCondition(Protocol):
    """Judges a take while it is being spoken, and may stop it."""

    @property
    def first_s(self) -> float:
        """Seconds of audio before the first question"""
        ...

    @property
    def every_s(self) -> float:
        """Seconds of audio between two questions"""
        ...

    def is_met(self, so_far: Audio) -> bool:
        """Whether the take may stop here; so_far: all of its audio until now. May be called in another thread."""
        ...


@dataclass(frozen=True)
class TakeRequest:
    """One take of one text, as an engine is asked for it."""

    text: str
    """Dummy sentence included."""
    language: str
    seed: int
    stop: StopCondition | None = None
    """Asked only by an engine that speaks a take piece by piece"""


class Engine(Protocol):
    @property
    def facts(self) -> EngineFacts: ...

    def speak(self, text: str, language: str, seed: int) -> Audio:
        """One take of the whole text, dummy sentence included.

        language: a name of the ten, such as `Korean`. seed: 0 to 2**31 - 1.
        Raises TakeFailed when this take must not be used and another seed may work, TextRefused when no seed will.
        """
        ...

    def close(self) -> None: ...

    def memory_bytes(self) -> dict[str, int]:
        """Bytes that this process holds of each card, by device; empty without a card."""
        ...


class BatchEngine(Engine, Protocol):
    """An engine that speaks several texts at once."""

    def speak_rows(
        self,
        more: Callable[[int], Sequence[tuple[int, TakeRequest]]],
        deliver: Callable[[int, Audio | TakeFailed], None],
        is_cancelled: Callable[[int], bool],
    ) -> None:
        """Speaks rows until none is left and `more` gives none. A row's failure concerns that row only.

        more(free): returns up to that many pairs of id and TakeRequest, which start now. deliver(id, take): called as
        soon as a row has ended; when its `stop` was met, the take is the audio that `stop` had been given. Rows for
        which is_cancelled(id) is true are dropped and not delivered.
        """
        ...


Announce = Callable[[str], None]
"""Called with short phrases in the reader's language while an engine opens: `loading the model`, ..."""


def open_engine(settings: EngineSettings, announce: Announce) -> Engine:
    """Loads the engine, and makes its voice clone prompt or reads it; takes seconds to minutes.

    Raises EngineUnusable with a sentence when the engine cannot work on this machine with these settings.
    """
    if settings.engine == "draft":
        from server.engines.draft.engine import open_draft

        return open_draft(settings, announce)
    from server.engines.qwen import open_qwen

    return open_qwen(settings, announce)
