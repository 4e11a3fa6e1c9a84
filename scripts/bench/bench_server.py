"""The cost of the server itself: the real parent, pipe and HTTP around a worker that answers at once.

    .venv/bin/python scripts/bench/bench_server.py [--requests 1000]

Loopback only, bounded. Prints requests per second and p99 at 1, 8 and 64 callers, the p99 of /readyz while the server
is busy, the parent's memory, and the time from the parent's start to the first ready answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil

from client.voice_server.local import free_port

KEY = "benchmark-key-0123456789-abcdefghij"
SECONDS_OF_AUDIO = 4
FACTS = {
    "engine": "draft",
    "model": "nothing",
    "voice": "0" * 16,
    "sample_rate": 24_000,
    "device": "cpu",
    "dtype": "none",
    "reason": "a benchmark",
    "in_flight": 64,
    "rows": 8,
    "draft": True,
    "sound": "0" * 12,
}


def null_worker() -> None:
    """Answers each line at once with the same 4 s of audio."""
    from server.worker.frames import PipeClosed, read_frame, write_frame

    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    body = b"RIFF" + bytes(SECONDS_OF_AUDIO * 24_000 * 2 + 40)
    read_frame(requests)
    write_frame(replies, {"is": "ready", "facts": FACTS})
    answer = {"is": "done", "takes": 1, "confidence": 1.0, "dummy": "found", "doubtful": False}
    answer |= {"memory_bytes": {}, "generation_seconds": 0.0, "audio_seconds": float(SECONDS_OF_AUDIO)}
    while True:
        try:
            request, _ = read_frame(requests)
        except PipeClosed:
            return
        if request["do"] == "speak":
            of_the_line = {"id": request["id"], "seed": request["seed"], "text_sha256": request["sha256"]}
            write_frame(replies, {**answer, **of_the_line}, body)


def serve(port: int) -> None:
    import uvicorn

    from server.engines import EngineSettings
    from server.http.app import create_app
    from server.settings import Settings
    from server.takes.take import TakeSettings
    from server.worker.supervisor import Supervisor

    command = (sys.executable, str(Path(__file__).resolve()), "worker")
    supervisor = Supervisor(EngineSettings("draft"), TakeSettings(), command=command, queue_limit=1000)
    settings = Settings.model_validate({"api_key": KEY, "port": port})
    uvicorn.run(create_app(settings, supervisor), port=port, log_config=None, access_log=False, ws="none")


def percentile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]


async def load(port: int, callers: int, requests: int) -> tuple[float, float, float]:
    """Requests a second, p50 and p99 in ms.

    Bare sockets, one for each caller: with 64 callers, httpx's pool takes six times the server's own processor time.
    """
    seconds: list[float] = []
    left = iter(range(requests))

    async def call() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in left:
            started = time.perf_counter()
            writer.write(request(f"문장 {number}입니다."))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            seconds.append(time.perf_counter() - started)
        writer.close()
        await writer.wait_closed()

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    wall = time.perf_counter() - started
    return requests / wall, percentile(seconds, 0.5) * 1000, percentile(seconds, 0.99) * 1000


def request(text: str) -> bytes:
    body = json.dumps({"text": text, "seed": 1}).encode()
    head = f"POST /tts/clone HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def ready_while_busy(address: str, port: int, requests: int) -> float:
    """p99 of /readyz in ms while 8 callers speak."""
    seconds: list[float] = []
    busy = asyncio.create_task(load(port, 8, requests))
    async with httpx.AsyncClient(base_url=address, trust_env=False) as http:
        while not busy.done():
            started = time.perf_counter()
            assert (await http.get("/readyz")).status_code == 200
            seconds.append(time.perf_counter() - started)
            await asyncio.sleep(0.005)
    await busy
    return percentile(seconds, 0.99) * 1000


def main() -> int:
    if sys.argv[1:2] == ["worker"]:
        null_worker()
        return 0
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]))
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--requests", type=int, default=1000, help="in each measurement")
    args = parser.parse_args()
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    print(f"{platform.platform()}, Python {platform.python_version()}; client and server share {os.cpu_count()} cores")
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(Path(__file__).resolve()), "serve", str(port)])
    try:
        while True:
            try:
                if httpx.get(address + "/readyz", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.01)
        print(f"start to ready: {time.perf_counter() - started:.2f} s")
        asyncio.run(load(port, 4, 100))  # warm
        for callers in (1, 8, 64):
            rate, p50, p99 = asyncio.run(load(port, callers, args.requests))
            print(f"{callers:3} callers: {rate:6.0f} requests/s, p50 {p50:6.1f} ms, p99 {p99:6.1f} ms")
        print(f"/readyz while busy: p99 {asyncio.run(ready_while_busy(address, port, args.requests)):.1f} ms")
        print(f"parent: {psutil.Process(process.pid).memory_info().rss / 1e6:.0f} MB")
    finally:
        process.terminate()
        process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
