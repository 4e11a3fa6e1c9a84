"""A real voice-server process for tests: uvicorn on loopback, its worker, draft speech or the tiny model."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

KEY = "test-key-0123456789-abcdefghijklmnop"


@dataclass
class RunningServer:
    address: str
    process: subprocess.Popen[bytes]
    log: Path
    key: str = field(default=KEY, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.address + path, trust_env=False, timeout=30)

    def speak(self, text: str, **fields: object) -> httpx.Response:
        return httpx.post(
            self.address + "/tts/clone",
            json={"text": text, **fields},
            headers=self.headers,
            trust_env=False,
            timeout=120,
        )

    def wait_ready(self, limit_s: float = 60.0) -> None:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended: {self.log.read_text('utf-8', 'replace')}")
            with contextlib.suppress(httpx.TransportError):
                if self.get("/readyz").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log.read_text('utf-8', 'replace')}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_server(folder: Path, wait: bool = True, port: int = 0, **settings: str) -> Iterator[RunningServer]:
    """settings: the server's own, in capitals; draft speech unless they say otherwise."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    environment = {
        **os.environ,
        "API_KEY": KEY,
        "PORT": str(port),
        "ENGINE": "draft",
        "PROMPT_DIR": str(folder / "voices"),
        "LOG_FILE": str(folder / "log" / "lines.log"),
        **settings,
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve", "--attached"],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
        )
    server = RunningServer(f"http://127.0.0.1:{port}", process, log)
    try:
        if wait:
            server.wait_ready()
        yield server
    finally:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def worker_pids(server: RunningServer) -> list[int]:
    """The server's own child processes."""
    import psutil

    return [child.pid for child in psutil.Process(server.process.pid).children()]
