"""TimeoutProtocol overrides private parts of uvicorn. These tests fail when uvicorn has moved, and say what to do then.

To take a newer minor version: move the pin in pyproject.toml, run `python scripts/lock.py --upgrade`, read what changed
in uvicorn/protocols/http/h11_impl.py between the two versions, and run tests/http/test_door.py (slow clients are shown
out, what is not HTTP is told so, a body too large is told so). Where a name below is gone, change
server/http/slow_clients.py.
"""

from __future__ import annotations

import asyncio
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from server.http.slow_clients import TimeoutProtocol

ROOT = Path(__file__).parents[2]
WHAT_TO_DO = "uvicorn has moved: see the head of this file"


def test_the_pin_lets_in_one_minor_version_of_uvicorn_the_one_that_is_tested_here() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pins = [each for each in project["optional-dependencies"]["server"] if each.startswith("uvicorn")]
    major, minor = map(int, version("uvicorn").split(".")[:2])
    assert pins == [f"uvicorn>={major}.{minor},<{major}.{minor + 1}"], WHAT_TO_DO


@pytest.mark.parametrize(
    "name", ["connection_made", "data_received", "on_response_complete", "connection_lost", "send_400_response"]
)
def test_what_our_protocol_overrides_is_there_and_takes_the_same_arguments(name: str) -> None:
    theirs, ours = getattr(H11Protocol, name, None), getattr(TimeoutProtocol, name)
    assert theirs is not None, f"{name} is gone. {WHAT_TO_DO}"
    assert ours is not theirs
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters), WHAT_TO_DO


def test_what_our_protocol_reads_is_there() -> None:
    async def read() -> None:
        config = uvicorn.Config(lambda: None, http=TimeoutProtocol, log_config=None)  # type: ignore[arg-type]
        made = TimeoutProtocol(config, ServerState(), {})
        for name in ("conn", "transport", "cycle", "loop"):
            assert hasattr(made, name), f"{name} is gone. {WHAT_TO_DO}"
        for name in ("our_state", "their_state", "trailing_data", "send"):
            assert hasattr(made.conn, name), f"conn.{name} is gone. {WHAT_TO_DO}"

    asyncio.run(read())
    assert "self.response_complete" in inspect.getsource(RequestResponseCycle.__init__), WHAT_TO_DO


def test_uvicorn_still_calls_what_our_protocol_overrides() -> None:
    """A method that uvicorn calls no more would be overridden in vain, and slow clients would be waited for."""
    assert "self.send_400_response(" in inspect.getsource(H11Protocol.handle_events), WHAT_TO_DO
    assert "on_response=self.on_response_complete" in inspect.getsource(H11Protocol.handle_events), WHAT_TO_DO
