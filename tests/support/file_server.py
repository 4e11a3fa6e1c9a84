"""A server of files on loopback that knows ranges and ETags, and breaks as servers, lines and stores of files do."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import re
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Served:
    body: bytes
    etag: str | None = None
    """The ETag with its quotation marks; None: the answer has no ETag."""
    ranges: bool = True
    length: bool = True
    """Whether the answer has a Content-Length; without one the end of the connection ends the answer."""


@dataclass(frozen=True)
class Fault:
    """What one request gets instead of a sound answer."""

    how: Literal["cut", "reset", "stall", "hold"] | None = None
    """After `after` bytes of the body: `cut` closes the connection, `reset` resets it, `stall` sends nothing more,
    `hold` sends the rest when the server's `go_on` is set."""
    after: int = 0
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True)
class Asked:
    path: str
    first_byte: int | None
    if_range: str | None
    authorization: str | None


@dataclass
class FileServer:
    files: dict[str, Served] = field(default_factory=dict)
    """Unquoted path, with its first `/`, to the file that is served there."""
    faults: dict[str, list[Fault | None]] = field(default_factory=dict)
    """By path, one entry a request, in order. None, and every request after the last entry: a sound answer."""
    asked: list[Asked] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    address: str = ""
    trees: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The entries of a model's tree, by the path of the tree."""
    next_host: str = "https://hub.invalid"
    """The host in links to further pages: a mirror passes on the links of the hub."""

    def ranges_of(self, path: str) -> list[int | None]:
        """First bytes that were asked for, None for the whole file."""
        return [asked.first_byte for asked in self.asked if asked.path == path]

    def put_model(self, model: str, files: dict[str, bytes], *, lfs: tuple[str, ...], commit: str = COMMIT) -> None:
        """A model as the hub shows it: its revision, its tree in pages of two entries, its files."""
        self.files[f"/api/models/{model}/revision/main"] = as_json({"id": model, "sha": commit, "siblings": []})
        self.files[f"/api/models/{model}/revision/{commit}"] = as_json({"id": model, "sha": commit})
        entries: list[dict[str, Any]] = [{"type": "directory", "oid": "d" * 40, "size": 0, "path": "speech_tokenizer"}]
        for path, body in files.items():
            entry: dict[str, Any] = {"type": "file", "oid": "b" * 40, "size": len(body), "path": path}
            if path in lfs:
                entry["lfs"] = {"oid": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
            entries.append(entry)
            self.files[f"/{model}/resolve/{commit}/{path}"] = Served(body, f'"{hashlib.md5(body).hexdigest()}"')  # noqa: S324
        self.trees[f"/api/models/{model}/tree/{commit}"] = entries


def as_json(value: object) -> Served:
    return Served(json.dumps(value).encode())


def _handler(server: FileServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            split = urlsplit(self.path)
            path = unquote(split.path)
            found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            first = int(found[1]) if found else None
            server.asked.append(Asked(path, first, self.headers.get("If-Range"), self.headers.get("Authorization")))
            waiting = server.faults.get(path)
            fault = waiting.pop(0) if waiting else None
            if fault and fault.status:
                self._send(fault.status, dict(fault.headers), fault.body)
            elif path in server.trees:
                self._send_tree(path, parse_qs(split.query))
            elif path in server.files:
                self._send_file(server.files[path], first, fault)
            else:
                self._send(404, {"X-Error-Code": "EntryNotFound"}, b"Entry not found")

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _send_tree(self, path: str, query: dict[str, list[str]]) -> None:
            entries, start = server.trees[path], int(query.get("cursor", ["0"])[0])
            if query.get("recursive") != ["true"]:
                entries = [entry for entry in entries if "/" not in entry["path"]]
            headers = {"Content-Type": "application/json"}
            if start + 2 < len(entries):
                link = f"{server.next_host}{quote(path)}?recursive=true&cursor={start + 2}"
                headers["Link"] = f'<{link}>; rel="next"'
            self._send(200, headers, json.dumps(entries[start : start + 2]).encode())

        def _send_file(self, file: Served, first: int | None, fault: Fault | None) -> None:
            if_range = self.headers.get("If-Range")
            if first is None or not file.ranges or (if_range is not None and if_range != file.etag):
                first = None
            start, size = first or 0, len(file.body)
            if first is not None and first >= size:
                self._send(416, {"Content-Range": f"bytes */{size}"}, b"")
                return
            self.send_response(200 if first is None else 206)
            if first is not None:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            if file.length:
                self.send_header("Content-Length", str(size - start))
            else:
                self.send_header("Connection", "close")
                self.close_connection = True
            if file.etag:
                self.send_header("ETag", file.etag)
            self.end_headers()
            body = file.body[start:]
            if fault is None or fault.how is None:
                self.wfile.write(body)
                return
            self.wfile.write(body[: fault.after])
            self._break(fault, body)

        def _break(self, fault: Fault, body: bytes) -> None:
            self.close_connection = True
            if fault.how == "stall":
                server.over.wait()
            elif fault.how == "hold":
                server.go_on.wait()
                with contextlib.suppress(OSError):  # the client was killed meanwhile
                    self.wfile.write(body[fault.after :])
            elif fault.how == "reset":  # closing with this option sends RST
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.shutdown(socket.SHUT_RD)

    return Handler


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that was killed, or gave up, is what the tests are about.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def file_server() -> Iterator[FileServer]:
    server = FileServer()
    http_server = _Server(("127.0.0.1", 0), _handler(server))
    server.address = f"http://127.0.0.1:{http_server.server_port}"
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.go_on.set()
        http_server.shutdown()
        http_server.server_close()
        thread.join()
