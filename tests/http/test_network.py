"""Names in a Host header: which forms are names, which names strangers cannot register, what c94dcad accepted."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.auth import KnownHost
from server.network import (
    LOCAL_SUFFIXES,
    bound_socket,
    cannot_be_rebound,
    host_name,
    is_loopback,
    own_names,
    parse_hosts,
    read_own_names,
)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("mypc", "mypc"),
        ("MyPC:7860", "mypc"),
        ("mypc.local.:80", "mypc.local"),
        ("192.168.0.2:7860", "192.168.0.2"),
        ("[::1]:7860", "::1"),
        ("[::1]", "::1"),
        ("[fe80::1%eth0]:80", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80:0:0::1", "fe80::1"),
        ("my_pc-2", "my_pc-2"),
        ("evil.com.", "evil.com"),
        ("xn--evil-9oa.com", "xn--evil-9oa.com"),
        ("", ""),
        (".", ""),
        (":80", ""),
        ("evil.com..", ""),
        ("[::1", ""),
        ("[::1]x", ""),
        ("[mypc]", ""),
        ("a b", ""),
        ("a@b", ""),
        ("localhost@evil.com", ""),
        ("a/b", ""),
        ("evil.com#.local", ""),
        ("evil。com", ""),
        ("evil．local", ""),
        ("컴퓨터", ""),
        ("１２７.0.0.1", ""),
        ("mypc:80:90", ""),
        ("mypc:8o", ""),
        ("-mypc", ""),
        ("127.0.0.1%eth0", ""),
        ("127.0.0.1%.evil.com", ""),
        ("localhost%00.evil.com", ""),
        ("localhost, evil.com", ""),
        ("\u00a0localhost", ""),
    ],
)
def test_a_host_header_becomes_a_name_or_nothing(value: str, name: str) -> None:
    assert host_name(value) == name


@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")))
def test_no_header_stops_the_reading_of_names(value: str) -> None:
    name = host_name(value)
    assert host_name(name) == name, "a name stays what it is"
    cannot_be_rebound(name)


# Names that no stranger can register


@pytest.mark.parametrize(
    "value",
    ["127.0.0.1", "127.0.0.1.", "192.168.0.2:7860", "203.0.113.5", "0.0.0.0"]
    + ["[::1]:7860", "[2001:db8::5]", "[fe80::1%3]", "::1"]
    + ["localhost", "LOCALHOST:1", "localhost.", "gpu-pc", "GPU_PC:80", "xn--sp8h", "com"]
    + [f"gpu-pc{suffix}" for suffix in LOCAL_SUFFIXES]
    + ["MyPC.Local.", "a.b.home.arpa:7860", "tts.localhost", "localhost.localdomain"],
)
def test_addresses_and_names_that_no_registry_sells_cannot_be_rebound(value: str) -> None:
    assert cannot_be_rebound(host_name(value))


@pytest.mark.parametrize(
    "value",
    ["example.com", "evil.com.", "EVIL.COM:7860", "a.b.c.example.co.kr", "xn--evil-9oa.com", "xn--e1afmkfd.xn--p1ai"]
    + ["127.0.0.1.nip.io", "192-168-0-2.sslip.io", "127.0.0.1.evil.com", "1.2.3.4.5"]
    + ["localhost.example.com", "foo.local.evil.com", "home.arpa.evil.com", "local.com", "localhost.com", "mypc.com"]
    + ["evillocal.com", "evil.xlocal", "evil-lan.com", "evil.home-arpa", "evil.arpa", "evil.hom", "evil.internals"]
    + ["2130706433", "0x7f000001", "0x", "0177.0.0.1", "0x7f.0.0.1", "127.1", "000127.0.0.1"]
    + ["", ".", "evil。com", "evil．local", "..local"],
)
def test_names_that_a_stranger_can_register_and_forms_that_no_browser_sends_are_not_trusted(value: str) -> None:
    assert not cannot_be_rebound(host_name(value))


@given(
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}(\.[a-z0-9][a-z0-9-]{0,20}){0,3}", fullmatch=True),
    st.sampled_from(["com", "net", "kr", "io", "box", "zip", "dev", "xn--p1ai", "app", "nip.io", "sslip.io"]),
)
def test_every_name_under_a_domain_that_is_sold_can_be_rebound(before: str, sold: str) -> None:
    assert not cannot_be_rebound(host_name(f"{before}.{sold}"))


# This machine's own names, and those of the setting


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("LocalHost", True), ("127.1.2.3", True), ("::1", True), ("[::1]", True)]
    + [("::ffff:127.0.0.1", True), ("localhost.evil.example", False), ("127.0.0.1.evil.example", False)]
    + [("1.2.3.4", False), ("0.0.0.0", False), ("::", False), ("", False)],
)
def test_loopback_is_told_from_names_that_begin_alike(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_machine_goes_by_its_name_with_and_without_its_domain() -> None:
    assert own_names("MyPC", "mypc.office.example.com") == {"mypc", "mypc.office.example.com"}
    assert own_names("mypc.example.com.", "") == {"mypc", "mypc.example.com"}
    assert own_names("내컴퓨터", "") == frozenset()


def test_the_real_machine_knows_its_own_name() -> None:
    assert host_name(socket.gethostname()) in read_own_names()


def test_a_name_that_is_too_long_for_the_dns_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise UnicodeError("label too long")

    monkeypatch.setattr(socket, "gethostname", lambda: "my-pc")
    monkeypatch.setattr(socket, "getfqdn", refuse)
    assert read_own_names() == {"my-pc"}


def test_addresses_of_the_setting_may_be_written_in_any_form() -> None:
    assert parse_hosts(" Studio , [::1]:80,10.0.0.5:7860,") == {"studio", "::1", "10.0.0.5"}
    assert parse_hosts("") == frozenset()
    for wrong in ("http://studio", "a b", "studio/x", "*"):
        with pytest.raises(ValueError, match=r".+"):
            parse_hosts(wrong)


# The door


class Machine:
    """A machine that counts how often it is asked for its names."""

    def __init__(self, *names: str) -> None:
        self.names = own_names(*names)
        self.readings = 0

    def __call__(self) -> frozenset[str]:
        self.readings += 1
        return self.names


async def statuses(door: KnownHost, *requests: str | tuple[str, ...]) -> list[int]:
    """What each request gets, all asking at once; a tuple is one request with several Host headers."""

    async def ask(hosts: tuple[str, ...]) -> int:
        told: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            told.append(message)

        async def receive() -> Any:
            raise AssertionError("the body is not looked at")

        headers = [(b"host", host.encode()) for host in hosts]
        await door({"type": "http", "headers": headers, "state": {"request_id": "r"}}, receive, send)
        return int(told[0]["status"])

    return list(await asyncio.gather(*(ask((each,) if isinstance(each, str) else each) for each in requests)))


async def inside(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


ACCEPTED_AT_C94DCAD = {
    ("MyPC", "mypc.office.example.com"): [
        *("mypc", "MYPC:7860", "mypc.", "mypc.office.example.com", "MyPC.Office.Example.com.:7860"),
        *("mypc.local", "mypc.lan", "mypc.home", "mypc.home.arpa", "mypc.internal", "mypc.localdomain"),
        *("localhost", "localhost.", "LOCALHOST:1", "tts.localhost", "127.0.0.1", "127.0.0.9:80", "[::1]:7860", "::1"),
        # Addresses of the machine, and that which the connection came in at
        *("192.168.0.2:7860", "[fe80::1%eth0]:7860", "[::ffff:192.168.0.2]", "[2001:db8::7]"),
        # ALLOWED_HOSTS=tts.example.com, Studio:80
        *("tts.example.com", "TTS.example.com.:443", "studio", "studio:7860"),
    ],
    ("MacBook.local", "macbook.fritz.box"): ["macbook", "macbook.local", "macbook.fritz.box", "macbook.lan"],
    ("render.corp.example.com", "render.corp.example.com"): ["render", "render.corp.example.com", "render.home"],
    ("2026", "2026.example.com"): ["2026", "2026.local", "2026.example.com"],
    ("my_pc-1", "my_pc-1"): ["my_pc-1", "my_pc-1.home.arpa:80"],
}
"""By the machine's own name and its name with a domain."""


