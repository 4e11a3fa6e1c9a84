"""An error that has an entry in troubleshooting.md names it, in the reader's language, wherever it is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_console import program

from client.errors import ClientError, DiskUnusable, FileHeld, LineRefused, ServerAway, TakeRejected
from server.contract.codes import ErrorCode
from server.errors import EngineUnusable, ModelNotDownloaded, NoGpu, SettingsError
from server.terminal import console
from server.terminal.messages import use_language
from server.terminal.troubleshooting import ENTRIES, Entry, entry_of, see_sentence, with_entry


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "entry"),
    [
        (FileHeld("x"), ENTRIES["FileHeld"]),
        (DiskUnusable("x"), ENTRIES["DiskUnusable"]),
        (TakeRejected("x", ErrorCode.KANJI_UNREADABLE), ENTRIES["kanji_unreadable"]),
        (LineRefused("x", "poison_input"), ENTRIES["poison_input"]),
        (LineRefused("x", "language_unknown"), None),
        (NoGpu("x"), ENTRIES["NoGpu"]),
        (EngineUnusable("x"), None),
        (SettingsError("x"), None),
        (caused(ClientError("x"), LineRefused("x", "text_too_long")), ENTRIES["text_too_long"]),
        (caused(SettingsError("x"), ModelNotDownloaded("x")), ENTRIES["ModelNotDownloaded"]),
        (OSError("x"), None),
    ],
)
def test_an_error_has_the_entry_of_its_code_its_class_or_its_cause(error: Exception, entry: Entry | None) -> None:
    assert entry_of(error) == entry


def test_the_entry_stands_on_a_line_of_its_own_in_the_readers_language() -> None:
    error = ServerAway("Away.")
    assert with_entry(error).splitlines() == [
        "Away.",
        "See docs/en/troubleshooting.md: " + ENTRIES["ServerAway"].english,
    ]
    use_language("ko")
    _, see = with_entry(error).splitlines()
    assert "docs/ko/troubleshooting.md" in see
    assert ENTRIES["ServerAway"].korean in see
    assert with_entry(ClientError("Alone.")) == "Alone."


def test_narrate_names_the_entry_of_the_error_that_ended_it(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("하나.\n", "utf-8")
    words = ["run", "s.txt", "--server", "http://127.0.0.1:9", "--key", "k", "--wait", "0"]
    ended = program("client", *words, cwd=tmp_path, PYTHONUTF8="1")
    assert ended.returncode == 4
    assert ended.stderr.decode().splitlines()[-1] == see_sentence(ServerAway(""))


def test_serve_names_the_entry_of_a_taken_port(tmp_path: Path) -> None:
    held = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert held.stdout is not None
        port = held.stdout.readline().strip()
        ended = program(
            "server", "serve", "--port", port, cwd=tmp_path, API_KEY="k" * 32, ENGINE="draft", PYTHONUTF8="1"
        )
    finally:
        held.communicate("\n")
    assert ended.returncode == 41
    assert ended.stderr.decode().splitlines()[-1] == "See docs/en/troubleshooting.md: " + ENTRIES["PortTaken"].english


def test_a_fault_of_ours_names_no_entry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["narrate", "run"])
    assert console.run(broken, "narrate", (ClientError,)) == 1  # type: ignore[arg-type]
    assert "troubleshooting" not in capsys.readouterr().err
