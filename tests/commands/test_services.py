"""The server as a service: what is installed, how it ends, and what the ends mean to whoever starts it again."""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest
from clock import exit_code_of, in_time, seconds, wait_until
from conftest import need_program
from servers import KEY, free_port, held_worker, running_server, worker_pids

from server.commands.serve import DRAIN_LIMIT_S, LAST_ANSWERS_S
from server.terminal.exit_codes import ExitCode
from server.worker.timing import Timing

SCRIPTS = Path(__file__).parents[2] / "scripts"
LONG = "오늘은 날씨가 참 좋네요. " * 50


def load() -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module("install_service")
    finally:
        sys.path.remove(str(SCRIPTS))


service_script = load()
FOLDER = PureWindowsPath("C:\\Users\\홍길동 & Söhne\\overnight <narrator>")


def windows_service(at_boot: bool = False) -> Any:
    program = FOLDER / ".venv" / "Scripts" / "voice-server.exe"
    return service_script.Service(program, FOLDER, "STUDIO\\홍길동", at_boot)


@pytest.fixture
def task() -> Iterator[ElementTree.Element]:
    yield parsed(service_script.task_xml(windows_service()))


def parsed(xml: str) -> ElementTree.Element:
    """Without the namespace, as it is written for the Task Scheduler: UTF-16 with its mark."""
    root = ElementTree.fromstring(xml.encode("utf-16"))  # noqa: S314 our own
    for element in root.iter():
        assert element.tag.startswith("{http://schemas.microsoft.com/windows/2004/02/mit/task}")
        element.tag = element.tag.partition("}")[2]
    return root


def test_the_task_has_none_of_the_limits_that_end_tasks_in_the_night(task: ElementTree.Element) -> None:
    settings = {element.tag: element.text for element in task.find("Settings") or []}
    assert settings["ExecutionTimeLimit"] == "PT0S", "the default ends a task after three days"
    assert settings["DisallowStartIfOnBatteries"] == settings["StopIfGoingOnBatteries"] == "false"
    assert settings["RunOnlyIfIdle"] == settings["RunOnlyIfNetworkAvailable"] == "false"
    assert settings["MultipleInstancesPolicy"] == "IgnoreNew", "never two servers"
    assert settings["StartWhenAvailable"] == "true"
    assert int(settings["Priority"] or 9) <= 6, "7, the default, is below normal"
    assert task.findtext("Settings/IdleSettings/StopOnIdleEnd") == "false"


def test_a_server_that_ended_is_started_again(task: ElementTree.Element) -> None:
    assert task.findtext("Settings/RestartOnFailure/Interval") == "PT1M"
    assert task.findtext("Triggers/TimeTrigger/Repetition/Interval") == "PT5M"
    assert task.find("Triggers/TimeTrigger/Repetition/Duration") is None, "without an end"


def test_the_task_runs_the_environments_own_program_in_the_folder_of_env(task: ElementTree.Element) -> None:
    assert task.findtext("Actions/Exec/Command") == str(FOLDER / ".venv" / "Scripts" / "voice-server.exe")
    assert task.findtext("Actions/Exec/Arguments") == "serve"
    assert task.findtext("Actions/Exec/WorkingDirectory") == str(FOLDER)


def test_at_logon_it_is_this_user_s_and_at_boot_nobody_has_to_log_on(task: ElementTree.Element) -> None:
    assert task.findtext("Triggers/LogonTrigger/UserId") == "STUDIO\\홍길동"
    assert task.findtext("Principals/Principal/LogonType") == "InteractiveToken"
    assert task.find("Triggers/BootTrigger") is None
    boot = parsed(service_script.task_xml(windows_service(at_boot=True)))
    assert boot.find("Triggers/BootTrigger") is not None and boot.find("Triggers/LogonTrigger") is None
    assert boot.findtext("Principals/Principal/LogonType") == "S4U"
    assert boot.findtext("Principals/Principal/UserId") == "STUDIO\\홍길동"
    for root in (task, boot):
        assert root.findtext("Principals/Principal/RunLevel") == "LeastPrivilege"


def test_powershell_is_called_with_whole_words() -> None:
    words = service_script.windows_command("install", "C:\\Temp\\a b\\task.xml")
    assert words[-2:] == ["-Xml", "C:\\Temp\\a b\\task.xml"]
    assert words[words.index("-File") + 1].endswith("service_windows.ps1")
    assert "-Xml" not in service_script.windows_command("remove", "")
    ps1 = (SCRIPTS / "service_windows.ps1").read_bytes()
    assert ps1.isascii(), "PowerShell 5 reads a file without a mark in the system's code page"
    for name in ("$Action", "$Name", "$Xml"):
        assert name.encode() in ps1


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (["install"], ("install", False)),
        (["install", "--at", "boot"], ("install", True)),
        (["show", "--at", "logon"], ("show", False)),
        (["remove"], ("remove", False)),
        ([], None),
        (["start"], None),
        (["install", "--at", "noon"], None),
        (["install", "now"], None),
    ],
)
def test_words_that_are_not_understood_are_not_guessed(words: list[str], meaning: tuple[str, bool] | None) -> None:
    assert service_script.parse_words(words) == meaning


