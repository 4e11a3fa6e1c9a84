"""What commit c94dcad showed to people and programs is there for ever: commands, options, settings, wire, codes.

tests/fixtures/c94dcad/surface.json holds it. More may be added and nothing in it changes, so each test asks whether all
of the golden copy is still there. Asked through the command line, HTTP and files, so that no move of a module counts.
"""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from clock import seconds
from conftest import HOMES, XDG_HOMES
from kept import KEPT, copy_of, lost_from
from narrator import Narrator
from servers import KEY, RunningServer, free_port, running_server

SURFACE: dict[str, Any] = json.loads((KEPT / "surface.json").read_text("utf-8"))
ROOT = KEPT.parents[2]
MORNING = "2026-11-28_아침_draft"
PATIENCE_S = 600.0
"""For one command: only a command that hangs takes so long, on however busy a machine."""

pytestmark = pytest.mark.timeout(3 * PATIENCE_S)


def test_the_golden_copy_holds_all_that_it_is_asked_for() -> None:
    """An empty part would let every test below pass."""
    assert {name: len(part) > 0 for name, part in SURFACE.items()} == dict.fromkeys(
        ("commands", "settings", "openapi", "errors", "exit_codes", "headers", "health", "metrics", "json"), True
    )


# --- commands and their options -------------------------------------------------------------------------------------

EACH_IN_TURN = """
import contextlib, io, json, runpy, sys
for words in json.loads(sys.argv[2]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            program = sys.argv[1]
            kept, sys.argv = sys.argv, [program, *words]
            runpy.run_module(program, run_name="__main__")
        except SystemExit as ended:
            code = ended.code
        finally:
            sys.argv = kept
    print(json.dumps([code, said.getvalue()]))
"""
"""`python -m client` or `python -m server`, several command lines in one interpreter: its start takes the time."""
MODULES = {"narrate": "client", "voice-server": "server"}
NO_OPTION = "--xyzzy"
HIDDEN = "--attached"
"""Of `serve`, for programs that start one: no help names it."""


