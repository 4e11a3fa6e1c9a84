"""HTTP as both sides see it: paths, bodies, header names and limits. Error codes and their sentences are in codes.py.

Knows neither FastAPI nor httpx.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_PORT = 7860

PATH_CLONE = "/tts/clone"

PATH_HEALTH = "/health"

PATH_LIVE = "/livez"

PATH_READY = "/readyz"

PATH_METRICS = "/metrics"

OPEN_PATHS = frozenset({PATH_HEALTH, PATH_LIVE, PATH_READY})
"""The only paths that answer without the key."""

HEADER_TIME_GEN = "X-Time-Gen"
"""Seconds that the engine worked, retakes included."""

HEADER_TIME_TOTAL = "X-Time-Total"
"""Seconds from the request's arrival to its answer."""

HEADER_AUDIO_DURATION = "X-Audio-Duration"
"""Seconds of audio in the body."""

HEADER_REQUEST_ID = "X-Request-Id"

HEADER_CLIENT = "X-Client-Id"
"""In the request, optional: clients with different ids share the engine in turns. ASCII, at most 64 characters."""

HEADER_ENGINE = "X-Engine"

HEADER_MODEL = "X-Model"

HEADER_VOICE = "X-Voice"
"""Fingerprint of the voice: reference audio, its text and the model."""

HEADER_SOUND = "X-Sound"
"""Fingerprint of every other setting that changes how a line sounds."""

HEADER_SEED = "X-Seed"
"""Seed of the take that was delivered; a retake has another seed than the request's."""

HEADER_TAKES = "X-Takes"
"""How many takes were spoken for this answer."""

HEADER_CUT_CONFIDENCE = "X-Cut-Confidence"
"""0 to 1: how sure the cut is that it took the dummy sentence off and nothing else."""

HEADER_DOUBTFUL = "X-Doubtful"
"""`yes` when no take's cut was sure enough and this is the best take, which a person should listen to. Else `no`."""

HEADER_TEXT_SHA256 = "X-Text-SHA256"
"""SHA-256 of the request's text as received (UTF-8), computed where the take is made: proves whose audio this is."""

MEDIA_WAV = "audio/wav"

MEDIA_PROBLEM = "application/problem+json"

MAX_TEXT_CHARS = 1_000
"""Longest text of one request, in characters after normalisation."""

MAX_SEED = 2**31 - 1


class CloneRequest(BaseModel):
    """Body of POST /tts/clone. Unknown fields are ignored, as the clients of the first server expect."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=False)

    text: str
    language: str | None = None
    """One of the ten languages, as code or name; TTS_LANGUAGE of the server where it is absent."""
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)


class Health(BaseModel):
    """Body of GET /health: what the peers' clients read (status, model, device, model_loaded, ...) and more."""

    model_config = ConfigDict(extra="ignore")

    status: str
    """`ok` when it can speak, `loading`, or `error`."""
    ready: bool
    model_loaded: bool
    gpu_available: bool
    device: str
    dtype: str
    engine: str
    draft: bool
    model: str
    voice: str
    sound: str
    sample_rate: int
    """Hertz; 0 while loading."""
    language: str
    supported_languages: list[str]
    in_flight: int
    """Lines that the server wants to have from one client at a time."""
    queue_depth: int
    worker_restarts: int
    counts: dict[str, int] = Field(default_factory=dict)
    """Since the start: spoken, failed, doubtful, retakes, dummy_missing, dummy_truncated, dummy_twice; dummy_begun
    counts the lines delivered from takes that were stopped early."""
    version: str
    message: str
