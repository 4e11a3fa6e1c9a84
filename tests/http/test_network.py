"""Names of this machine: what passes for one, and when they are read again."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.auth import KnownHost
from server.network import READ_AGAIN_S, Hosts, host_name, is_loopback_name, names_of, parse_hosts, read_machine


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
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80:0:0::1", "fe80::1"),
        ("my_pc-2", "my_pc-2"),
        ("", ""),
        (":80", ""),
        ("[::1", ""),
        ("[::1]x", ""),
        ("[mypc]", ""),
        ("a b", ""),
        ("a@b", ""),
        ("a/b", ""),
        ("컴퓨터", ""),
        ("mypc:80:90", ""),
        ("mypc:8o", ""),
        ("-mypc", ""),
    ],
)
def test_a_host_header_becomes_a_name_or_nothing(value: str, name: str) -> None:
    assert host_name(value) == name


@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")))
def test_no_header_stops_the_reading_of_names(value: str) -> None:
    name = host_name(value)
    assert name == host_name(name), "a name stays what it is"
    Hosts(own=frozenset({"mypc"})).knows(name, "127.0.0.1")


def test_loopback_is_told_from_names_that_begin_alike() -> None:
    assert all(is_loopback_name(name) for name in ("localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "::1"))
    assert not any(
        is_loopback_name(name) for name in ("localhost.evil.example", "127.0.0.1.evil.example", "1.2.3.4", "")
    )


def test_a_machine_goes_by_its_name_alone_and_with_what_home_networks_put_behind_it() -> None:
    names = names_of("MyPC", "mypc.office.example.com")
    assert {"mypc", "mypc.office.example.com", "mypc.local", "mypc.lan"} <= names
    assert "mypc.example" not in names and "" not in names


def test_addresses_of_the_setting_may_be_written_in_any_form() -> None:
    assert parse_hosts(" Studio , [::1]:80,10.0.0.5:7860,") == {"studio", "::1", "10.0.0.5"}
    assert parse_hosts("") == frozenset()
    for wrong in ("http://studio", "a b", "studio/x", "*"):
        with pytest.raises(ValueError, match=r".+"):
            parse_hosts(wrong)


def test_the_address_that_the_connection_came_in_at_is_this_machine_s_whatever_was_read() -> None:
    hosts = Hosts(own=frozenset({"mypc", "10.0.0.1"}))
    assert hosts.knows("192.168.7.7", "192.168.7.7") and hosts.knows("192.168.7.7", "::ffff:192.168.7.7")
    assert not hosts.knows("192.168.7.8", "192.168.7.7")
    assert not hosts.knows("evil.example", "evil.example"), "an address, not a name"


def test_the_real_machine_knows_its_own_name() -> None:
    assert socket.gethostname().lower() in read_machine()


class Network:
    """A machine whose names change, and that counts how often it is asked for them."""

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)
        self.readings = 0

    def __call__(self) -> frozenset[str]:
        self.readings += 1
        return self.names


async def statuses(door: KnownHost, *hosts: str) -> list[int]:
    """What each of them gets, all asking at once."""

    async def ask(host: str) -> int:
        told: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            told.append(message)

        async def receive() -> Any:
            raise AssertionError("the body is not looked at")

        scope = {
            "type": "http",
            "headers": [(b"host", host.encode())],
            "server": ("10.0.0.1", 7860),
            "state": {"request_id": "r"},
        }
        await door(scope, receive, send)
        return int(told[0]["status"])

    return list(await asyncio.gather(*map(ask, hosts)))


async def inside(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


def test_names_are_read_at_the_first_unknown_one_and_all_who_ask_meanwhile_wait_for_them() -> None:
    network = Network("mypc")
    answers = asyncio.run(
        statuses(KnownHost(inside, Hosts(read=network)), "mypc", "mypc:80", "10.0.0.1", "evil.example")
    )
    assert answers == [200, 200, 200, 421]
    assert network.readings == 1


def test_a_new_address_is_found_after_a_few_seconds_and_strangers_cannot_make_it_read_all_the_time() -> None:
    network = Network("mypc")
    hosts = Hosts(read=network)
    door = KnownHost(inside, hosts)

    async def evening() -> None:
        assert await statuses(door, "newname", "evil.example") == [421, 421]
        network.names = frozenset({"newname"})
        assert await statuses(door, *["evil.example"] * 20, "newname") == [421] * 21
        assert network.readings == 1
        assert hosts.last_read is not None
        hosts.last_read -= READ_AGAIN_S
        assert await statuses(door, "newname", "evil.example") == [200, 421]
        assert network.readings == 2

    asyncio.run(evening())
