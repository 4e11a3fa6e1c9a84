"""voice-server serve: checks the settings, opens the door and serves until it is told to stop."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from server.commands.start_checks import EngineChoice, check_door, check_tls, choose_engine
from server.engines import EngineFacts
from server.engines.draft import draft_installed
from server.errors import SettingsError
from server.http.app import create_app
from server.http.logs import start_logging
from server.http.slow_clients import KEEP_ALIVE_S, TimeoutProtocol
from server.network import bound_socket
from server.settings import Loaded, Settings, engine_settings, take_settings
from server.terminal.console import complain, say
from server.terminal.exit_codes import ExitCode
from server.terminal.messages import current_language, t
from server.worker.supervisor import Supervisor

DRAIN_LIMIT_S = 60.0
"""Longest wait of a stop for the lines that are being spoken."""

LAST_ANSWERS_S = 10
"""Longest time that open connections may then take to send their answers."""


class CannotServe(SettingsError):
    def __init__(self, sentence: str, exit_code: ExitCode) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class PortTaken(CannotServe):
    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, ExitCode.UNUSABLE)


class EngineBroken(CannotServe):
    """The engine's process died again and again."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, ExitCode.BROKEN)


@contextlib.contextmanager
def settings_must_hold() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise CannotServe(str(error), ExitCode.SETTINGS) from error


class DrainingServer(uvicorn.Server):
    """Stops in two steps: the lines being spoken are finished while new ones get 503, then the socket closes.

    uvicorn alone closes the socket first, so that clients see a refused connection. Then it raises the signal again, so
    that no last sentence can be printed.
    """

    def __init__(self, config: uvicorn.Config, supervisor: Supervisor, limit_s: float = DRAIN_LIMIT_S) -> None:
        super().__init__(config)
        self.supervisor = supervisor
        self.limit_s = limit_s
        self.asked_to_stop = False
        self._until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called for SIGINT, SIGTERM and Windows' break. The second signal ends this process at once; the worker
        ends with its standard input.
        """
        if self.asked_to_stop:
            os._exit(ExitCode.INTERRUPTED)
        self.asked_to_stop = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if await super().on_tick(counter):
            return True
        if not self.asked_to_stop:
            return False
        if self._until is None:
            self._until = time.monotonic() + self.limit_s
            say(t("Stopping: the sentences that are being spoken are finished. Ctrl-C again stops at once."))
            self.supervisor.drain()
        return not self.supervisor.running or time.monotonic() > self._until


def run_server(loaded: Loaded, attached: bool = False) -> int:
    """Serves until it is told to stop. Raises CannotServe.

    attached: stop too when standard input ends, as it does with the program that started this one, however that ends.
    """
    settings = loaded.settings
    for warning in loaded.warnings:
        complain(t("Note: {sentence}", sentence=warning))
    with settings_must_hold():
        check_door(settings)
        choice = choose_engine(settings, draft_installed())
        takes = take_settings(settings)
        with_tls = check_tls(settings)
    sock = listen(settings)
    if problem := start_logging(loaded.log_file(attached), [settings.api_key.get_secret_value()]):
        complain(t("Note: {sentence}", sentence=problem))
    _say_start(settings, choice, with_tls)
    supervisor = Supervisor(
        engine=engine_settings(settings, choice.engine),
        take=takes,
        reader=current_language(),
        queue_limit=settings.queue_limit,
        idle_minutes=settings.idle_minutes,
        environment=loaded.passed_on,
        on_step=lambda step: say("  " + step),
        on_ready=_say_ready,
    )
    server = DrainingServer(server_config(create_app(settings, supervisor), settings), supervisor)
    ending: list[str] = []

    def stop_because(sentence: str) -> None:
        ending.append(sentence)
        server.should_exit = True

    def stop_with_stdin() -> None:
        # A thread that waits in sys.stdin holds its lock, and Python aborts at exit over a held lock; os.read has none.
        while os.read(0, 4096):
            pass
        server.should_exit = True

    supervisor.on_unusable = stop_because
    if attached:
        threading.Thread(target=stop_with_stdin, daemon=True).start()
    server.run(sockets=[sock])
    if ending:
        raise EngineBroken(ending[0]) if supervisor.broken else CannotServe(ending[0], ExitCode.UNUSABLE)
    say(t("The server has stopped."))
    return ExitCode.OK


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    # uvicorn's log lines are for developers; this module says what a narrator should know.
    return uvicorn.Config(
        app,
        http=TimeoutProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=round(KEEP_ALIVE_S),
        timeout_graceful_shutdown=LAST_ANSWERS_S,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
    )


def listen(settings: Settings) -> socket.socket:
    """The listening socket, made first: a taken port is found before a model is loaded.

    Raises PortTaken naming address and port.
    """
    sock: socket.socket | None = None
    try:
        sock = bound_socket(settings.host, settings.port)
        sock.listen(128)
    except OSError as error:
        if sock:
            sock.close()
        raise PortTaken(
            t(
                "The server cannot listen at {host}:{port} ({reason}). Most often another program, perhaps another "
                "voice-server, uses the port: stop it, or set another PORT in .env.",
                host=settings.host,
                port=settings.port,
                reason=error.strerror or error,
            )
        ) from error
    return sock


def _say_start(settings: Settings, choice: EngineChoice, with_tls: bool) -> None:
    say(t("Engine: {engine} ({reason}).", engine=choice.engine, reason=choice.reason))
    scheme = "https" if with_tls else "http"
    say(t("Listening at {scheme}://{host}:{port}", scheme=scheme, host=settings.host, port=settings.port))
    say(t("Loading the engine ..."))


def _say_ready(facts: EngineFacts) -> None:
    if facts.draft:
        say(t("DRAFT speech: a robot voice to try things out, not your voice."))
    say(t("Device: {device}, {dtype}. {reason}", device=facts.device, dtype=facts.dtype, reason=facts.reason))
    say(t("Ready. Stop with Ctrl-C."))
