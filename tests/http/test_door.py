"""The server's door: what strangers, broken clients and slow ones get. Real sockets, bytes as they are sent."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from clock import in_time, seconds, wait_until
from conftest import need_program
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import KEY, TLS_ONCE, RunningServer, free_port, running_server

from server.commands.start_checks import check_tls
from server.contract.codes import ErrorCode
from server.contract.http import OPEN_PATHS
from server.engines import EngineSettings
from server.errors import SettingsError
from server.http.app import create_app
from server.http.limits import BODY_PATIENCE_S, MAX_BODY_BYTES, Bucket, as_json, take_one
from server.http.slow_clients import HEAD_PATIENCE_S, LINGER_S, TimeoutProtocol
from server.settings import Settings, validated
from server.takes.take import TakeSettings
from server.worker.supervisor import Supervisor

SENTENCE = "오늘은 날씨가 참 좋네요."
AUTHORIZED = f"Authorization: Bearer {KEY}\r\n".encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("door")) as running:
        yield running
        lines = log_lines(running)
    assert [line for line in lines if line["level"] in ("ERROR", "CRITICAL")] == [], "no test here is a fault of ours"


def log_lines(server: RunningServer) -> list[dict[str, object]]:
    file = server.log.parent / "log" / "lines.log"
    return [json.loads(line) for line in file.read_text("ascii").splitlines()]


def connect(server: RunningServer) -> socket.socket:
    host, port = server.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=seconds(60))


def read_all(sock: socket.socket) -> bytes:
    """Until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := sock.recv(65536):
            received += chunk
    return received


def ask(server: RunningServer, head: bytes, body: bytes = b"") -> bytes:
    """The answer's bytes to a request of these bytes, which ends by `Connection: close`."""
    with connect(server) as sock:
        with contextlib.suppress(ConnectionError):  # it may have answered and closed in the middle of the headers
            sock.sendall(head + b"Connection: close\r\n\r\n" + body)
        return read_all(sock)


