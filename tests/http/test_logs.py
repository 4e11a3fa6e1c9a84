"""The log: lines of JSON that hold what happened and nobody's words."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from clock import seconds, wait_until
from hypothesis import given
from hypothesis import strategies as st
from servers import KEY, RunningServer, running_server, worker_pids

import server.http.logs
from server.http.logs import JsonLines, LogFile, describe_error, request_line, start_logging
from server.http.record import Record, begin, current, note_take, note_text
from server.settings import load_settings

SENTENCE = "비밀스러운 문장은 기록에 남지 않습니다."


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """Put back as it was, pytest's own handlers included."""
    root = logging.getLogger()
    handlers, level, ours = list(root.handlers), root.level, logging.getLogger("server").level
    root.handlers[:] = []
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("server").setLevel(ours)


def record_of(message: str, *words: object) -> logging.LogRecord:
    return logging.LogRecord("server.worker", logging.INFO, "x.py", 1, message, words, None)


@given(st.text() | st.characters(categories=["Cc", "Cs", "Zl", "Zp"]))
def test_any_message_is_one_ascii_line(message: str) -> None:
    line = JsonLines().format(record_of("%s", message))
    assert line.isascii() and len(line.splitlines()) == 1
    assert "\x1b" not in line
    assert json.loads(line)["event"] == message[:2000] + (" ..." if len(message) > 2000 else "")


def test_a_megabyte_without_a_line_break_does_not_fill_the_log() -> None:
    assert len(JsonLines().format(record_of("%s", "x" * 1_000_000))) < 3000


def test_the_key_is_taken_out_of_whatever_a_library_says() -> None:
    line = JsonLines([KEY]).format(record_of("authorization %s refused", KEY))
    assert KEY not in line and "[key]" in line


def test_an_error_is_told_by_kind_and_place_and_not_by_its_words() -> None:
    try:
        try:
            raise KeyError(SENTENCE)
        except KeyError as error:
            raise ValueError(f"cannot speak {SENTENCE}") from error
    except ValueError as error:
        told = describe_error(error)
        record = logging.LogRecord(
            "a", logging.ERROR, "x.py", 1, "failed", (), (type(error), error, error.__traceback__)
        )
        line = json.loads(JsonLines().format(record))
    assert told["kinds"] == ["ValueError", "KeyError"]
    assert "test_logs.py" in told["places"][-1]
    assert line["error"] == told
    assert "비밀" not in str(told)


def test_a_request_s_line_has_length_and_short_hash_and_no_text() -> None:
    begin(Record("abc", "POST", "/tts/clone"))
    note_text(SENTENCE)
    note_take(2, True, 1.23456, 3.21)
    record = current()
    assert record is not None
    record.status, record.seconds = 200, 1.5
    line = request_line(record)
    assert line["text_chars"] == len(SENTENCE)
    assert hashlib.sha256(SENTENCE.encode()).hexdigest().startswith(line["text_hash"])
    assert (line["event"], line["takes"], line["doubtful"], line["status"]) == ("request", 2, True, 200)
    assert SENTENCE not in json.dumps(line, ensure_ascii=False)


def test_a_client_that_went_away_is_told_apart() -> None:
    assert request_line(Record("abc", "POST", "/tts/clone"))["event"] == "client went away"


def test_the_file_is_changed_before_it_grows_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root_logger: logging.Logger
) -> None:
    monkeypatch.setattr(server.http.logs, "MAX_BYTES", 5_000)
    file = tmp_path / "log" / "server.log"
    assert start_logging(file, []) == ""
    for number in range(400):
        logging.getLogger("server.x").info("line %d %s", number, "가" * 20)
    files = sorted(path.name for path in file.parent.iterdir())
    assert files == ["server.log", *(f"server.log.{n}" for n in range(1, 6))]
    assert all(path.stat().st_size <= 5_000 for path in file.parent.iterdir())
    assert json.loads(file.read_text("ascii").splitlines()[-1])["event"].startswith("line 399")


