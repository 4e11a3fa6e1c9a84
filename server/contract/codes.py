"""Error codes, their statuses and their sentences, and the body that carries them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field

from server.terminal.messages import N_


class ErrorCode(StrEnum):
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


STATUS: dict[ErrorCode, int] = {
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.HOST_UNKNOWN: 421,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.REQUEST_BROKEN: 400,
    ErrorCode.REQUEST_SLOW: 408,
    ErrorCode.BODY_INVALID: 422,
    ErrorCode.BODY_TOO_LARGE: 413,
    ErrorCode.BODY_ENCODED: 415,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.LANGUAGE_UNKNOWN: 422,
    ErrorCode.TEXT_EMPTY: 422,
    ErrorCode.TEXT_UNSPEAKABLE: 422,
    ErrorCode.TEXT_TOO_LONG: 422,
    ErrorCode.KANJI_UNREADABLE: 422,
    ErrorCode.TAKE_FAILED: 500,
    ErrorCode.ENGINE_LOADING: 503,
    ErrorCode.QUEUE_FULL: 503,
    ErrorCode.SHUTTING_DOWN: 503,
    ErrorCode.WORKER_DIED: 503,
    ErrorCode.TOO_LATE: 503,
    ErrorCode.DEADLINE: 504,
    ErrorCode.POISON_INPUT: 422,
    ErrorCode.INTERNAL: 500,
}

SENTENCES: dict[ErrorCode, str] = {
    ErrorCode.UNAUTHORIZED: N_(
        "The key is missing or wrong. Send the server's API_KEY as 'Authorization: Bearer KEY' "
        "(narrate: NARRATE_KEY in .env, or --key)."
    ),
    ErrorCode.HOST_UNKNOWN: N_(
        "This server is not known by the name {host}. Use its address, or put the name into ALLOWED_HOSTS in the "
        "server's .env."
    ),
    ErrorCode.RATE_LIMITED: N_(
        "More than {limit} requests a minute came with this key (RATE_LIMIT). Ask again in {retry_after} s."
    ),
    ErrorCode.REQUEST_BROKEN: N_(
        "This is not a request in HTTP/1.1, or its headers are too long. Send a plain request."
    ),
    ErrorCode.REQUEST_SLOW: N_("The request was not complete after {seconds} s. Send it in one go."),
    ErrorCode.BODY_INVALID: N_('The request is not understood: {reason}. Send JSON like {{"text": "..."}}.'),
    ErrorCode.BODY_TOO_LARGE: N_("The request is larger than {limit} bytes. Send one sentence a request."),
    ErrorCode.BODY_ENCODED: N_("The body is packed ({encoding}). Send it plain, without Content-Encoding."),
    ErrorCode.NOT_FOUND: N_("There is nothing at {path}. Speech is at POST /tts/clone."),
    ErrorCode.METHOD_NOT_ALLOWED: N_("{path} does not take {method}. Speech is at POST /tts/clone."),
    ErrorCode.LANGUAGE_UNKNOWN: N_("The language {language} is not one of the ten: {languages}."),
    ErrorCode.TEXT_EMPTY: N_("The text is empty. Send a sentence to speak."),
    ErrorCode.TEXT_UNSPEAKABLE: N_("There is nothing to speak in the text {text}: no letter and no digit. Add words."),
    ErrorCode.TEXT_TOO_LONG: N_(
        "The text has {length} characters; one request takes at most {limit}. Split the sentence."
    ),
    ErrorCode.KANJI_UNREADABLE: N_(
        "Draft speech cannot read the kanji in this line. Write it in kana, or install the readings on the server: "
        "pip install sudachipy sudachidict-small"
    ),
    ErrorCode.TAKE_FAILED: N_(
        "The engine did not finish this sentence in {takes} takes ({reason}). Ask again, or change the sentence."
    ),
    ErrorCode.ENGINE_LOADING: N_("The engine is still loading. Wait until /readyz answers 200, then ask again."),
    ErrorCode.QUEUE_FULL: N_("{waiting} requests are waiting already. Ask again in {retry_after} s."),
    ErrorCode.SHUTTING_DOWN: N_("The server is stopping. Ask again when it is back."),
    ErrorCode.WORKER_DIED: N_(
        "The engine's process ended while it spoke this sentence; a new one is starting. Ask again."
    ),
    ErrorCode.TOO_LATE: N_("The sentence waited {seconds} s for its turn, longer than it may. Ask again."),
    ErrorCode.DEADLINE: N_(
        "The engine was stopped after {seconds} s with this sentence; it is being started anew. Ask again, or change "
        "the sentence."
    ),
    ErrorCode.POISON_INPUT: N_(
        "The engine's process has died twice of this very sentence, so it is not tried again. Change the sentence."
    ),
    ErrorCode.INTERNAL: N_("The server met an error of its own (request {request_id}). Its log has the details."),
}
"""The sentence of each code, with places for its parameters. The client shows it in the reader's language."""


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    params: dict[str, Any] = Field(default_factory=dict)
    request_id: str = ""
