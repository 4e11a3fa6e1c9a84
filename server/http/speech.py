"""POST /tts/clone: check, call, answer."""

from __future__ import annotations

import random
import time
from typing import Any

from fastapi import FastAPI, Request, Response

from server.contract.codes import ErrorCode
from server.contract.http import (
    HEADER_AUDIO_DURATION,
    HEADER_CLIENT,
    HEADER_CUT_CONFIDENCE,
    HEADER_DOUBTFUL,
    HEADER_ENGINE,
    HEADER_MODEL,
    HEADER_SEED,
    HEADER_SOUND,
    HEADER_TAKES,
    HEADER_TEXT_SHA256,
    HEADER_TIME_GEN,
    HEADER_TIME_TOTAL,
    HEADER_VOICE,
    MAX_SEED,
    MEDIA_WAV,
    PATH_CLONE,
    PATH_HEALTH,
    PATH_LIVE,
    PATH_READY,
    CloneRequest,
    Health,
)
from server.errors import NarratorError
from server.http.disconnect import CallerGone, while_connected
from server.http.record import note_take, note_text
from server.http.status import DOOR_STATUSES, KEY_IN_THE_DOCS, health_of, problem_answers
from server.settings import Settings
from server.takes.line import PreparedLine, prepare_line
from server.takes.take import TakeSettings
from server.text.languages import LANGUAGES, language_name
from server.worker.answers import SpokenLine
from server.worker.supervisor import Supervisor

SPEECH_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_WAV: {"schema": {"type": "string", "format": "binary"}}}},
    **problem_answers(*DOOR_STATUSES, 408, 413, 415, 422, 500, 503, 504),
}


def add_routes(app: FastAPI, settings: Settings, supervisor: Supervisor) -> None:
    @app.post(
        PATH_CLONE,
        response_class=Response,
        responses=SPEECH_ANSWERS,
        dependencies=[KEY_IN_THE_DOCS],
    )
    async def clone(body: CloneRequest, request: Request) -> Response:
        """One sentence in the server's voice, as a WAV."""
        started = time.perf_counter()
        note_text(body.text)
        line = line_from(body, supervisor.take)
        try:
            spoken = await while_connected(supervisor.speak(line, client_of(request)), request.receive)
        except CallerGone:
            return Response(status_code=499)  # nginx's number for a caller that has gone; only the log reads it
        note_take(spoken.takes, spoken.doubtful, spoken.generation_seconds, spoken.audio_seconds)
        return Response(spoken.wav, media_type=MEDIA_WAV, headers=speech_headers(spoken, time.perf_counter() - started))

    @app.get(PATH_HEALTH, responses=problem_answers(421))
    async def health() -> Health:
        """What this server is; open to everybody, so nothing secret is in it."""
        return health_of(settings, supervisor)

    @app.get(PATH_LIVE, responses=problem_answers(421))
    async def live() -> dict[str, str]:
        """200 as long as this process answers."""
        return {"status": "alive"}

    @app.get(PATH_READY, responses=problem_answers(421) | {503: {"description": "It could not speak now"}})
    async def ready(response: Response) -> dict[str, str]:
        """200 only when a sentence sent now would be spoken."""
        if not supervisor.ready:
            response.status_code = 503
        return {"status": supervisor.phase.value}


def client_of(request: Request) -> str:
    """The client's name for taking turns (worker/scheduler.py): the id that it gives itself, else its address."""
    given = request.headers.get(HEADER_CLIENT, "")[:64]
    return given or (request.client.host if request.client else "")


def line_from(body: CloneRequest, take: TakeSettings) -> PreparedLine:
    """The line that is queued; a request without a seed gets a random one.

    Raises NarratorError for a language that is none of the ten, TextRefused for a text that cannot be spoken.
    """
    try:
        language = language_name(body.language) if body.language else take.language
    except ValueError:
        raise NarratorError(
            ErrorCode.LANGUAGE_UNKNOWN, language=(body.language or "")[:40], languages=", ".join(LANGUAGES.values())
        ) from None
    seed = body.seed if body.seed is not None else random.randint(0, MAX_SEED)  # noqa: S311 no secret
    return prepare_line(body.text, language, seed, take.dummy_suffix)


def speech_headers(spoken: SpokenLine, total_seconds: float) -> dict[str, str]:
    """ASCII only: HTTP headers are latin-1, and Hangul in one was the first server's "latin-1 codec" error."""
    return {
        HEADER_TIME_GEN: f"{spoken.generation_seconds:.3f}",
        HEADER_TIME_TOTAL: f"{total_seconds:.3f}",
        HEADER_AUDIO_DURATION: f"{spoken.audio_seconds:.3f}",
        HEADER_ENGINE: spoken.facts.engine,
        HEADER_MODEL: spoken.facts.model,
        HEADER_VOICE: spoken.facts.voice,
        HEADER_SOUND: spoken.facts.sound,
        HEADER_SEED: str(spoken.seed),
        HEADER_TAKES: str(spoken.takes),
        HEADER_CUT_CONFIDENCE: f"{spoken.confidence:.3f}",
        HEADER_DOUBTFUL: "yes" if spoken.doubtful else "no",
        HEADER_TEXT_SHA256: spoken.text_sha256,
    }