def status_of(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert found, answer[:200]
    return int(found[1])


# Who gets in


def every_route() -> list[tuple[str, str]]:
    """(method, path) of all that the app answers, docs included."""
    app = create_app(Settings.model_validate({"api_key": KEY}), Supervisor(EngineSettings("draft"), TakeSettings()))
    return [
        (method, route.path)  # type: ignore[attr-defined]
        for route in app.routes
        for method in sorted(route.methods)  # type: ignore[attr-defined]
    ]


def test_every_route_but_the_open_ones_refuses_whoever_has_no_key(server: RunningServer) -> None:
    routes = every_route()
    assert {path for _, path in routes} >= OPEN_PATHS | {"/tts/clone", "/metrics", "/openapi.json"}
    for method, path in routes:
        for key in ("", "Bearer wrong", f"Basic {KEY}"):
            headers = {"Authorization": key} if key else {}
            answer = httpx.request(method, server.address + path, headers=headers, trust_env=False)
            if path in OPEN_PATHS:
                assert answer.status_code == 200
            else:
                assert answer.status_code == 401, (method, path, key)
                assert answer.headers["www-authenticate"].startswith("Bearer")
                if method != "HEAD":
                    assert answer.json()["code"] == "unauthorized"


@pytest.mark.parametrize(
    "header",
    [
        b"Authorization: Bearer " + "비밀번호".encode(),
        b"Authorization: Bearer \xe9\xff\x80",
        b"Authorization: Bearer " + bytes(range(0x80, 0x100)),
        b"Authorization: Bearer a\x00b",
        b"Authorization: Bearer a\x1bb\x7f",
        b"Authorization: Bearer a\rb",
        b"Authorization: Bearer " + b"k" * 65_536,
        AUTHORIZED.strip() + b"\r\n" + AUTHORIZED.strip(),
        b"Authorization:",
        b"X-Client-Id: " + b"\xff" * 500,
        b"X-Client-Id: " + "작업자".encode() + b"\r\nX-Client-Id: two",
        b"Accept-Encoding: \xff\xfe",
        b"Cookie: " + b"a=b; " * 2000,
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: -1",
        b"Content-Length: " + b"9" * 5000,
        b"Content-Length: \xd9\xa3",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Content-Type: \xff/\xff; charset=\xff",
        b"Expect: 200-maybe",
        b"Upgrade: websocket\r\nConnection: Upgrade",
        b"Upgrade: h2c\r\nHTTP2-Settings: \xff",
        b"Host: second",
        b"no colon here",
        b": no name",
        b"Name\xff: x",
        b" folded: x",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
@pytest.mark.parametrize("path", [b"/health", b"/tts/clone"])
def test_no_header_whatever_its_bytes_is_a_fault_of_the_server(
    server: RunningServer, path: bytes, header: bytes
) -> None:
    for with_key in (b"", AUTHORIZED):
        answer = ask(server, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + with_key + header + b"\r\n")
        if answer:  # a client that still sends when it is refused may be cut off
            assert status_of(answer) in (200, 400, 401, 404, 405, 415, 421), answer[:300]
    assert server.get("/livez").status_code == 200


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sampled_from([b"Host", b"Authorization", b"Content-Type", b"Content-Encoding", b"X-Client-Id", b"Cookie", b"A"]),
    st.binary(max_size=200),
)
def test_header_bytes_drawn_at_random_are_no_fault_either(server: RunningServer, name: bytes, value: bytes) -> None:
    head = b"POST /tts/clone HTTP/1.1\r\nHost: localhost\r\n" + AUTHORIZED + b"Content-Length: 2\r\n"
    answer = ask(server, head + name + b": " + value + b"\r\n", b"{}")
    assert 400 <= status_of(answer) < 500, answer[:300]


@pytest.mark.parametrize(
    "target",
    [
        b"/%ff%fe",
        b"/..%2f..%2fetc/passwd",
        b"/\xff",
        b"//evil/",
        b"http://[/",
        b"*",
        b"/tts/clone?" + b"a" * 9000,
        b"/%00",
    ],
)
def test_no_path_whatever_its_bytes_is_a_fault_of_the_server(server: RunningServer, target: bytes) -> None:
    answer = ask(server, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n" + AUTHORIZED)
    assert status_of(answer) in (400, 404, 405)
    assert b"application/problem+json" in answer


def test_what_is_not_http_is_told_so_as_a_problem(server: RunningServer) -> None:
    with connect(server) as sock:
        sock.sendall(b"hello, are you there?\r\n\r\n")
        answer = read_all(sock)
    assert status_of(answer) == 400
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["code"] == "request_broken"


def test_no_other_page_may_read_the_answers(server: RunningServer) -> None:
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for path in ("/health", "/tts/clone"):
        for headers in (origin, origin | server.headers):
            answer = httpx.options(server.address + path, headers=headers, trust_env=False)
            assert answer.status_code in (401, 405)
            assert not [name for name in answer.headers if name.startswith("access-control")]
    seen = httpx.get(server.address + "/health", headers=origin, trust_env=False, verify=TLS_ONCE)
    assert not [name for name in seen.headers if name.startswith("access-control")]


# Which names it answers to


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/metrics", "/tts/clone"])
def test_a_foreign_name_is_refused_on_every_path_with_and_without_the_key(server: RunningServer, path: str) -> None:
    for host in ("evil.example", "evil.example:7860", "127.0.0.1.evil.example", "pc.local.evil.example", "2130706433"):
        for headers in ({"Host": host}, {"Host": host} | server.headers):
            answer = httpx.get(server.address + path, headers=headers, trust_env=False, verify=TLS_ONCE)
            assert answer.status_code == 421
            assert answer.json()["code"] == "host_unknown"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.9:80", "[::1]:7860", "localhost."])
def test_this_machine_by_any_of_its_loopback_names_is_let_in(server: RunningServer, host: str) -> None:
    assert (
        httpx.get(server.address + "/health", headers={"Host": host}, trust_env=False, verify=TLS_ONCE).status_code
        == 200
    )


def test_this_machines_own_name_any_address_and_any_name_of_the_local_network_are_let_in(server: RunningServer) -> None:
    own = (socket.gethostname(), socket.gethostname().upper() + ":7860")
    for host in (*own, "203.0.113.5", "[2001:db8::5]:80", "gpu-pc", "gpu-pc.local:7860"):
        assert (
            httpx.get(server.address + "/health", headers={"Host": host}, trust_env=False, verify=TLS_ONCE).status_code
            == 200
        )


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nhOST: localhost\r\n", 400),
        (b"GET /health HTTP/1.0\r\nHost: localhost\r\nHost: evil.example\r\n", 400),
        (b"GET /health HTTP/1.0\r\nHost: evil.example\r\n", 421),
        (b"GET /health HTTP/1.1\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost:\r\n", 421),
        (b"GET /health HTTP/1.1\r\nHost: \t \r\n", 421),
        (b"GET /health HTTP/1.1\r\nHost : localhost\r\n", 400),
        (b"GET /health HTTP/1.1\r\n Host: localhost\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n .evil.example\r\n", 421),
        (b"GET /health HTTP/1.1\r\nHost: evil.example\nHost: localhost\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: evil.example\x00localhost\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: \xa0localhost\r\n", 421),
        (b"GET /health HTTP/1.1\r\nHost: evil\xe3\x80\x82com\r\n", 421),
        (b"GET /health HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\n", 421),
        (b"GET /health HTTP/1.1\r\nHost: evil.example\r\nForwarded: host=localhost\r\n", 421),
        # The absolute form, which a browser sends to a proxy: its host counts for nothing, and its path is no open one.
        (b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n", 401),
        (b"GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n", 401),
        (b"GET http://localhost/health HTTP/1.1\r\nHost: evil.example\r\n", 421),
        (b"GET //evil.example/health HTTP/1.1\r\nHost: localhost\r\n", 401),
        (b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n", 401),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", 401),
    ],
)
def test_no_form_of_a_request_gets_a_foreign_name_past_the_door(
    server: RunningServer, head: bytes, status: int
) -> None:
    answer = ask(server, head)
    assert status_of(answer) == status
    assert b"application/problem+json" in answer


def test_a_second_request_on_the_connection_and_a_trailer_bring_no_foreign_name_in(server: RunningServer) -> None:
    second = ask(
        server, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nHost: evil.example\r\n"
    )
    assert re.findall(rb"HTTP/1\.1 (\d{3}) ", second) == [b"200", b"421"]
    trailer = ask(
        server,
        b"GET /health HTTP/1.1\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\n",
        b"0\r\nHost: localhost\r\n\r\n",
    )
    assert status_of(trailer) == 421


def test_a_name_of_the_setting_is_let_in(tmp_path: Path) -> None:
    with running_server(tmp_path, wait=False, ALLOWED_HOSTS="tts.example, studio") as server:
        wait_until(lambda: server.answers("/livez"), 30, every_s=0.05)
        for host, status in (("tts.example", 200), ("Studio:80", 200), ("tts.example.com", 421)):
            answer = httpx.get(server.address + "/livez", headers={"Host": host}, trust_env=False, verify=TLS_ONCE)
            assert answer.status_code == status


def test_a_setting_that_names_no_host_is_said() -> None:
    with pytest.raises(SettingsError, match="ALLOWED_HOSTS=http://pc/ is not a value"):
        validated({"allowed_hosts": "http://pc/"})


# Bodies


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "zstd", "\xff"])
def test_packed_bodies_are_refused_unread(server: RunningServer, encoding: str) -> None:
    answer = ask(
        server,
        b"POST /tts/clone HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n"
        + AUTHORIZED
        + f"Content-Encoding: {encoding}\r\n".encode("latin-1"),
        b"\x1f\x8b" + bytes(18),
    )
    assert status_of(answer) == 415
    assert b'"code":"body_encoded"' in answer


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8", "nonsense", ""]
)
def test_json_is_read_whatever_it_is_called(server: RunningServer, kind: str | None) -> None:
    headers = server.headers | ({} if kind is None else {"Content-Type": kind})
    body = json.dumps({"text": SENTENCE}).encode()
    answer = httpx.post(
        server.address + "/tts/clone",
        content=body,
        headers=headers,
        trust_env=False,
        verify=TLS_ONCE,
        timeout=seconds(60),
    )
    assert answer.status_code == 200


