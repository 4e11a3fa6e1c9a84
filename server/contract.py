"""HTTP as both sides see it: paths, bodies, header names, languages, error codes and their sentences.

Knows neither FastAPI nor httpx. The client imports this module and, of the rest of server/, only `messages` and
`envfile`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from server.messages import mark as _

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
"""`yes` when no take was sure enough and this is the best of them: listen to it. Else `no`."""
HEADER_TEXT_SHA256 = "X-Text-SHA256"
"""SHA-256 of the request's text as received (UTF-8), computed beside the take: proves whose audio this is."""

MEDIA_WAV = "audio/wav"
MEDIA_PROBLEM = "application/problem+json"

MAX_TEXT_CHARS = 1_000
"""Longest text of one request, in characters after normalisation."""

MAX_SEED = 2**31 - 1

LANGUAGES: dict[str, str] = {
    "ko": "Korean",
    "en": "English",
    "ja": "Japanese",
    "zh": "Chinese",
    "de": "German",
    "fr": "French",
    "ru": "Russian",
    "pt": "Portuguese",
    "es": "Spanish",
    "it": "Italian",
}
"""ISO 639-1 code to the name that Qwen3-TTS knows."""


def language_name(value: str) -> str:
    """`ko`, `Korean` or `korean` to `Korean`.

    Raises ValueError for a language outside the ten.
    """
    folded = value.strip().casefold()
    for code, name in LANGUAGES.items():
        if folded in (code, name.casefold()):
            return name
    raise ValueError(value)


def language_code(value: str) -> str:
    """`Korean`, `korean` or `ko` to `ko`.

    Raises ValueError for a language outside the ten.
    """
    name = language_name(value)
    return next(code for code, known in LANGUAGES.items() if known == name)


class Code(StrEnum):
    """What went wrong, for machines."""

    UNAUTHORIZED = "unauthorized"
    HOST_UNKNOWN = "host_unknown"
    RATE_LIMITED = "rate_limited"
    REQUEST_BROKEN = "request_broken"
    REQUEST_SLOW = "request_slow"
    BODY_INVALID = "body_invalid"
    BODY_TOO_LARGE = "body_too_large"
    BODY_ENCODED = "body_encoded"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    LANGUAGE_UNKNOWN = "language_unknown"
    TEXT_EMPTY = "text_empty"
    TEXT_UNSPEAKABLE = "text_unspeakable"
    TEXT_TOO_LONG = "text_too_long"
    KANJI_UNREADABLE = "kanji_unreadable"
    TAKE_FAILED = "take_failed"
    ENGINE_LOADING = "engine_loading"
    QUEUE_FULL = "queue_full"
    SHUTTING_DOWN = "shutting_down"
    WORKER_DIED = "worker_died"
    TOO_LATE = "too_late"
    DEADLINE = "deadline"
    POISON_INPUT = "poison_input"
    INTERNAL = "internal"


STATUS: dict[Code, int] = {
    Code.UNAUTHORIZED: 401,
    Code.HOST_UNKNOWN: 421,
    Code.RATE_LIMITED: 429,
    Code.REQUEST_BROKEN: 400,
    Code.REQUEST_SLOW: 408,
    Code.BODY_INVALID: 422,
    Code.BODY_TOO_LARGE: 413,
    Code.BODY_ENCODED: 415,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.LANGUAGE_UNKNOWN: 422,
    Code.TEXT_EMPTY: 422,
    Code.TEXT_UNSPEAKABLE: 422,
    Code.TEXT_TOO_LONG: 422,
    Code.KANJI_UNREADABLE: 422,
    Code.TAKE_FAILED: 500,
    Code.ENGINE_LOADING: 503,
    Code.QUEUE_FULL: 503,
    Code.SHUTTING_DOWN: 503,
    Code.WORKER_DIED: 503,
    Code.TOO_LATE: 503,
    Code.DEADLINE: 504,
    Code.POISON_INPUT: 422,
    Code.INTERNAL: 500,
}

SENTENCES: dict[Code, str] = {
    Code.UNAUTHORIZED: _(
        "The key is missing or wrong. Send the server's API_KEY as 'Authorization: Bearer KEY' "
        "(narrate: NARRATE_KEY in .env, or --key)."
    ),
    Code.HOST_UNKNOWN: _(
        "This server is not known by the name {host}. Use its address, or put the name into ALLOWED_HOSTS in the "
        "server's .env."
    ),
    Code.RATE_LIMITED: _(
        "More than {limit} requests a minute came with this key (RATE_LIMIT). Ask again in {retry_after} s."
    ),
    Code.REQUEST_BROKEN: _("This is not a request in HTTP/1.1, or its headers are too long. Send a plain request."),
    Code.REQUEST_SLOW: _("The request was not complete after {seconds} s. Send it in one go."),
    Code.BODY_INVALID: _('The request is not understood: {reason}. Send JSON like {{"text": "..."}}.'),
    Code.BODY_TOO_LARGE: _("The request is larger than {limit} bytes. Send one sentence a request."),
    Code.BODY_ENCODED: _("The body is packed ({encoding}). Send it plain, without Content-Encoding."),
    Code.NOT_FOUND: _("There is nothing at {path}. Speech is at POST /tts/clone."),
    Code.METHOD_NOT_ALLOWED: _("{path} does not take {method}. Speech is at POST /tts/clone."),
    Code.LANGUAGE_UNKNOWN: _("The language {language} is not one of the ten: {languages}."),
    Code.TEXT_EMPTY: _("The text is empty. Send a sentence to speak."),
    Code.TEXT_UNSPEAKABLE: _("There is nothing to speak in the text {text}: no letter and no digit. Add words."),
    Code.TEXT_TOO_LONG: _("The text has {length} characters; one request takes at most {limit}. Split the sentence."),
    Code.KANJI_UNREADABLE: _(
        "Draft speech cannot read the kanji in this line. Write it in kana, or install the readings on the server: "
        "pip install sudachipy sudachidict-small"
    ),
    Code.TAKE_FAILED: _(
        "The engine did not finish this sentence in {takes} takes ({reason}). Ask again, or change the sentence."
    ),
    Code.ENGINE_LOADING: _("The engine is still loading. Wait until /readyz answers 200, then ask again."),
    Code.QUEUE_FULL: _("{waiting} requests are waiting already. Ask again in {retry_after} s."),
    Code.SHUTTING_DOWN: _("The server is stopping. Ask again when it is back."),
    Code.WORKER_DIED: _("The engine's process ended while it spoke this sentence; a new one is starting. Ask again."),
    Code.TOO_LATE: _("The sentence waited {seconds} s for its turn, longer than it may. Ask again."),
    Code.DEADLINE: _(
        "The engine was stopped after {seconds} s with this sentence; it is being started anew. Ask again, or change "
        "the sentence."
    ),
    Code.POISON_INPUT: _(
        "The engine's process has died twice of this very sentence, so it is not tried again. Change the sentence."
    ),
    Code.INTERNAL: _("The server met an error of its own (request {request_id}). Its log has the details."),
}
"""Every code's sentence, with places for its parameters. The client says it in the reader's language."""


class CloneRequest(BaseModel):
    """Body of POST /tts/clone. Unknown fields are ignored, as the clients of the first server expect."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=False)

    text: str
    language: str | None = None
    """One of the ten, as code or name; the server's TTS_LANGUAGE where absent."""
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    params: dict[str, Any] = Field(default_factory=dict)
    request_id: str = ""


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
