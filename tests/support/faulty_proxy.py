"""A TCP proxy on loopback that breaks connections on purpose, between a real client and a real server."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from clock import seconds

How = Literal["reset", "close", "stall"]


@dataclass(frozen=True)
class Fault:
    after_bytes: int
    """Bytes of the server's answer that still pass; with 0 the connection breaks before the first byte."""
    how: How


@dataclass
class FaultyProxy:
    target: tuple[str, int]
    listener: socket.socket
    faults: list[Fault | None] = field(default_factory=list)
    """One entry a connection, in order. None, and every connection after the last entry: no fault."""
    done: int = 0
    """Faults that really happened."""
    _open: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # the listener is closed: the test is over
                return
            with self._lock:
                fault = self.faults.pop(0) if self.faults else None
            threading.Thread(target=self._connection, args=(client, fault), daemon=True).start()

    def _connection(self, client: socket.socket, fault: Fault | None) -> None:
        try:
            server = socket.create_connection(self.target, timeout=seconds(5))
        except OSError:
            client.close()
            return
        server.settimeout(None)
        with self._lock:
            self._open += [client, server]
        threading.Thread(target=_copy, args=(client, server), daemon=True).start()
        sent = 0
        with contextlib.suppress(OSError):
            while data := server.recv(2048):
                if fault is not None and sent + len(data) >= fault.after_bytes:
                    client.sendall(data[: fault.after_bytes - sent])
                    self.done += 1
                    self._break(client, fault.how)
                    break
                client.sendall(data)
                sent += len(data)
        if fault is None or fault.how != "stall":
            client.close()
        server.close()

    def _break(self, client: socket.socket, how: How) -> None:
        if how == "reset":  # closing with this option sends RST
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how != "stall":
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self.listener.close()
        for each in self._open:
            each.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


@contextlib.contextmanager
def faulty_proxy(address: str, faults: list[Fault | None]) -> Iterator[FaultyProxy]:
    """address: the real server's, as `http://127.0.0.1:PORT`."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = FaultyProxy(("127.0.0.1", int(address.rsplit(":", 1)[1])), listener, faults)
    threading.Thread(target=proxy._serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