def test_a_form_with_files_stays_what_it_is() -> None:
    form = [(b"content-type", b"multipart/form-data; boundary=x"), (b"host", b"a")]
    assert as_json(form) == form
    assert as_json([(b"content-type", b"text/plain")]) == [(b"content-type", b"application/json")]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"text":' * 5_000,
        b'{"text": "a", "seed": ' + b"9" * 6_000 + b"}",
        b'{"text": "a", "text": 5}',
        b"\xef\xbb\xbf{}",
        '{"text": 5}'.encode("utf-16"),
        '{"text": 5}'.encode("utf-32"),
        b'{"text": Infinity}',
        b'{"text": "a", "language": "\\ud800"}',
        b'{"text": "\\ud800 \\udfff"}',
        b'{"text": null}',
        b'"text"',
        b"null",
        b"\x00",
    ],
)
def test_bodies_that_break_parsers_get_a_sentence(server: RunningServer, body: bytes) -> None:
    answer = httpx.post(
        server.address + "/tts/clone", content=body, headers=server.headers, trust_env=False, verify=TLS_ONCE
    )
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith(".")


def test_an_announced_length_that_is_a_lie_ends_in_an_answer_or_a_closed_door(server: RunningServer) -> None:
    body = json.dumps({"text": "가."}).encode()
    head = b"POST /tts/clone HTTP/1.1\r\nHost: localhost\r\n" + AUTHORIZED
    shorter = ask(server, head + b"Content-Length: 5\r\n", body)
    assert status_of(shorter) == 422
    with connect(server) as sock:  # longer, and then the client has nothing more to say
        sock.sendall(head + b"Content-Length: 500\r\n\r\n" + body)
        sock.shutdown(socket.SHUT_WR)
        answer = read_all(sock)
    assert not answer or status_of(answer) in (400, 408, 422)


