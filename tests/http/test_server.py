"""The server as programs see it: a real process, real sockets, draft speech."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from clock import exit_code_of, seconds, wait_until
from servers import KEY, TLS_ONCE, RunningServer, free_port, held_worker, running_server, worker_pids

from client.errors import NotAServer
from client.voice_server.api import VoiceServer
from server.contract.http import OPEN_PATHS
from server.engines import EngineSettings
from server.http.app import create_app
from server.settings import Settings
from server.takes.take import TakeSettings
from server.worker.supervisor import Supervisor

SENTENCE = "오늘은 날씨가 참 좋네요."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def test_speech_is_a_whole_mono_16_bit_wav(server: RunningServer) -> None:
    answer = server.speak(SENTENCE, seed=7)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/wav"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert int.from_bytes(answer.content[4:8], "little") == len(answer.content) - 8
    with wave.open(io.BytesIO(answer.content)) as wav:
        assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) == (1, 2, 22_050)
        samples = wav.readframes(wav.getnframes())
        assert len(samples) == wav.getnframes() * 2
        assert wav.getnframes() / 22_050 == pytest.approx(float(answer.headers["x-audio-duration"]), abs=0.001)
        # 0.2 s of silence at the end, and no more than a moment of it before.
        tail = int(22_050 * 0.2) * 2
        assert samples[-tail:] == bytes(tail)
        assert any(samples[: len(samples) - tail])


def test_the_headers_are_ascii_and_say_what_the_take_is(server: RunningServer) -> None:
    answer = server.speak(SENTENCE, seed=7)
    for name in ("x-time-gen", "x-time-total", "x-audio-duration"):
        assert float(answer.headers[name]) > 0
    assert answer.headers["x-engine"] == "draft"
    assert answer.headers["x-model"].startswith("espeak-ng")
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-voice"])
    assert answer.headers["x-seed"] == "7"
    assert answer.headers["x-text-sha256"] == hashlib.sha256(SENTENCE.encode()).hexdigest()
    assert all(value.isascii() for _, value in answer.headers.items())


def test_the_same_text_and_seed_is_the_same_take_and_another_seed_another(server: RunningServer) -> None:
    first, again, other = (server.speak(SENTENCE, seed=seed).content for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_without_a_seed_one_is_drawn_and_told(server: RunningServer) -> None:
    answer = server.speak(SENTENCE)
    assert server.speak(SENTENCE, seed=int(answer.headers["x-seed"])).content == answer.content


def test_unknown_fields_are_ignored(server: RunningServer) -> None:
    assert server.speak(SENTENCE, speaker="wendy", speed=1.5).status_code == 200


def test_a_language_can_be_given_by_code_or_name(server: RunningServer) -> None:
    by_code, by_name = (server.speak("Good morning.", seed=1, language=name) for name in ("en", "English"))
    assert by_code.content == by_name.content
    assert by_code.content != server.speak("Good morning.", seed=1).content, "the default is Korean"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 422, "body_invalid"),
        (b"", 422, "body_invalid"),
        (b"[]", 422, "body_invalid"),
        (b"{}", 422, "body_invalid"),
        (b'{"text": NaN}', 422, "body_invalid"),
        (b'{"text": 5}', 422, "body_invalid"),
        (b'{"text": "a", "seed": -1}', 422, "body_invalid"),
        (b'{"text": "a", "seed": NaN}', 422, "body_invalid"),
        (b'{"text": "a", "seed": 1e400}', 422, "body_invalid"),
        (b'{"text": "\xff"}', 422, "body_invalid"),
        (b'{"text": ""}', 422, "text_empty"),
        (b'{"text": "\\ud800"}', 422, "text_empty"),
        (b'{"text": "\\u200b \\u0000"}', 422, "text_empty"),
        ('{"text": "。"}'.encode(), 422, "text_unspeakable"),
        ('{"text": "🙂🙂"}'.encode(), 422, "text_unspeakable"),
        (json.dumps({"text": "가" * 1001}).encode(), 422, "text_too_long"),
        (b'{"text": "a", "language": "Klingon"}', 422, "language_unknown"),
        (b'{"text": "' + b"a" * 70_000 + b'"}', 413, "body_too_large"),
    ],
)
def test_bad_bodies_get_a_problem_with_a_code_and_a_sentence(
    server: RunningServer, body: bytes, status: int, code: str
) -> None:
    answer = httpx.post(
        server.address + "/tts/clone",
        content=body,
        headers={**server.headers, "content-type": "application/json"},
        trust_env=False,
        verify=TLS_ONCE,
    )
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["detail"].endswith(".") and "{" not in problem["detail"].replace('{"text": "..."}', "")


def test_a_lone_surrogate_is_taken_out_and_the_rest_spoken(server: RunningServer) -> None:
    answer = httpx.post(
        server.address + "/tts/clone",
        content=b'{"text": "\\ud800\xec\x95\x88\xeb\x85\x95\xed\x95\x98\xec\x84\xb8\xec\x9a\x94."}',
        headers=server.headers,
        trust_env=False,
        verify=TLS_ONCE,
    )
    assert answer.status_code == 200


def test_a_stranger_gets_401_before_the_body_is_read(server: RunningServer) -> None:
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds(10)) as sock:
        # The body that is announced is never sent: the answer has to come all the same.
        sock.sendall(b"POST /tts/clone HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"www-authenticate: bearer" in answer.lower()


def test_a_chunked_body_is_limited_too(server: RunningServer) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"text": "'
        for _ in range(100):
            yield b"a" * 1000
        yield b'"}'

    answer = httpx.post(
        server.address + "/tts/clone", content=chunks(), headers=server.headers, trust_env=False, verify=TLS_ONCE
    )
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


@pytest.mark.parametrize("path", ["/tts/clone", "/docs", "/openapi.json", "/redoc", "/metrics", "/nothing", "/health/"])
def test_everything_but_the_open_paths_needs_the_key(server: RunningServer, path: str) -> None:
    assert server.get(path).status_code == 401
    assert httpx.get(server.address + path + f"?key={KEY}", trust_env=False, verify=TLS_ONCE).status_code == 401


def test_every_route_of_the_app_is_open_by_name_or_closed() -> None:
    settings = Settings.model_validate({"api_key": KEY})
    app = create_app(settings, Supervisor(EngineSettings("draft"), TakeSettings()))
    paths = {route.path for route in app.routes}  # type: ignore[attr-defined]
    assert paths >= OPEN_PATHS
    assert paths - OPEN_PATHS == {"/tts/clone", "/metrics", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}


def test_health_tells_what_the_seeds_clients_read_and_more(server: RunningServer) -> None:
    health = server.get("/health").json()
    assert health["status"] == "ok"
    assert health["device"] == "cpu"
    assert health["model_loaded"] is True
    assert health["gpu_available"] is False
    assert health["engine"] == "draft" and health["draft"] is True
    assert health["in_flight"] >= 2
    assert health["supported_languages"][0] == "Korean" and len(health["supported_languages"]) == 10
    assert KEY not in json.dumps(health)
    assert server.get("/livez").status_code == server.get("/readyz").status_code == 200


def test_docs_open_with_the_key(server: RunningServer) -> None:
    url = server.address + "/openapi.json"
    assert httpx.get(url, headers=server.headers, trust_env=False, verify=TLS_ONCE).status_code == 200


def test_twenty_callers_at_once_each_get_their_own_sentence(server: RunningServer) -> None:
    texts = [f"{number}번째 문장입니다." for number in range(20)]
    alone = {text: server.speak(text, seed=1).content for text in texts}
    with ThreadPoolExecutor(20) as pool:
        together = dict(zip(texts, pool.map(lambda text: server.speak(text, seed=1).content, texts), strict=True))
    assert together == alone
    assert len(set(alone.values())) == 20


def test_the_server_writes_nothing_to_the_disk_but_its_log(server: RunningServer) -> None:
    server.speak(SENTENCE)
    folder = server.log.parent
    written = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert set(written) == {"server.log", "log/lines.log"}, "the first is what the test itself keeps of its output"
    for line in written["log/lines.log"].read_text("ascii").splitlines():
        json.loads(line)


def test_a_caller_that_leaves_leaves_nothing_behind(server: RunningServer) -> None:
    """A hundred callers hang up right after asking; the queue is empty again and the next is answered."""
    host, port = server.address.removeprefix("http://").split(":")
    body = json.dumps({"text": SENTENCE}).encode()
    head = (
        f"POST /tts/clone HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    before = server.get("/health").json()["counts"].get("spoken", 0)
    for _ in range(100):
        with socket.create_connection((host, int(port)), timeout=seconds(10)) as sock:
            sock.sendall(head.encode() + body)
    wait_until(lambda: server.get("/health").json()["queue_depth"] == 0, 20, "an empty queue", every_s=0.05)
    assert server.get("/health").json()["counts"].get("spoken", 0) - before < 60, "what nobody waits for is not spoken"
    assert server.speak(SENTENCE).status_code == 200


def test_a_killed_worker_is_replaced_and_its_line_is_not_lost(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        before = worker_pids(server)
        alone = {seed: server.speak(SENTENCE, seed=seed).content for seed in range(4)}
        with ThreadPoolExecutor(4) as pool:
            with held_worker(server) as worker:
                answers = [pool.submit(server.speak, SENTENCE, seed=seed) for seed in range(4)]
                wait_until(lambda: server.unanswered() == 4, 60, "the arrival of all", every_s=0.05)
                worker.kill()
            for seed, answer in enumerate(answers):
                assert answer.result().status_code == 200, answer.result().text
                assert answer.result().content == alone[seed]
        assert server.get("/health").json()["worker_restarts"] == 1
        assert worker_pids(server) != before


def test_an_idle_worker_that_dies_is_replaced_too(server: RunningServer) -> None:
    before = worker_pids(server)
    os.kill(before[0], signal.SIGKILL)
    assert server.speak(SENTENCE).status_code == 200
    assert worker_pids(server) != before


def test_no_worker_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        workers = [psutil.Process(pid) for pid in worker_pids(server)]
        assert workers
        server.process.kill()
        _, alive = psutil.wait_procs(workers, timeout=seconds(10))
        assert not alive


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_not_even_a_stuck_worker_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    """Stopped, it cannot hear that its standard input has ended; a hang in the driver looks the same."""
    with running_server(tmp_path) as server:
        workers = [psutil.Process(pid) for pid in worker_pids(server)]
        for worker in workers:
            worker.suspend()
        server.process.kill()
        _, alive = psutil.wait_procs(workers, timeout=seconds(10))
        for worker in alive:
            worker.kill()
        assert not alive


def test_ctrl_c_ends_the_server_and_its_worker(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        workers = [psutil.Process(pid) for pid in worker_pids(server)]
        server.process.send_signal(signal.SIGINT)
        assert exit_code_of(server.process, 15) == 0
        _, alive = psutil.wait_procs(workers, timeout=seconds(5))
        assert not alive
    assert "The server has stopped." in server.log.read_text("utf-8")


def test_the_parent_answers_while_the_engine_loads(tmp_path: Path) -> None:
    with running_server(tmp_path, wait=False) as server:
        wait_until(lambda: server.answers("/livez"), 30)
        ready = server.get("/readyz")
        assert server.get("/livez").status_code == 200
        if ready.status_code == 503:  # caught it loading: then speech is refused with a time to come back
            answer = server.speak(SENTENCE)
            assert answer.status_code in (200, 503)
            if answer.status_code == 503:
                assert answer.json()["code"] == "engine_loading"
                assert int(answer.headers["retry-after"]) >= 1
        server.wait_ready()


def serve(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", "serve"],
        env={**os.environ, "PORT": str(free_port()), **settings},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=seconds(60),
        check=False,
    )


def test_without_a_key_the_server_does_not_start_and_says_how_to_make_one(tmp_path: Path) -> None:
    ended = serve(tmp_path, ENGINE="draft")
    assert ended.returncode == 40
    assert "voice-server init" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_short_key_does_not_open_the_network(tmp_path: Path) -> None:
    ended = serve(tmp_path, ENGINE="draft", HOST="0.0.0.0", API_KEY="short")
    assert ended.returncode == 40
    assert "at least 32" in ended.stderr and "short" not in ended.stderr


def test_a_taken_port_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        ended = serve(tmp_path, ENGINE="draft", API_KEY=KEY, PORT=port)
    assert ended.returncode == 41
    assert port in ended.stderr and "PORT" in ended.stderr


def test_a_voice_that_cannot_be_used_stops_the_parent_and_never_falls_back_to_draft(tmp_path: Path) -> None:
    ended = serve(tmp_path, API_KEY=KEY, REF_AUDIO=str(tmp_path / "missing.wav"), REF_TEXT="안녕", DEVICE="cpu")
    assert ended.returncode == 41
    assert "missing.wav" in ended.stderr
    assert "DRAFT" not in ended.stdout
    assert "Traceback" not in ended.stderr


def test_the_korean_server_speaks_korean_to_its_reader(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "server", "serve", "--lang", "ko"],
        env=os.environ.copy(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=seconds(60),
        check=False,
    )
    assert re.search("[가-힣]{2,}", ended.stderr)


def test_narrate_tells_the_cure_when_the_server_does_not_know_the_name(server: RunningServer) -> None:
    async def ask() -> None:
        async with VoiceServer(server.address, KEY) as there:
            there._http.headers["host"] = "another.example"
            await there.health()

    with pytest.raises(NotAServer, match="ALLOWED_HOSTS"):
        asyncio.run(ask())
