"""The route of /metrics, and the body of /health."""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Response, Security
from fastapi.security import HTTPBearer

from server.contract.codes import Problem
from server.contract.http import MEDIA_PROBLEM, PATH_METRICS, Health
from server.http.metrics import MEDIA_METRICS, Metrics
from server.settings import Settings
from server.text.languages import LANGUAGES
from server.worker.supervisor import Phase, Supervisor

VERSION = version("overnight-narrator")

KEY_IN_THE_DOCS = Security(HTTPBearer(auto_error=False))
"""Says in the OpenAPI document that the key is needed; BearerKey has checked it before."""


def problem_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: each status answers with a problem."""
    content = {MEDIA_PROBLEM: {"schema": Problem.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


DOOR_STATUSES = (401, 421, 429)

METRICS_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
    **problem_answers(*DOOR_STATUSES),
}


def add_metrics_route(app: FastAPI, metrics: Metrics) -> None:
    @app.get(PATH_METRICS, response_class=Response, responses=METRICS_ANSWERS, dependencies=[KEY_IN_THE_DOCS])
    async def read_metrics() -> Response:
        """Counters for Prometheus."""
        return Response(metrics.text(), media_type=MEDIA_METRICS)


def health_of(settings: Settings, supervisor: Supervisor) -> Health:
    """The body of GET /health as it is now."""
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