def test_a_body_too_large_is_told_so_even_while_it_is_still_being_sent(server: RunningServer) -> None:
    """The refusal of a key or a size must arrive, and not be lost to a reset because the door was slammed."""
    body = b"x" * 2_000_000
    for key, status in ((AUTHORIZED, 413), (b"", 401)):
        with connect(server) as sock:
            sock.sendall(b"POST /tts/clone HTTP/1.1\r\nHost: localhost\r\n" + key)
            sock.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode())
            sock.sendall(body)
            assert status_of(sock.recv(65536)) == status
            # What was refused has been read to its end, so the connection serves on.
            sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b"HTTP/1.1 200" in read_all(sock)


# Slow clients


def dribble(server: RunningServer, at_once: bytes, slowly: bytes, limit_s: float = 30) -> tuple[bytes, float]:
    """What came back, and after how many seconds the server closed; a byte each quarter second.

    A byte sent just after the server has closed is answered by a reset. A reset is the end too.
    """
    started = time.monotonic()
    received = b""
    with connect(server) as sock:
        sock.sendall(at_once)
        sock.settimeout(0.25)
        for byte in slowly:
            try:
                with contextlib.suppress(TimeoutError):
                    chunk = sock.recv(65536)
                    if not chunk:
                        break
                    received += chunk
                    continue
                sock.sendall(bytes([byte]))
            except ConnectionError:
                break
            assert in_time(time.monotonic() - started, limit_s), "it waits for ever"
        else:
            raise AssertionError("it waited for all of it")
    return received, time.monotonic() - started


def test_slow_clients_are_shown_out_while_others_are_served(server: RunningServer) -> None:
    post = b"POST /tts/clone HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    once = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as left_open:
        idle = [left_open.enter_context(connect(server)) for _ in range(100)]
        pool = left_open.enter_context(ThreadPoolExecutor(5))
        head = pool.submit(dribble, server, b"", b"GET /health HTTP/1.1\r\nX: " + b"a" * 900)
        second_head = pool.submit(dribble, server, once, b"GET /health HTTP/1.1\r\nX: " + b"a" * 900)
        body = pool.submit(dribble, server, post + AUTHORIZED + b"\r\n", b'{"text": "' + b"a" * 900)
        stranger = pool.submit(dribble, server, post + b"\r\n", b'{"text": "' + b"a" * 900)
        health = pool.submit(dribble, server, post.replace(b"POST /tts/clone", b"GET /health") + b"\r\n", b"a" * 900)
        slowest = 0.0
        while not all(each.done() for each in (head, second_head, body, stranger, health)):
            started = time.monotonic()
            assert server.get("/livez").status_code == 200
            slowest = max(slowest, time.monotonic() - started)
            time.sleep(0.2)
        for sock in idle:  # those who never said a word have been shown out too
            sock.settimeout(seconds(1))
            assert sock.recv(1) == b""
    answer, taken_s = head.result()
    assert status_of(answer) == 408 and b'"code":"request_slow"' in answer
    assert taken_s > HEAD_PATIENCE_S - 1 and in_time(taken_s - HEAD_PATIENCE_S, 5)
    answer, taken_s = second_head.result()
    assert answer.count(b"HTTP/1.1 200") == 1 and b"HTTP/1.1 408" in answer
    assert in_time(taken_s - HEAD_PATIENCE_S, 5)
    answer, taken_s = body.result()
    assert status_of(answer) == 408 and b'"code":"request_slow"' in answer
    assert in_time(taken_s - BODY_PATIENCE_S - LINGER_S, 5)
    for others, status in ((stranger, 401), (health, 200)):
        answer, taken_s = others.result()
        assert status_of(answer) == status
        assert in_time(taken_s - LINGER_S, 5), "answered at once, and the rest of the body is not waited for"
    assert in_time(slowest, 2)


