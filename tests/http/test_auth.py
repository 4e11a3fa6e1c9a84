from __future__ import annotations

import pytest

from server.http.auth import is_authorized

KEY = b"k3y"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ([(b"authorization", b"Bearer k3y")], True),
        ([(b"Authorization", b"bearer k3y")], True),
        ([], False),
        ([(b"authorization", b"")], False),
        ([(b"authorization", b"Bearer")], False),
        ([(b"authorization", b"Bearer ")], False),
        ([(b"authorization", b"Bearer k3")], False),
        ([(b"authorization", b"Bearer k3yy")], False),
        ([(b"authorization", b"Bearer  k3y")], False),
        ([(b"authorization", b"Bearer k3y ")], False),
        ([(b"authorization", b"Basic k3y")], False),
        ([(b"authorization", b"k3y")], False),
        ([(b"authorization", "Bearer 비밀".encode())], False),
        ([(b"authorization", b"Bearer " + bytes(range(128, 256)))], False),
        ([(b"authorization", b"Bearer " + b"x" * 65536)], False),
        ([(b"authorization", b"Bearer k3y"), (b"authorization", b"Bearer k3y")], False),
        ([(b"x-api-key", b"k3y")], False),
    ],
)
def test_only_one_header_with_exactly_the_key_opens_the_door(headers: list[tuple[bytes, bytes]], allowed: bool) -> None:
    assert is_authorized(headers, KEY) is allowed


def test_an_empty_key_opens_to_nobody() -> None:
    assert not is_authorized([(b"authorization", b"Bearer ")], b"")
