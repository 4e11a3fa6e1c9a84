"""A real voice-server process for tests: uvicorn on loopback, its worker, draft speech or the tiny model."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from clock import seconds, wait_until

TLS_ONCE = ssl.create_default_context()
"""For calls of httpx in tests: without a context each call reads all certificates, 45 ms of the processor."""

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
        return httpx.get(self.address + path, trust_env=False, verify=TLS_ONCE, timeout=seconds(30))

    def speak(self, text: str, **fields: object) -> httpx.Response:
        return httpx.post(
            self.address + "/tts/clone",
            json={"text": text, **fields},
            headers=self.headers,
            trust_env=False,
            verify=TLS_ONCE,
            timeout=seconds(120),
        )

    def answers(self, path: str, status: int = 200) -> bool:
        """Whether the path is answered so now; False too while nobody listens. Raises if the server has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended: {self.log.read_text('utf-8', 'replace')}")
        with contextlib.suppress(httpx.TransportError):
            return self.get(path).status_code == status
        return False

    def unanswered(self) -> int:
        """Requests for speech that have arrived and have no answer yet."""
        told = httpx.get(
            self.address + "/metrics", headers=self.headers, trust_env=False, verify=TLS_ONCE, timeout=seconds(30)
        )
        (count,) = re.findall(r"^tts_concurrent_requests (\S+)$", told.text, re.MULTILINE)
        return round(float(count))

    def wait_ready(self, limit_s: float = 60.0) -> None:
        try:
            wait_until(lambda: self.answers("/readyz"), limit_s, "readiness", every_s=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.log.read_text('utf-8', 'replace')}") from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_server(folder: Path, wait: bool = True, port: int = 0, **settings: str) -> Iterator[RunningServer]:
    """settings: of the server, by their names in capitals. Without ENGINE among them the server speaks draft speech."""
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
            process.wait(seconds(20))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def held_worker(server: RunningServer) -> Iterator[psutil.Process]:
    """The worker, which gets lines and answers none until the block ends: what is asked meanwhile is under way."""
    worker = psutil.Process(worker_pids(server)[0])
    worker.suspend()
    try:
        yield worker
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):  # the test may have killed it
            worker.resume()


def worker_pids(server: RunningServer) -> list[int]:
    """The child processes of the server: its worker, if it has one now."""
    return [child.pid for child in psutil.Process(server.process.pid).children()]