@pytest.mark.parametrize("machine", ACCEPTED_AT_C94DCAD)
def test_every_name_that_c94dcad_accepted_is_accepted(machine: tuple[str, str]) -> None:
    accepted = ACCEPTED_AT_C94DCAD[machine]
    door = KnownHost(inside, parse_hosts("tts.example.com, Studio:80"), Machine(*machine))
    answers = asyncio.run(statuses(door, *accepted))
    assert [host for host, status in zip(accepted, answers, strict=True) if status != 200] == []


def test_all_host_headers_of_a_request_must_be_known_and_one_without_any_is_no_browser_s() -> None:
    door = KnownHost(inside, frozenset(), Machine("mypc", ""))
    requests = [("localhost", "mypc"), ("localhost", "evil.com"), ("evil.com", "localhost"), ("localhost", ""), ()]
    assert asyncio.run(statuses(door, *requests)) == [200, 421, 421, 421, 200]


def test_the_machine_is_asked_for_its_names_once_and_only_for_a_name_with_a_domain() -> None:
    machine = Machine("mypc", "mypc.example.com")
    door = KnownHost(inside, frozenset({"tts.example.com"}), machine)

    async def evening() -> None:
        certain = ["mypc", "10.0.0.1", "other.local", "tts.example.com", ""]
        assert await statuses(door, *certain) == [200, 200, 200, 200, 421]
        assert machine.readings == 0
        for _ in range(3):
            assert await statuses(door, *["evil.com"] * 20, "mypc.example.com") == [421] * 20 + [200]
        assert machine.readings == 1

    asyncio.run(evening())