def test_a_file_that_another_program_holds_is_written_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where an open file cannot be renamed."""
    monkeypatch.setattr(server.http.logs, "MAX_BYTES", 200)

    def held(self: object, source: str, dest: str) -> None:
        raise PermissionError(13, "held by another program")

    monkeypatch.setattr(LogFile, "rotate", held)
    handler = LogFile(tmp_path / "server.log")
    handler.setFormatter(JsonLines())
    for number in range(20):
        handler.handle(record_of("line %d", number))
    handler.close()
    lines = (tmp_path / "server.log").read_text("ascii").splitlines()
    assert [json.loads(line)["event"] for line in lines] == [f"line {number}" for number in range(20)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_once_and_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    handler = LogFile(Path("/dev/full"))
    for number in range(5):
        handler.handle(record_of("line %d", number))
    assert capsys.readouterr().err.count("cannot be written") == 1
    # The disk has room again: else closing would try in vain to write what is left.
    os.dup2(os.open(os.devnull, os.O_WRONLY), handler.stream.fileno())
    handler.close()


def test_a_place_that_cannot_be_written_is_said_and_the_server_goes_on(
    tmp_path: Path, root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    problem = start_logging(tmp_path / "file" / "server.log", [])
    assert "LOG_FILE" in problem
    logging.getLogger("server.x").warning("seen all the same")
    assert "seen all the same" in capsys.readouterr().err


def test_a_fault_shows_on_the_console_as_one_sentence(
    tmp_path: Path, root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    start_logging(tmp_path / "server.log", [])
    logging.getLogger("server.x").error("request %s failed", "abc")
    logging.getLogger("server.x").warning("not worth a sentence")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "server.log" in said


def test_a_server_for_one_command_has_no_log_of_its_own(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=7861\n")
    loaded = load_settings({}, tmp_path)
    assert loaded.log_file(attached=False) == tmp_path / "logs" / "server.log"
    assert loaded.log_file(attached=True) is None
    (tmp_path / ".env").write_text("LOG_FILE=mine.log\n")
    loaded = load_settings({}, tmp_path)
    assert loaded.log_file(attached=True) == loaded.log_file(attached=False) == tmp_path / "mine.log"


# On a real server


@pytest.fixture(scope="module")
def server_and_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    folder = tmp_path_factory.mktemp("logs")
    with running_server(folder) as running:
        yield running, folder / "log" / "lines.log"


def lines_of(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text("ascii").splitlines()]


def line_for(file: Path, request_id: str) -> dict[str, object]:
    def found() -> list[dict[str, object]]:
        return [line for line in lines_of(file) if line.get("request_id") == request_id and "route" in line]

    return wait_until(found, 10, f"a line for {request_id}")[0]


def test_each_request_has_its_line_with_the_id_that_the_client_got(server_and_log: tuple[RunningServer, Path]) -> None:
    server, file = server_and_log
    answer = server.speak(SENTENCE)
    line = line_for(file, answer.headers["x-request-id"])
    assert line["route"] == "/tts/clone" and line["status"] == 200 and line["level"] == "INFO"
    assert line["text_chars"] == len(SENTENCE)
    assert answer.headers["x-text-sha256"].startswith(str(line["text_hash"]))
    assert line["seconds"] == pytest.approx(float(answer.headers["x-time-total"]), abs=0.5)
    refused = server.speak("。")
    assert line_for(file, refused.headers["x-request-id"])["status"] == 422
    stranger = httpx.get(server.address + "/nothing?secret=1", trust_env=False)
    line = line_for(file, stranger.headers["x-request-id"])
    assert (line["status"], line["route"]) == (401, "-")


def test_neither_text_nor_key_nor_headers_are_in_the_log_and_no_text_breaks_a_line(
    server_and_log: tuple[RunningServer, Path],
) -> None:
    server, file = server_and_log
    forged = 'secretword"}\r\n{"time": "x", "level": "INFO", "event": "forged"}\u2028 \x1b[31m'
    headers = server.headers | {"X-Client-Id": "secretclient", "Cookie": "secretcookie", "User-Agent": "secretagent"}
    for text in (forged, SENTENCE, "secretword 。"):
        answer = httpx.post(
            server.address + "/tts/clone",
            content=json.dumps({"text": text, "language": text[:30] if text != SENTENCE else "ko"}),
            headers=headers,
            trust_env=False,
            timeout=seconds(60),
        )
        assert answer.status_code in (200, 422)
    for path in (f"/secretpath?key={KEY}", "/secretpath%0d%0aforged"):
        httpx.get(server.address + path, headers=headers, trust_env=False)
    line_for(file, server.speak(SENTENCE).headers["x-request-id"])
    raw = file.read_text("ascii")
    assert KEY not in raw and "secret" not in raw and "forged" not in raw
    words = json.dumps("비밀스러운").strip('"')
    assert words not in raw
    assert all({"time", "level", "logger"} <= set(line) for line in lines_of(file))


def test_the_console_stays_human(server_and_log: tuple[RunningServer, Path]) -> None:
    server, _ = server_and_log
    server.speak(SENTENCE)
    said = server.log.read_text("utf-8")
    assert "Ready." in said
    assert not re.search(r"^\s*\{|INFO|HTTP/1\.1", said, re.MULTILINE)


def test_what_the_worker_prints_and_how_it_ends_are_in_the_log(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        os.kill(worker_pids(server)[0], signal.SIGKILL)
        assert server.speak("안녕하세요.").status_code == 200
        lines = lines_of(tmp_path / "log" / "lines.log")
    assert any("ended" in str(line["event"]) and line["level"] == "WARNING" for line in lines)


def test_a_log_that_cannot_be_written_does_not_keep_the_server_from_speaking(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with running_server(tmp_path, LOG_FILE=str(tmp_path / "file" / "x.log")) as server:
        assert server.speak("안녕하세요.").status_code == 200
        assert "LOG_FILE" in server.log.read_text("utf-8")


def test_the_log_lies_beside_env_unless_the_setting_says_otherwise(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / ".env").write_text(f"API_KEY={KEY}\nENGINE=draft\nPORT={taken.getsockname()[1]}\n")
        ended = subprocess.run(
            [sys.executable, "-m", "server", "serve"],
            cwd=tmp_path,
            env=os.environ.copy(),
            capture_output=True,
            timeout=seconds(60),
        )
    assert ended.returncode == 41
    assert not (tmp_path / "logs").exists(), "a server that cannot start leaves no folder behind"
