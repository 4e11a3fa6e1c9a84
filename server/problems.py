"""Errors as RFC 9457 problem details: a code for machines and an English sentence for people."""

from __future__ import annotations

from typing import Any

from server.contract import MEDIA_PROBLEM, SENTENCES, STATUS, Code, Problem


def problem(code: Code, params: dict[str, Any], request_id: str) -> Problem:
    params = {**params, "request_id": request_id} if code is Code.INTERNAL else params
    return Problem(
        type=f"urn:overnight-narrator:problem:{code}",
        title=code.value.replace("_", " ").capitalize(),
        status=STATUS[code],
        detail=SENTENCES[code].format(**params),
        code=code.value,
        params=params,
        request_id=request_id,
    )


def problem_headers(code: Code, retry_after: int | None = None) -> dict[str, str]:
    headers = {"content-type": MEDIA_PROBLEM}
    if code is Code.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="overnight-narrator"'
    if retry_after is not None:
        headers["retry-after"] = str(max(1, retry_after))
    return headers