def test_patience_ends_for_connections_that_never_finish_a_request() -> None:
    assert TimeoutProtocol.head_patience_s == HEAD_PATIENCE_S <= 30
    assert BODY_PATIENCE_S <= 30 and LINGER_S <= 5 and MAX_BODY_BYTES <= 1 << 20


def test_answers_on_a_kept_connection_come_as_soon_as_on_a_new_one(server: RunningServer) -> None:
    """With Nagle's algorithm on, each of them waited 40 ms for the client's acknowledgement.

    Compared in pairs, so that a busy machine is slow for both.
    """

    def taken_s(client: httpx.Client) -> float:
        started = time.perf_counter()
        assert client.get(server.address + "/livez").status_code == 200
        return time.perf_counter() - started

    later_s = []
    with httpx.Client(trust_env=False, verify=TLS_ONCE) as kept:
        taken_s(kept)
        for _ in range(30):
            with httpx.Client(trust_env=False, verify=TLS_ONCE) as new:
                later_s.append(taken_s(kept) - taken_s(new))
    assert sorted(later_s)[len(later_s) // 2] < 0.03


# Not too often


def test_a_key_may_come_so_often_a_minute_and_is_told_when_to_come_again() -> None:
    bucket, waits = Bucket(6.0, 100.0), []
    for _ in range(8):
        bucket, wait_s = take_one(bucket, 6, 100.0)
        waits.append(wait_s)
    assert waits == [0, 0, 0, 0, 0, 0, 10, 10], "one each ten seconds is six a minute"
    bucket, wait_s = take_one(bucket, 6, 109.0)
    assert wait_s == pytest.approx(1)
    bucket, wait_s = take_one(bucket, 6, 110.1)
    assert wait_s == 0
    assert take_one(bucket, 6, 10_000.0)[0].left == 5, "an hour of silence is no right to a burst"


def test_beyond_the_rate_limit_is_429_and_open_paths_go_on(tmp_path: Path) -> None:
    with running_server(tmp_path, RATE_LIMIT="3") as server:
        answers = [server.speak(SENTENCE) for _ in range(5)]
        assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert 1 <= int(refused[0].headers["retry-after"]) <= 20
        assert refused[0].json()["code"] == ErrorCode.RATE_LIMITED
        assert server.get("/health").status_code == 200
        metrics = httpx.get(server.address + "/metrics", headers=server.headers, trust_env=False, verify=TLS_ONCE)
        assert metrics.status_code == 200
        strangers = httpx.post(server.address + "/tts/clone", json={"text": "a"}, trust_env=False, verify=TLS_ONCE)
        assert strangers.status_code == 401


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = need_program("openssl", "openssl")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [openssl, *words, *names, "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
        timeout=seconds(60),
    )
    return cert, key


@pytest.mark.system
def test_with_a_certificate_it_speaks_tls_and_nothing_else(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    trusting = ssl.create_default_context(cafile=str(cert))
    port = free_port()
    with running_server(tmp_path, wait=False, port=port, TLS_CERT=str(cert), TLS_KEY=str(key)) as server:
        with httpx.Client(verify=trusting, trust_env=False, timeout=seconds(60)) as client:

            def ready() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return client.get(f"https://127.0.0.1:{port}/readyz").status_code == 200
                return False

            wait_until(ready, 60, every_s=0.1)
            body = {"text": SENTENCE, "seed": 1}
            spoken = client.post(f"https://localhost:{port}/tts/clone", json=body, headers=server.headers)
            assert spoken.status_code == 200
        with pytest.raises(httpx.TransportError):
            server.get("/health")
        assert f"https://127.0.0.1:{port}" in server.log.read_text("utf-8")


@pytest.mark.system
def test_a_certificate_that_cannot_be_used_is_said_before_the_start(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    secret = tmp_path / "secret.pem"
    words = ["rsa", "-aes128", "-passout", "pass:word", "-in", str(key), "-out", str(secret)]
    subprocess.run([need_program("openssl", "openssl"), *words], check=True, capture_output=True, timeout=seconds(60))
    (tmp_path / "no.pem").write_text("nothing")
    for tls_cert, tls_key, word in (
        (cert, "", "TLS_KEY"),
        ("", key, "TLS_CERT"),
        (cert, tmp_path / "missing.pem", "missing.pem"),
        (tmp_path / "no.pem", key, "no.pem"),
        (cert, secret, "pass phrase"),
    ):
        with pytest.raises(SettingsError, match=word):
            check_tls(validated({"tls_cert": str(tls_cert), "tls_key": str(tls_key)}))
    assert check_tls(validated({"tls_cert": str(cert), "tls_key": str(key)}))
    assert not check_tls(validated({}))
