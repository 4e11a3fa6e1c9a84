"""Answers that no sound voice-server gives, over real HTTP: another text's audio, half a WAV, a router's page."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import threading
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from server.contract import http as contract
from server.contract.codes import STATUS, ErrorCode

RATE = 24_000
VOICE = {"engine": "qwen", "model": "1.7B", "voice": "aaaa", "sound": "s1"}


def audio_of(text: str) -> bytes:
    """A WAV of the text's hash, repeated: the samples show which text the WAV was made for."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(hashlib.sha256(text.encode()).digest() * 500)
    return out.getvalue()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    declared: int | None = None
    """The Content-Length that is sent, where it differs from the body's length."""
    pause_s: float = 0.0


def good(text: str) -> Answer:
    digest = hashlib.sha256(text.encode()).hexdigest()
    headers = {
        "Content-Type": "audio/wav",
        contract.HEADER_TEXT_SHA256: digest,
        contract.HEADER_SEED: "1",
        contract.HEADER_TAKES: "1",
        contract.HEADER_CUT_CONFIDENCE: "1.0",
        contract.HEADER_TIME_GEN: "0.1",
        contract.HEADER_DOUBTFUL: "no",
        contract.HEADER_ENGINE: VOICE["engine"],
        contract.HEADER_MODEL: VOICE["model"],
        contract.HEADER_VOICE: VOICE["voice"],
        contract.HEADER_SOUND: VOICE["sound"],
    }
    return Answer(200, headers, audio_of(text))


def changed(change: Callable[[Answer], None]) -> Callable[[str], Answer]:
    def make(text: str) -> Answer:
        answer = good(text)
        change(answer)
        return answer

    return make


def someone_elses(text: str) -> Answer:
    """HTTP 200 with the audio of another caller's text (xtts-api-server #59), truthfully labelled."""
    return good("another caller's sentence")


def problem(code: ErrorCode, retry_after: int | None = None, **params: Any) -> Callable[[str], Answer]:
    def make(text: str) -> Answer:
        status = STATUS[code]
        body = {"type": "x", "title": "x", "status": status, "detail": code.value, "code": code.value, "params": params}
        headers = {"Content-Type": "application/problem+json"}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        return Answer(status, headers, json.dumps(body).encode())

    return make


def page(text: str) -> Answer:
    return Answer(200, {"Content-Type": "text/html"}, b"<html>router</html>")


def _halve(answer: Answer) -> None:
    answer.body = answer.body[: len(answer.body) // 2]


def _cut_off(answer: Answer) -> None:
    answer.declared = len(answer.body)
    _halve(answer)


def _without(name: str) -> Callable[[Answer], None]:
    return lambda answer: answer.headers.pop(name, None) and None


def _header(name: str, value: str) -> Callable[[Answer], None]:
    return lambda answer: answer.headers.__setitem__(name, value)


def _no_rate(answer: Answer) -> None:
    answer.body = answer.body[:24] + bytes(4) + answer.body[28:]


half_wav = changed(_halve)
"""Whole as HTTP, half as a WAV."""
cut_off = changed(_cut_off)
"""The connection ends before Content-Length is reached."""
unlabelled = changed(_without(contract.HEADER_TEXT_SHA256))
no_seed = changed(_without(contract.HEADER_SEED))
odd_seed = changed(_header(contract.HEADER_SEED, "many"))
no_rate = changed(_no_rate)
"""A WAV of zero hertz."""
bad_encoding = changed(_header("Content-Encoding", "gzip"))


@dataclass
class OddServer:
    address: str
    answers: dict[str, list[Callable[[str], Answer]]] = field(default_factory=dict)
    """Answers by text, used in order; after the last one `otherwise` makes the answer."""
    otherwise: Callable[[str], Answer] = good
    asked: list[str] = field(default_factory=list)
    in_flight: int = 2
    health_is_a_page: int = 0
    """How many times /health still answers with a router's page."""

    def health(self) -> dict[str, object]:
        return {
            "status": "ok",
            "ready": True,
            "model_loaded": True,
            "gpu_available": False,
            "device": "cpu",
            "dtype": "float32",
            "draft": False,
            "sample_rate": RATE,
            "language": "Korean",
            "supported_languages": [],
            "in_flight": self.in_flight,
            "queue_depth": 0,
            "worker_restarts": 0,
            "version": "0",
            "message": "",
            **VOICE,
        }

    def answer(self, text: str) -> Answer:
        self.asked.append(text)
        planned = self.answers.get(text)
        return (planned.pop(0) if planned else self.otherwise)(text)


@contextlib.contextmanager
def odd_server() -> Iterator[OddServer]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if odd.health_is_a_page:
                odd.health_is_a_page -= 1
                self._send(page(""))
                return
            self._send(Answer(200, {"Content-Type": "application/json"}, json.dumps(odd.health()).encode()))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(odd.answer(body["text"]))

        def _send(self, answer: Answer) -> None:
            time.sleep(answer.pause_s)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(answer.declared or len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
            if answer.declared is not None:
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the client has closed the connection

    with Quiet(("127.0.0.1", 0), Handler) as listening:
        odd = OddServer(f"http://127.0.0.1:{listening.server_port}")
        threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield odd
        finally:
            listening.shutdown()