def test_a_domain_that_comes_or_changes_while_the_server_runs_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.http.auth.READ_AGAIN_S", 0.0)
    machine = Machine("mypc", "")
    door = KnownHost(inside, frozenset(), machine)

    async def evening() -> None:
        assert await statuses(door, "mypc.example.com") == [421]
        machine.names = own_names("mypc", "mypc.example.com")
        assert await statuses(door, "mypc.example.com", "evil.com") == [200, 421]

    asyncio.run(evening())


def test_names_that_cannot_be_read_let_nobody_in_and_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.http.auth.READ_AGAIN_S", 0.0)
    answers: list[frozenset[str] | OSError] = [OSError("no name"), own_names("mypc", "mypc.example.com")]

    def read() -> frozenset[str]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    door = KnownHost(inside, frozenset(), read)

    async def evening() -> None:
        assert await statuses(door, "mypc.example.com") == [421]
        assert await statuses(door, "mypc.example.com") == [200]

    asyncio.run(evening())


def test_a_caller_that_leaves_does_not_take_the_names_from_those_who_wait() -> None:
    async def evening() -> None:
        door = KnownHost(inside, frozenset(), Machine("mypc", "mypc.example.com"))
        leaving = asyncio.create_task(statuses(door, "evil.com"))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(statuses(door, "mypc.example.com"))
        leaving.cancel()
        assert await waiting == [200]
        assert (await asyncio.gather(leaving, return_exceptions=True))[0].__class__ is asyncio.CancelledError

    asyncio.run(evening())


# Sockets


def test_a_taken_port_is_found_while_binding_or_listening() -> None:
    with bound_socket("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(OSError) as taken:
            bound_socket("127.0.0.1", first.getsockname()[1])
        assert taken.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    "host", ["a..b", "a" * 64 + ".example", "예" * 64, "a\0b", "[::1]", "127.0.0.1:80", "203.0.113.5"]
)
def test_a_host_that_cannot_be_bound_is_an_os_error_and_leaves_no_socket_open(host: str) -> None:
    with pytest.raises(OSError, match=r".+"):
        bound_socket(host, 0)