def test_the_server_runs_as_the_person_and_not_as_root() -> None:
    assert service_script.user_of({"USER": "root", "SUDO_USER": "kim"}, "linux") == "kim"
    assert service_script.user_of({"USER": "kim"}, "linux") == "kim"
    assert service_script.user_of({"USERDOMAIN": "STUDIO", "USERNAME": "김"}, "win32") == "STUDIO\\김"


def test_the_script_is_readable_by_python_3_6() -> None:
    ast.parse((SCRIPTS / "install_service.py").read_text("utf-8"), feature_version=(3, 6))


def unit(folder: PurePosixPath, program: PurePosixPath) -> str:
    template = (SCRIPTS / "overnight-narrator.service").read_text("utf-8")
    text = service_script.unit_text(template, service_script.Service(program, folder, "kim", True))
    assert isinstance(text, str)
    return text


def test_a_wrong_setting_is_not_tried_again_and_all_other_ends_are() -> None:
    lines = unit(PurePosixPath("/srv/n"), PurePosixPath("/srv/n/.venv/bin/voice-server")).splitlines()
    assert f"RestartPreventExitStatus={ExitCode.USAGE} {ExitCode.SETTINGS}" in lines
    assert "Restart=on-failure" in lines
    assert not {ExitCode.UNUSABLE, ExitCode.BROKEN, ExitCode.ERROR} & {ExitCode.USAGE, ExitCode.SETTINGS}
    assert f"TimeoutStopSec={90}" in lines
    assert DRAIN_LIMIT_S + LAST_ANSWERS_S + 2 * Timing().stop_patience_s < 90, (
        "the server ends by itself before it is killed"
    )


