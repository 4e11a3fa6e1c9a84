"""Speech and health: check, call, answer."""

from __future__ import annotations

import random
import time
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.security import HTTPBearer

from server.contract import (
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
    LANGUAGES,
    MAX_SEED,
    MEDIA_PROBLEM,
    MEDIA_WAV,
    PATH_CLONE,
    PATH_HEALTH,
    PATH_LIVE,
    PATH_METRICS,
    PATH_READY,
    CloneRequest,
    Code,
    Health,
    Problem,
    language_name,
)
from server.disconnect import CallerGone, while_connected
from server.errors import NarratorError
from server.metrics import MEDIA_METRICS, Metrics
from server.record import note_take, note_text
from server.settings import Settings
from server.supervisor import Phase, Spoken, Supervisor
from server.take import Line
from server.text import normalise

VERSION = version("overnight-narrator")

KEY_IN_THE_DOCS = Security(HTTPBearer(auto_error=False))
"""Only says in the OpenAPI document that the key is needed; auth.py has looked at it long before."""


def problem_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document."""
    content = {MEDIA_PROBLEM: {"schema": Problem.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


DOOR_STATUSES = (401, 421, 429)
SPEECH_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_WAV: {"schema": {"type": "string", "format": "binary"}}}},
    **problem_answers(*DOOR_STATUSES, 408, 413, 415, 422, 500, 503, 504),
}
METRICS_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
    **problem_answers(*DOOR_STATUSES),
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
        line = line_from(body, settings.tts_language)
        try:
            spoken = await while_connected(supervisor.speak(line, client_of(request)), request.receive)
        except CallerGone:
            return Response(status_code=499)  # nginx's number for it; nobody reads it but the log
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


def add_metrics_route(app: FastAPI, metrics: Metrics) -> None:
    @app.get(PATH_METRICS, response_class=Response, responses=METRICS_ANSWERS, dependencies=[KEY_IN_THE_DOCS])
    async def read_metrics() -> Response:
        """Counters for Prometheus."""
        return Response(metrics.text(), media_type=MEDIA_METRICS)


def client_of(request: Request) -> str:
    """Who shares the engine in turns with the others: by the id that the client gives itself, else by its address."""
    given = request.headers.get(HEADER_CLIENT, "")[:64]
    return given or (request.client.host if request.client else "")


def line_from(body: CloneRequest, default_language: str) -> Line:
    """Raises NarratorError for a language that is none of the ten, TextRefused for a text that cannot be spoken."""
    try:
        language = language_name(body.language) if body.language else default_language
    except ValueError:
        raise NarratorError(
            Code.LANGUAGE_UNKNOWN, language=(body.language or "")[:40], languages=", ".join(LANGUAGES.values())
        ) from None
    normalise(body.text, language)
    seed = body.seed if body.seed is not None else random.randint(0, MAX_SEED)  # noqa: S311 no secret
    return Line(body.text, language, seed)


def speech_headers(spoken: Spoken, total_seconds: float) -> dict[str, str]:
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


def health_of(settings: Settings, supervisor: Supervisor) -> Health:
    facts = supervisor.facts
    status = "ok" if supervisor.ready else "loading" if supervisor.phase is Phase.LOADING else "error"
    return Health(
        status=status,
        ready=supervisor.ready,
        model_loaded=supervisor.ready,
        gpu_available=bool(facts and facts.device.startswith("cuda")),
        device=facts.device if facts else "",
        dtype=facts.dtype if facts else "",
        engine=supervisor.engine.engine,
        draft=supervisor.engine.engine == "draft",
        model=facts.model if facts else "",
        voice=facts.voice if facts else "",
        sound=facts.sound if facts else "",
        sample_rate=facts.sample_rate if facts else 0,
        language=settings.tts_language,
        supported_languages=list(LANGUAGES.values()),
        in_flight=facts.in_flight if facts else 1,
        queue_depth=supervisor.queue_depth,
        worker_restarts=supervisor.restarts,
        counts=dict(supervisor.counts),
        version=VERSION,
        message=supervisor.step,
    )
