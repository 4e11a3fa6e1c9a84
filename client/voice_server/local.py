"""A server on this PC that lives as long as one command: `narrate run --local` and the demo.

Knows the server only as a program that is started, and as HTTP.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.errors import ClientError
from server.terminal.messages import current_language, t

STOP_PATIENCE_S = 15.0

LISTEN_PATIENCE_S = 300.0
"""From the start of the local server to its open port. A server that ends is noticed at once, so only one that hangs
waits so long; a busy PC needed 14 s (docs/dev/log.md, 2026-11-28), and a slower one more than the former 60 s."""


@dataclass(frozen=True)
class LocalServer:
    address: str
    key: str = field(repr=False)
    process: subprocess.Popen[bytes]


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_installed() -> bool:
    return importlib.util.find_spec("fastapi") is not None and importlib.util.find_spec("uvicorn") is not None


@contextlib.contextmanager
def local_server(log: Path, engine: str = "", settings: Mapping[str, str] | None = None) -> Iterator[LocalServer]:
    """Starts voice-server on loopback with a fresh key and stops it at the end.

    log: file for what it prints. engine: value for ENGINE; empty leaves it to .env. settings: further
    ones, in capitals.
    Raises ClientError when the server's packages are not installed.
    """
    if not server_installed():
        raise ClientError(
            t(
                "--local needs the server's packages on this PC. Install them with "
                "'python scripts/install.py server', or leave --local out to use the server at "
                "NARRATE_SERVER."
            )
        )
    key, port = secrets.token_urlsafe(32), free_port()
    environment = {
        **os.environ,
        "API_KEY": key,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "PYTHONUTF8": "1",
        **({"ENGINE": engine} if engine else {}),
        **(settings or {}),
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve", "--attached", "--lang", current_language()],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C is for narrate, which finishes the line in flight and then stops this server.
            creationflags=_new_group_flag(),
            start_new_session=True,  # Windows ignores it
        )
        try:
            yield LocalServer(f"http://127.0.0.1:{port}", key, process)
        finally:
            stop(process)


def _new_group_flag() -> int:
    if sys.platform == "win32":
        return subprocess.CREATE_NEW_PROCESS_GROUP
    return 0


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server by closing its standard input, as our own death would; kills it after STOP_PATIENCE_S."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(STOP_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def died_sentence(server: LocalServer, log: Path) -> str | None:
    """Why the local server ended, with the last line that it printed; None while it runs."""
    if server.process.poll() is None:
        return None
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return t(
        "This PC's own server has ended: {reason} (all it said: {log})",
        reason=lines[-1] if lines else t("it said nothing"),
        log=log,
    )


def wait_until_listening(server: LocalServer, log: Path, limit_s: float = LISTEN_PATIENCE_S) -> None:
    """Returns when the port answers. Raises ClientError with the server's last line when the server ends instead."""
    host, port = "127.0.0.1", int(server.address.rsplit(":", 1)[1])
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if (sentence := died_sentence(server, log)) is not None:
            raise ClientError(sentence)
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.05)
    raise ClientError(t("This PC's own server did not start within {seconds} s; see {log}.", seconds=limit_s, log=log))
