"""A night in minutes: real server, real client and draft speech, with processes killed at random.

    .venv/bin/python scripts/bench/soak.py [--lines 500] [--seed 1] [--most-minutes 20]

Loopback only, bounded in lines and time. A scheduler kills the worker, the server (started again, as a service manager
does) and the client (started again, as a narrator does), cuts connections in the middle of bodies, and fills the
queue. Afterwards every line must be present once, each WAV must equal a direct synthesis of its own text and seed, and
memory, handles and processes of the calm server must be as before. The exit code is 0 only if all of that holds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

MIN_PAUSE_S, MAX_PAUSE_S = 0.5, 2.5
"""Time between two faults"""

STALL_S = 300.0
"""After the faults, without a new file, the run counts as hung: on a busy machine a line takes seconds, not minutes."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class CuttingProxy(threading.Thread):
    """Passes bytes between client and server on loopback; on demand it cuts connections in the middle of an answer."""

    def __init__(self, target: int) -> None:
        super().__init__(daemon=True)
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.cuts_left = 0
        self.cuts_made = 0

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed: the soak is over
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                return
            server.settimeout(None)
            with server:
                up = threading.Thread(target=self._pump, args=(client, server, False), daemon=True)
                up.start()
                self._pump(server, client, True)

    def _pump(self, source: socket.socket, sink: socket.socket, may_cut: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                passed += len(data)
                # Past the headers, so that the status is 200 and only the body is broken.
                if may_cut and self.cuts_left > 0 and passed > 8192:
                    self.cuts_left -= 1
                    self.cuts_made += 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass
class Stage:
    """The processes of a soak, and the folder where they work."""

    folder: Path
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    server_port: int = field(default_factory=free_port)
    server: subprocess.Popen[bytes] | None = None
    client: subprocess.Popen[bytes] | None = None
    proxy: CuttingProxy | None = None
    http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False))
    """One for all calls: each client of httpx reads all certificates."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def start_server(self) -> None:
        settings = {"API_KEY": self.key, "PORT": str(self.server_port), "ENGINE": "draft", "QUEUE_LIMIT": "8"}
        with (self.folder / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-m", "server", "serve", "--attached"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **settings},
                cwd=self.folder,
            )

    def start_client(self, script: Path) -> None:
        assert self.proxy is not None
        settings = {
            "NARRATE_SERVER": f"http://127.0.0.1:{self.proxy.port}",
            "NARRATE_KEY": self.key,
            "NARRATE_OUTPUT": str(self.folder / "output"),
        }
        with (self.folder / "client.log").open("ab") as log:
            self.client = subprocess.Popen(
                [sys.executable, "-m", "client", "run", str(script), "--project", "soak", "--draft", "--wait", "1"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUTF8": "1", **settings},
                cwd=self.folder,
            )

    def files(self) -> int:
        return sum(1 for _ in (self.folder / "output").glob("*/*.wav"))

    def wait_ready(self, limit_s: float = 300) -> None:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if self.http.get(self.address + "/readyz").status_code == 200:
                    return
            time.sleep(0.05)
        raise SystemExit("the server did not become ready; see server.log")

    def speak(self, text: str, seed: int, timeout: float = 300) -> httpx.Response:
        return self.http.post(
            self.address + "/tts/clone",
            json={"text": text, "seed": seed, "language": "Korean"},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=timeout,
        )

    def end(self) -> None:
        for process in (self.client, self.server):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        if self.proxy is not None:
            self.proxy.listener.close()
        self.http.close()


def kill_worker(stage: Stage) -> bool:
    assert stage.server is not None
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(stage.server.pid).children():
            child.kill()
            return True
    return False


def kill_server(stage: Stage) -> bool:
    assert stage.server is not None
    stage.server.kill()
    stage.server.wait()
    stage.start_server()
    return True


def kill_client(stage: Stage) -> bool:
    assert stage.client is not None
    if stage.client.poll() is not None:
        return False
    stage.client.kill()
    stage.client.wait()
    return True


def cut_connections(stage: Stage) -> bool:
    assert stage.proxy is not None
    stage.proxy.cuts_left = 2
    return True


def fill_queue(stage: Stage) -> bool:
    """Twelve other clients ask at once and hang up after 0.7 s."""

    def ask() -> None:
        with contextlib.suppress(httpx.TransportError):
            stage.speak("다른 사람이 부탁한 문장입니다.", 1, timeout=0.7)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return True


FAULTS: dict[str, Callable[[Stage], bool]] = {
    "worker killed": kill_worker,
    "server killed": kill_server,
    "client killed": kill_client,
    "connections cut": cut_connections,
    "queue filled": fill_queue,
}


def storm(stage: Stage, script: Path, chance: random.Random, max_s: float) -> Counter[str]:
    """Makes faults until the client has finished. Faults stop after max_s, so that the client can finish."""
    counts: Counter[str] = Counter()
    started = time.monotonic()
    files, last_file_s = 0, 0.0
    stage.start_client(script)
    while True:
        assert stage.client is not None
        try:
            code = stage.client.wait(chance.uniform(MIN_PAUSE_S, MAX_PAUSE_S))
        except subprocess.TimeoutExpired:
            code = None
        elapsed = time.monotonic() - started
        if code == 0:
            break
        made = stage.files()
        if made > files or elapsed < max_s:
            files, last_file_s = made, elapsed
        if elapsed > last_file_s + STALL_S:
            log = (stage.folder / "client.log").read_text("utf-8", "replace").splitlines()
            raise SystemExit(
                "\n".join([f"no new file since {last_file_s:.0f} s; the client's last words:", *log[-15:]])
            )
        if code is not None:  # killed, or gave up: a narrator runs the client again
            counts["client runs"] += 1
            stage.start_client(script)
        elif elapsed < max_s:
            name = chance.choice(list(FAULTS))
            counts[name] += FAULTS[name](stage)
    assert stage.proxy is not None
    counts["bodies cut"] = stage.proxy.cuts_made
    return counts


def verify(stage: Stage, lines: int) -> list[str]:
    """The faults of the project folder, a phrase each; empty for a good one."""
    folders = list((stage.folder / "output").glob("*/project.json"))
    if len(folders) != 1:
        return [f"{len(folders)} project folders instead of one"]
    folder = folders[0].parent
    manifest = json.loads(folders[0].read_text("utf-8"))
    wrong = []
    if len(manifest["lines"]) != lines:
        wrong.append(f"{len(manifest['lines'])} lines instead of {lines}")
    names = {path.name for path in folder.glob("*.wav")}
    if names != {line["file"] for line in manifest["lines"]}:
        wrong.append(f"files and lines differ: {sorted(names ^ {line['file'] for line in manifest['lines']})[:5]}")
    if leftovers := [path.name for path in folder.iterdir() if path.suffix in (".part", ".moving")]:
        wrong.append(f"left over: {leftovers[:5]}")
    for line in manifest["lines"]:
        direct = stage.speak(line["text"], line["seed"])
        if direct.content != (folder / line["file"]).read_bytes():
            wrong.append(f"{line['file']} is not its own text's take")
    return wrong


def calm(stage: Stage, lines: int) -> tuple[dict[str, float], dict[str, float]]:
    """What server and worker hold after 20 lines, and after so many more."""
    for number in range(20):
        stage.speak(f"준비 문장 {number}번입니다.", number)
    before = holdings(stage)
    for number in range(lines):
        stage.speak(f"차분한 문장 {number}번입니다.", number)
    return before, holdings(stage)


def holdings(stage: Stage) -> dict[str, float]:
    """Memory, handles, threads and processes of server and worker."""
    assert stage.server is not None
    parent = psutil.Process(stage.server.pid)
    processes = [parent, *parent.children(recursive=True)]
    return {
        "MB": round(sum(process.memory_info().rss for process in processes) / 1e6, 1),
        "handles": sum(process.num_handles() if os.name == "nt" else process.num_fds() for process in processes),
        "threads": sum(process.num_threads() for process in processes),
        "processes": len(processes),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most-minutes", type=float, default=20, help="faults end then; the run may finish calmly")
    parser.add_argument("--calm-lines", type=int, default=150, help="spoken afterwards, to see what the server keeps")
    args = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {args.lines} lines, seed {args.seed}")
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        stage = Stage(Path(name))
        script = stage.folder / "script.txt"
        script.write_text("\n".join(f"{n}번째 줄을 천천히 읽어 보겠습니다." for n in range(1, args.lines + 1)), "utf-8")
        started = time.monotonic()
        try:
            stage.start_server()
            stage.wait_ready()
            stage.proxy = CuttingProxy(stage.server_port)
            stage.proxy.start()
            counts = storm(stage, script, random.Random(args.seed), args.most_minutes * 60)
            print(f"storm: {time.monotonic() - started:.0f} s; " + ", ".join(f"{k} {v}" for k, v in counts.items()))
            stage.wait_ready()
            wrong = verify(stage, args.lines)
            print(f"lines lost or wrong: {len(wrong)}", *wrong[:10], sep="\n  ")
            before, after = calm(stage, args.calm_lines)
            print(f"calm server: {before} -> after {args.calm_lines} more lines {after}")
        finally:
            stage.end()
        grown = after["MB"] > before["MB"] * 1.1 + 5 or any(after[k] > before[k] for k in ("handles", "processes"))
        if grown:
            print("the server holds more than before")
    return 1 if wrong or grown else 0


if __name__ == "__main__":
    sys.exit(main())