def ended_with(program: str, lines: list[list[str]], folder: Path) -> list[tuple[int, str]]:
    """Exit code and output of each command line."""
    done = subprocess.run(
        [sys.executable, "-c", EACH_IN_TURN, MODULES[program], json.dumps(lines)],
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return [(code, said) for code, said in map(json.loads, done.stdout.splitlines())]


@pytest.mark.parametrize("program", sorted(MODULES))
def test_every_command_takes_its_options_and_has_its_help(program: str, tmp_path: Path) -> None:
    """All options of a command and, last, one that no command has: only that one is complained of.

    The parser stops at the first word that it does not know, so whatever stands before it was understood.
    """
    golden = {command: (command.split(), options) for command, options in SURFACE["commands"][program].items()}
    lines = [
        [*words, *(word for option, value in options.items() for word in [option, *["1"] * value]), NO_OPTION]
        for words, options in golden.values()
    ]
    lines += [[*words, "--help"] for words, _ in golden.values()]
    ended = ended_with(program, lines, tmp_path)
    for command, (code, said) in zip(golden, ended[: len(golden)], strict=True):
        assert (code, NO_OPTION in said) == (2, True), (command, said)
    for (command, (_, options)), (code, said) in zip(golden.items(), ended[len(golden) :], strict=True):
        assert code == 0, (command, said)
        assert [option for option in options if option not in said and option != HIDDEN] == [], (command, said)


# --- settings -------------------------------------------------------------------------------------------------------


def settings_in_the_example() -> dict[str, str]:
    """Each setting of .env.example with the value that stands behind its name: its default."""
    text = (ROOT / ".env.example").read_text("utf-8")
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_every_setting_has_its_name_and_its_default() -> None:
    """test_docs.py holds that the example says what the programs do."""
    now = settings_in_the_example()
    assert SURFACE["settings"].keys() <= now.keys()
    assert lost_from({name: value for name, value in SURFACE["settings"].items() if value is not None}, now) == []


STRANGE_SETTING = "NO_SETTING_OF_OURS"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Started beside a .env that holds every golden setting with its default, and one that is none."""
    folder = tmp_path_factory.mktemp("server")
    golden = {**SURFACE["settings"], STRANGE_SETTING: "1"}
    text = "".join(f"{name}={value or ''}\n" for name, value in golden.items())
    (folder / ".env").write_text(text, "utf-8")
    with running_server(folder, wait=False) as running:
        running.wait_ready(PATIENCE_S)
        yield running


def test_the_server_knows_every_golden_setting_of_its_env_file(server: RunningServer) -> None:
    complained = [line for line in server.log.read_text("utf-8").splitlines() if STRANGE_SETTING in line]
    assert len(complained) == 1, "what nobody reads is told"
    sentence = re.escape(complained[0]).replace(STRANGE_SETTING, "([A-Z_]+)")
    found = [match[1] for line in server.log.read_text("utf-8").splitlines() if (match := re.match(sentence, line))]
    assert found == [STRANGE_SETTING]


# --- the wire -------------------------------------------------------------------------------------------------------

WORDS = ("title", "description", "summary", "info")


def plain(node: Any, document: dict[str, Any]) -> Any:
    """Without the words for people, and with each reference replaced by what it names: a class may change its name."""
    if isinstance(node, list):
        return [plain(each, document) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return plain(target, document)
    # A field may itself be called `title`; then its value is a schema.
    return {
        name: plain(value, document)
        for name, value in node.items()
        if not (name in WORDS and not isinstance(value, dict)) and name != "info"
    }


def openapi(server: RunningServer) -> dict[str, Any]:
    answer = httpx.get(server.address + "/openapi.json", headers=server.headers, trust_env=False, timeout=seconds(60))
    document = answer.json()
    return {
        "paths": plain(document["paths"], document),
        "securitySchemes": plain(document["components"]["securitySchemes"], document),
    }


def asked_for(document: dict[str, Any]) -> set[str]:
    body = document["paths"]["/tts/clone"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return set(body["required"])


def test_the_openapi_document_still_says_all_that_it_said(server: RunningServer) -> None:
    document = openapi(server)
    assert lost_from(SURFACE["openapi"], document) == []
    assert asked_for(document) == asked_for(SURFACE["openapi"]), "a field more would refuse the programs of then"


def metric_names(server: RunningServer) -> list[str]:
    told = httpx.get(server.address + "/metrics", headers=server.headers, trust_env=False, timeout=seconds(60)).text
    # process_* and *_created are the library's own.
    return sorted(set(re.findall(r"^# TYPE ((?!process_)\w+(?<!_created)) ", told, re.MULTILINE)))


def test_answers_health_and_metrics_have_their_names(server: RunningServer) -> None:
    answer = server.speak("비가 와요.", seed=1)
    assert answer.status_code == 200, answer.text
    assert lost_from(SURFACE["headers"], sorted(name for name in answer.headers if name.startswith("x-"))) == []
    assert lost_from(SURFACE["health"], {k: type(v).__name__ for k, v in server.get("/health").json().items()}) == []
    assert lost_from(SURFACE["metrics"], metric_names(server)) == []


def refusals(server: RunningServer) -> dict[str, httpx.Response]:
    """Golden code to an answer that has it, for what a caller can bring about at will."""
    with httpx.Client(base_url=server.address, trust_env=False, headers=server.headers, timeout=PATIENCE_S) as http:

        def speak(**fields: object) -> httpx.Response:
            return http.post("/tts/clone", json=fields)

        return {
            "unauthorized": http.post("/tts/clone", json={"text": "가"}, headers={"Authorization": "Bearer no"}),
            "host_unknown": http.post("/tts/clone", json={"text": "가"}, headers={"Host": "elsewhere.example"}),
            "not_found": http.get("/nothing/here"),
            "method_not_allowed": http.get("/tts/clone"),
            "body_invalid": speak(text=["가"]),
            "body_too_large": http.post("/tts/clone", content=b" " * 2_000_000),
            "body_encoded": http.post("/tts/clone", content=b"x", headers={"Content-Encoding": "gzip"}),
            "language_unknown": speak(text="가", language="xx"),
            "text_empty": speak(text=""),
            "text_unspeakable": speak(text="..."),
            "text_too_long": speak(text="가" * 1_001),
            "take_failed": speak(text="1" * 1_000, seed=1),
        }


def test_errors_that_a_caller_can_bring_about_have_their_code_and_status(server: RunningServer) -> None:
    seen = {}
    for wanted, answer in refusals(server).items():
        assert answer.headers["content-type"] == "application/problem+json", wanted
        body = answer.json()
        assert body["status"] == answer.status_code
        seen[body["code"]] = answer.status_code
        assert body["code"] == wanted, (wanted, body)
    assert lost_from(seen, SURFACE["errors"]) == []


def statuses_in_the_source() -> dict[str, int]:
    """Every error code with its status, wherever the program writes them: a class of codes, and a table by its members.

    For the codes that nobody can bring about at will. Found by their shape, since modules move.
    """
    codes: dict[str, dict[str, str]] = {}
    tables: list[tuple[str, dict[str, int]]] = []
    for file in [path for program in MODULES.values() for path in (ROOT / program).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                codes[node.name] = {
                    each.targets[0].id: each.value.value
                    for each in node.body
                    if isinstance(each, ast.Assign)
                    and isinstance(each.targets[0], ast.Name)
                    and isinstance(each.value, ast.Constant)
                }
            elif isinstance(node, ast.Dict):
                table = {
                    (key.value.id, key.attr): value.value
                    for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Attribute)
                    and isinstance(key.value, ast.Name)
                    and isinstance(value, ast.Constant)
                    and isinstance(value.value, int)
                }
                owners = {owner for owner, _ in table}
                if len(owners) == 1:
                    tables.append((owners.pop(), {member: status for (_, member), status in table.items()}))
    owner, largest = max(tables, key=lambda each: len(each[1]))
    return {codes[owner][member]: status for member, status in largest.items()}


def test_every_error_code_has_its_status() -> None:
    assert lost_from(SURFACE["errors"], statuses_in_the_source()) == []


# --- exit codes and what is told as JSON ----------------------------------------------------------------------------


def own_homes(folder: Path) -> dict[str, str]:
    return dict.fromkeys((*HOMES, *XDG_HOMES), str(folder / "home"))


@pytest.fixture(scope="module")
def ends(
    server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, subprocess.CompletedProcess[str]]:
    """How a command of narrate ends, by what is the matter."""
    base = tmp_path_factory.mktemp("ends")
    script = str(KEPT / "scripts" / "아침.txt")
    (base / "file").write_text("no folder", "utf-8")
    nobody = f"127.0.0.1:{free_port()}"
    commands = {
        "whole": ("status", "--json"),
        "missing": ("status", "--json"),
        "missing made": ("run", script, "--draft", "--json"),
        "split": ("split", script, "--json"),
        "no script": ("run", "no such file.txt"),
        "no option": ("run", script, NO_OPTION),
        "no server": ("run", script, "--draft", "--server", nobody, "--wait", "0"),
        "wrong key": ("run", script, "--draft", "--key", "wrong"),
        "draft unasked": ("run", script),
        "no disk": ("run", script, "--draft", "--output", str(base / "file" / "output")),
    }

    def end(name: str) -> subprocess.CompletedProcess[str]:
        narrator = Narrator(base / name, server)
        folder = copy_of(MORNING, narrator.output)
        if name not in ("whole", "no server", "draft unasked"):
            (folder / "002_우산.wav").unlink()
        return narrator.run(*commands[name], timeout=PATIENCE_S, **own_homes(base))

    with ThreadPoolExecutor(os.cpu_count()) as together:
        return dict(zip(commands, together.map(end, commands), strict=True))


NARRATE_ENDS = {
    "0": ("whole", "missing made", "split"),
    "1": ("no script",),
    "2": ("no option",),
    "3": ("missing",),
    "4": ("no server",),
    "5": ("wrong key",),
    "6": ("draft unasked",),
    "7": ("no disk",),
}


def test_narrate_ends_with_its_codes(ends: dict[str, subprocess.CompletedProcess[str]]) -> None:
    for code, names in NARRATE_ENDS.items():
        for name in names:
            assert str(ends[name].returncode) == code, (name, ends[name].stdout, ends[name].stderr)
    assert set(SURFACE["exit_codes"]["narrate"]) == {*NARRATE_ENDS, "130"}


@pytest.mark.skipif(sys.platform == "win32", reason="a single process cannot be sent Ctrl-C there")
def test_narrate_stopped_by_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    narrator = Narrator(tmp_path)
    script = str(KEPT / "scripts" / "아침.txt")
    process = narrator.start("run", script, "--server", f"127.0.0.1:{free_port()}", "--key", "k", "--wait", "1")
    assert process.stdout is not None
    assert process.stdout.readline() != "", "it tells that it waits for the server"
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, said


def test_a_server_that_cannot_serve_ends_with_its_codes(tmp_path: Path) -> None:
    """2 stands above with the options; 0, 42 and 130 need a server that runs: test_services.py has them."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment = {**os.environ, "PORT": str(taken.getsockname()[1]), "ENGINE": "draft"}
        command = [sys.executable, "-m", "server", "serve"]
        for code, key in ((40, ""), (41, KEY)):
            ended = subprocess.run(
                command,
                env={**environment, "API_KEY": key},
                cwd=tmp_path,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=PATIENCE_S,
                check=False,
            )
            assert ended.returncode == code, ended.stderr
            assert str(code) in SURFACE["exit_codes"]["voice-server serve"]


def told_as_json(ends: dict[str, subprocess.CompletedProcess[str]]) -> dict[str, Any]:
    """The names of what each command tells: of `run` by event."""
    events = [json.loads(line) for line in ends["missing made"].stdout.splitlines()]
    status, split = json.loads(ends["missing"].stdout), json.loads(ends["split"].stdout.splitlines()[0])
    return {
        "run": {event["event"]: sorted(event) for event in events},
        "split": sorted(split),
        "status": sorted(status),
        "status states": sorted(set(status["states"].values())),
    }


def test_what_is_told_as_json_keeps_its_names(ends: dict[str, subprocess.CompletedProcess[str]]) -> None:
    assert lost_from(SURFACE["json"], told_as_json(ends)) == []
