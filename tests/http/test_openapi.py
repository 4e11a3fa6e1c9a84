"""Whatever the OpenAPI document allows, and much that it does not: only 2xx and 4xx, and no worker dies of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from unittest import SkipTest

import httpx
import pytest
import schemathesis
from clock import seconds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from servers import RunningServer, running_server

from server.text.languages import LANGUAGES

QUIETLY = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
HELD = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    ignored_auth,
    unsupported_method,
]
"""Not positive_data_acceptance: a text without a letter is allowed by the schema and refused all the same. Not
negative_data_rejection: `"seed": "5"` is taken for 5 on purpose."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("openapi")) as running:
        first_pid = running.get("/health").json()["worker_restarts"]
        yield running
        health = running.get("/health").json()
        assert health["status"] == "ok"
        assert health["worker_restarts"] == first_pid == 0, "no worker has died of any of it"


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_keeps_to_its_document(server: RunningServer, mode: GenerationMode) -> None:
    """By hand and not by schemathesis' pytest plugin: 4.32 does not know pytest 9.2."""
    document = schemathesis.openapi.from_url(
        server.address + "/openapi.json", headers=server.headers, wait_for_schema=5
    )
    seen = set()
    for result in document.get_all_operations():
        operation = result.ok()
        seen.add(operation.label)

        @QUIETLY
        @given(case=operation.as_strategy(generation_mode=mode))
        def keeps_to_it(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=server.headers, checks=HELD, timeout=seconds(60))

        with contextlib.suppress(Unsatisfiable, SkipTest):  # a GET without parameters cannot be asked wrongly
            keeps_to_it()
    assert "POST /tts/clone" in seen and len(seen) == 5


def test_the_document_names_the_key_and_every_operation(server: RunningServer) -> None:
    described = httpx.get(server.address + "/openapi.json", headers=server.headers, trust_env=False).json()
    paths = described["paths"]
    assert set(paths) == {"/tts/clone", "/health", "/livez", "/readyz", "/metrics"}
    assert paths["/tts/clone"]["post"]["security"] == paths["/metrics"]["get"]["security"] == [{"HTTPBearer": []}]
    assert "application/problem+json" in paths["/tts/clone"]["post"]["responses"]["422"]["content"]


ODD = (
    "\u200b\u200e\u200f\u202e\u2066\u0000\ufeff\u00ad\u3000。、！？…「」\n\r\t\x1b\x7f🙂👨‍👩‍👧🇰🇷é̀가ㄱⅣ①½٣𝟘"
    "\ud800\udfff\U0010ffff"
)
TEXTS = st.one_of(
    st.text(st.characters(), max_size=60),
    st.text(st.sampled_from(ODD), max_size=20),
    st.text(st.sampled_from("오늘은 날씨가 참 좋네요. Hello 3,000원!" + ODD), max_size=60),
)


def post(server: RunningServer, content: bytes) -> httpx.Response:
    return httpx.post(
        server.address + "/tts/clone", content=content, headers=server.headers, trust_env=False, timeout=seconds(60)
    )


def check(answer: httpx.Response, content: bytes) -> None:
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, (answer.status_code, content)
    if answer.status_code != 200:
        assert answer.json()["detail"].endswith("."), content


@settings(QUIETLY, max_examples=70)
@given(text=TEXTS, language=st.sampled_from([*LANGUAGES, None]))
def test_no_text_is_a_fault(server: RunningServer, text: str, language: str | None) -> None:
    content = json.dumps({"text": text, "language": language, "seed": 1}).encode()
    check(post(server, content), content)


@settings(QUIETLY, max_examples=60)
@given(
    st.binary(max_size=200) | st.text(max_size=100).map(lambda text: ('{"text": "' + text).encode("utf-8", "replace"))
)
def test_no_bytes_are_a_fault(server: RunningServer, content: bytes) -> None:
    check(post(server, content), content)


@pytest.mark.parametrize(
    "text",
    [
        "가" * 4_000,
        "a" * 1_000,
        "가 " * 500,
        "。" * 500,
        "🙂" * 300,
        "\u202e" * 300 + "안녕",
        "́" * 900 + "a",
        "a\u0000b",
        "1번",
        "ㅋ",
        "...네",
        "<script>alert(1)</script>",
        "<speak><break time='1h'/>안녕</speak>",
        "[[həlˈoʊ]] {}\\ %s %n $(reboot) `id`",
        "https://example.org/a?b=c#d",
        "C:\\Users\\me\\voice.wav",
        "file:///etc/passwd",
        "-v en+f3 --stdout",
    ],
)
def test_texts_that_programs_stumble_over_are_spoken_or_refused(server: RunningServer, text: str) -> None:
    for body in ({"text": text, "seed": 1}, {"text": text, "language": "en", "seed": 1}):
        check(post(server, json.dumps(body).encode()), text[:50].encode("utf-8", "replace"))


def test_a_word_of_which_only_the_beginning_is_spoken_is_not_delivered(server: RunningServer) -> None:
    """eSpeak NG drops most of a number of a thousand digits: that is the engine's failure, found and told."""
    answer = post(server, json.dumps({"text": "1" * 1_000, "seed": 1}).encode())
    assert (answer.status_code, answer.json()["code"]) == (500, "take_failed")
    assert "too short" in answer.json()["detail"]
