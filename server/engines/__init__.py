"""What an engine is, and which one to open. Knows neither torch nor eSpeak: an engine is imported when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.audio.samples import Audio
from server.errors import TakeFailed


@dataclass(frozen=True)
class EngineSettings:
    """All that an engine needs, as plain data: it travels to the worker as JSON."""

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
    """Where voice clone prompts are kept."""
    loop: str = "own"
    """`own`: batched decoding; `stock`: one line at a time through the package's own generate"""
    rows: int = 0
    """Most lines at a time; 0 leaves it to the engine and the memory."""
    codec_context: str = "state"
    """`state`: the codec goes on from its state after the reference; `whole`: it decodes the reference before every
    line, as stock does"""


@dataclass(frozen=True)
class EngineFacts:
    """What the server tells about an engine once it is open. ASCII but for the reason: some of it goes into headers."""

    engine: str
    """`qwen` or `draft`"""
    model: str
    voice: str
    """Fingerprint: hex digits, the same as long as reference audio, its text and the model are."""
    sample_rate: int
    """Hertz"""
    device: str
    dtype: str
    reason: str
    """One sentence in the reader's language: why this device and dtype."""
    in_flight: int
    """Lines to have at the server at a time: those being spoken and those waiting."""
    rows: int = 1
    """Lines that the engine speaks at once."""
    draft: bool = False
    sound: str = ""
    """What else changes the sound of a line (sampling, dtype, version of the voices), as one short string."""


class StopCondition(Protocol):
    """Somebody who hears a take while it is being spoken, and may stop it."""

    @property
    def first_s(self) -> float:
        """Seconds of audio before which there is nothing to ask."""
        ...

    @property
    def every_s(self) -> float:
        """Seconds of audio between two questions."""
        ...

    def enough(self, spoken: Audio) -> bool:
        """Whether the take may stop here; spoken: all of it so far. May be called in another thread."""
        ...


@dataclass(frozen=True)
class TakeRequest:
    """One take of one text, as an engine is asked for it."""

    text: str
    """Dummy sentence included."""
    language: str
    seed: int
    stop: StopCondition | None = None
    """Only an engine that speaks bit by bit asks it."""


class Engine(Protocol):
    @property
    def facts(self) -> EngineFacts: ...

    def speak(self, text: str, language: str, seed: int) -> Audio:
        """One take of the whole text, dummy sentence included.

        language: a name of the ten, such as `Korean`. seed: 0 to 2**31 - 1.
        Raises TakeFailed when this take must not be used (another seed may do), TextRefused when no seed will.
        """
        ...

    def close(self) -> None: ...

    def memory_bytes(self) -> dict[str, int]:
        """What this process holds of each card, by device; empty without one."""
        ...


class BatchEngine(Engine, Protocol):
    """An engine that speaks several texts at once."""

    def speak_rows(
        self,
        more: Callable[[int], Sequence[tuple[int, TakeRequest]]],
        deliver: Callable[[int, Audio | TakeFailed], None],
        is_cancelled: Callable[[int], bool],
    ) -> None:
        """Speaks until no row is left and `more` has none.

        more(free): up to that many (id, Row) to begin with now. deliver(id, take): called as soon as a row has ended,
        or its `stop` has heard enough: then the take is what `stop` had heard. One row's failure is its own. Rows
        that is_cancelled names are dropped.
        """
        ...


Announce = Callable[[str], None]
"""Told in short phrases of the reader's language what an engine does while it opens: `loading the model`, ..."""


def open_engine(settings: EngineSettings, announce: Announce) -> Engine:
    """Loads the engine and makes or reads its voice; takes seconds to minutes.

    Raises EngineUnusable with a sentence when it cannot work on this machine with these settings.
    """
    if settings.engine == "draft":
        from server.engines.draft.engine import open_draft

        return open_draft(settings, announce)
    from server.engines.qwen import open_qwen

    return open_qwen(settings, announce)