@pytest.mark.system
@pytest.mark.parametrize("name", ["plain", "a b", "50% 한글", "a $HOME"])
def test_systemd_understands_the_unit(tmp_path: Path, name: str) -> None:
    analyze = need_program("systemd-analyze", "systemd")
    folder = tmp_path / name
    folder.mkdir()
    program = folder / "voice-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    file = tmp_path / "overnight-narrator.service"
    file.write_text(unit(PurePosixPath(folder), PurePosixPath(program)), "utf-8")
    ended = subprocess.run(
        [analyze, "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=seconds(60)
    )
    complaints = [line for line in ended.stderr.splitlines() if "overnight-narrator" in line]
    assert (ended.returncode, complaints) == (0, [])


@pytest.mark.system
def test_systemd_would_find_a_wrong_unit(tmp_path: Path) -> None:
    """The check above can fail."""
    analyze = need_program("systemd-analyze", "systemd")
    file = tmp_path / "overnight-narrator.service"
    file.write_text(unit(PurePosixPath("/srv/n"), PurePosixPath("/srv/n/missing")), "utf-8")
    ended = subprocess.run(
        [analyze, "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=seconds(60)
    )
    assert ended.returncode != 0


# How the server ends


def test_sigterm_finishes_what_is_spoken_and_sends_the_waiting_away_with_a_time_to_come_back(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        alone = server.speak(LONG, seed=1).content
        workers = [psutil.Process(pid) for pid in worker_pids(server)]
        with ThreadPoolExecutor(24) as pool:
            with held_worker(server):
                answers = [pool.submit(server.speak, LONG, seed=1) for _ in range(24)]
                wait_until(lambda: server.unanswered() == 24, 60, "the arrival of all", every_s=0.05)
                server.process.send_signal(signal.SIGTERM)
            done = [answer.result() for answer in answers]
        assert exit_code_of(server.process, 20) == 0
    statuses = [answer.status_code for answer in done]
    assert set(statuses) == {200, 503}, statuses
    for answer in done:
        if answer.status_code == 200:
            assert answer.content == alone
        else:
            assert answer.json()["code"] == "shutting_down"
            assert int(answer.headers["retry-after"]) >= 1
    assert not psutil.wait_procs(workers, timeout=seconds(5))[1]
    said = server.log.read_text("utf-8")
    assert "Stopping" in said and said.rstrip().endswith("The server has stopped.")


def test_while_it_stops_readiness_has_fallen_and_the_door_still_answers(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, ThreadPoolExecutor(2) as pool:
        with held_worker(server):
            running = pool.submit(server.speak, LONG)
            wait_until(lambda: (server.unanswered(), server.get("/health").json()["queue_depth"]) == (1, 0), 60)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.answers("/readyz", 503), 20, "the fall of readiness")
            assert server.speak("안녕하세요.").status_code == 503
            assert not running.done()
        assert running.result().status_code == 200
        assert exit_code_of(server.process, 20) == 0


def test_a_second_signal_ends_at_once_and_leaves_no_worker(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        workers = [psutil.Process(pid) for pid in worker_pids(server)]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(8):
                pool.submit(server.speak, LONG)
            wait_until(lambda: server.unanswered() > 0, 60)
            server.process.send_signal(signal.SIGSTOP)  # both are there when it looks again, whatever this PC does
            server.process.send_signal(signal.SIGTERM)
            server.process.send_signal(signal.SIGINT)
            server.process.send_signal(signal.SIGCONT)
            started = time.monotonic()
            assert exit_code_of(server.process, 20) == ExitCode.INTERRUPTED
            assert in_time(time.monotonic() - started, 3)
        assert not psutil.wait_procs(workers, timeout=seconds(5))[1]


def ends_with(tmp_path: Path, **settings: str) -> int:
    ended = subprocess.run(
        [sys.executable, "-m", "server", "serve"],
        env={**os.environ, "PORT": str(free_port()), "API_KEY": KEY, **settings},
        cwd=tmp_path,
        capture_output=True,
        timeout=seconds(60),
    )
    return ended.returncode


@pytest.mark.parametrize(
    "settings",
    [
        {"ENGINE": "draft", "API_KEY": "sh\u00f6rt"},
        {"ENGINE": "qwen"},
        {"ENGINE": "draft", "TLS_CERT": "missing.pem", "TLS_KEY": "missing.pem"},
        {"ENGINE": "draft", "TTS_LANGUAGE": "Klingon"},
        {"ENGINE": "draft", "PORT": "99999"},
    ],
)
def test_a_wrong_setting_has_its_own_exit_code(tmp_path: Path, settings: dict[str, str]) -> None:
    assert ends_with(tmp_path, **settings) == ExitCode.SETTINGS


def test_the_log_tells_of_a_stop_by_no_fault(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        server.process.send_signal(signal.SIGTERM)
        assert exit_code_of(server.process, 20) == 0
    lines = [json.loads(line) for line in (tmp_path / "log" / "lines.log").read_text("ascii").splitlines()]
    assert [line for line in lines if line["level"] in ("WARNING", "ERROR")] == []


def test_an_engine_that_dies_again_and_again_ends_the_server_with_its_own_code(tmp_path: Path) -> None:
    program = """
import functools, sys
from server import __main__ as main
from server.commands import serve
from server.worker.timing import Timing
dies = {"command": (sys.executable, "-c", "raise SystemExit(42)"), "timing": Timing(restart_delays_s=(0.0,))}
serve.Supervisor = functools.partial(serve.Supervisor, **dies)
sys.argv[1:] = ["serve"]
main.main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PORT": str(free_port()), "API_KEY": KEY, "ENGINE": "draft"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=seconds(60),
    )
    assert ended.returncode == ExitCode.BROKEN == 42
    assert "without speaking a line" in ended.stderr and "Traceback" not in ended.stderr


def test_an_idle_server_lets_its_worker_go_and_speaks_when_it_is_asked_again(tmp_path: Path) -> None:
    with running_server(tmp_path, IDLE_MINUTES="0.01") as server:
        wait_until(lambda: worker_pids(server) == [], 20, "the end of the idle worker", every_s=0.05)
        health = server.get("/health").json()
        assert health["status"] == "ok" and health["ready"] is True
        assert server.get("/readyz").status_code == 200
        assert server.speak("안녕하세요.").status_code == 200


def test_a_stop_while_it_loads_is_a_stop(tmp_path: Path) -> None:
    with running_server(tmp_path, wait=False) as server:
        wait_until(lambda: server.answers("/livez"), 60)  # from then on uvicorn listens to signals
        server.process.send_signal(signal.SIGTERM)
        assert exit_code_of(server.process, 15) == 0


def test_connections_that_idle_or_dawdle_do_not_hold_up_a_stop(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, contextlib.ExitStack() as left_open:
        host, port = server.address.removeprefix("http://").split(":")
        for said in (b"", b"GET /health HT", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            sock = left_open.enter_context(socket.create_connection((host, int(port)), timeout=seconds(10)))
            sock.sendall(said)
        assert sock.recv(4096).startswith(b"HTTP/1.1 200"), "the last one is served, so the others are known too"
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert exit_code_of(server.process, 20) == 0
        assert in_time(time.monotonic() - started, 5)


def test_nothing_in_the_server_unpickles() -> None:
    """Voices are kept as safetensors; an unpickled file can run anything."""
    for file in (SCRIPTS.parent / "server").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = (
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                )
                assert not {name.split(".")[0] for name in names} & {"pickle", "shelve", "marshal", "dill", "joblib"}, (
                    file
                )
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                assert ast.unparse(node.func) != "torch.load", (file, node.lineno)
                allowed = [word for word in node.keywords if word.arg == "allow_pickle"]
                assert all(ast.unparse(word.value) == "False" for word in allowed), (file, node.lineno)
