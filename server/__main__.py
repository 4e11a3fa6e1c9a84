"""voice-server: serve, doctor, init. Reads settings and hands over."""

# No `from __future__ import annotations` here: typer reads the annotations, whose texts are made in build().
import contextlib
import importlib.util
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from server import console
from server.app import create_app
from server.console import complain, say
from server.doctor import report
from server.engines import EngineFacts
from server.errors import SettingsError
from server.messages import current_language, t
from server.settings import (
    EngineChoice,
    Loaded,
    Settings,
    check_door,
    choose_engine,
    engine_settings,
    load_settings,
    take_settings,
)
from server.setup import ask_and_write
from server.supervisor import Supervisor

CLIENT_NAMES = ("NARRATE_SERVER", "NARRATE_KEY", "NARRATE_OUTPUT")


def main() -> None:
    sys.exit(console.run(build, "voice-server", (SettingsError,)))


def build() -> typer.Typer:
    """Built when called and not on import: the help texts are in the reader's language."""
    app = typer.Typer(
        help=t("Speaks the sentences of a script in one cloned voice."),
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    lang = typer.Option("--lang", help=t("Language of the messages: ko or en."))
    debug_help = t("Show tracebacks (may stand anywhere).")

    @app.callback()
    def root(
        lang: Annotated[str, lang] = "",
        debug: Annotated[bool, typer.Option("--debug", help=debug_help)] = False,
    ) -> None:
        # Both were read from the command line before typer: they decide how its own help looks.
        del lang, debug

    @app.command(help=t("Start the server; Ctrl-C stops it."))
    def serve(
        host: Annotated[str, typer.Option(help=t("Address to listen at; HOST in .env."))] = "",
        port: Annotated[int | None, typer.Option(help=t("Port to listen at; PORT in .env."))] = None,
        attached: Annotated[bool, typer.Option("--attached", hidden=True)] = False,
        lang: Annotated[str, lang] = "",
    ) -> int:
        del lang
        overrides = {"HOST": host, "PORT": str(port) if port else ""}
        environ = {**os.environ, **{name: value for name, value in overrides.items() if value}}
        return run_server(load_settings(environ, Path.cwd(), CLIENT_NAMES), attached)

    @app.command(help=t("Tell what this machine can do and what is wrong with the settings."))
    def doctor(lang: Annotated[str, lang] = "") -> int:
        del lang
        return report(Path.cwd(), os.environ, CLIENT_NAMES)

    @app.command(help=t("Write .env with a new random key and your voice."))
    def init(
        force: Annotated[bool, typer.Option("--force", help=t("Write a new .env over an old one."))] = False,
        ref_audio: Annotated[str, typer.Option(help=t("Reference audio: 5 to 15 s of your voice."))] = "",
        ref_text: Annotated[str, typer.Option(help=t("The exact words of the reference audio."))] = "",
        lan: Annotated[
            bool | None, typer.Option("--lan/--no-lan", help=t("Whether another PC will connect to this server."))
        ] = None,
        lang: Annotated[str, lang] = "",
    ) -> int:
        del lang
        return ask_and_write(Path.cwd(), force=force, ref_audio=ref_audio, ref_text=ref_text, lan=lan)

    return app


def draft_installed() -> bool:
    return importlib.util.find_spec("espeakng_loader") is not None


def run_server(loaded: Loaded, attached: bool = False) -> int:
    """Serves until it is told to stop. Raises SettingsError when it cannot start.

    attached: stop too when standard input ends, as it does with the program that started this one, however that ends.
    """
    settings = loaded.settings
    for warning in loaded.warnings:
        complain(t("Note: {sentence}", sentence=warning))
    check_door(settings)
    choice = choose_engine(settings, draft_installed())
    takes = take_settings(settings)
    sock = listen(settings)
    _say_start(settings, choice)
    supervisor = Supervisor(
        engine=engine_settings(settings, choice.engine),
        take=takes,
        reader=current_language(),
        queue_limit=settings.queue_limit,
        environment=loaded.passed_on,
        on_step=lambda step: say("  " + step),
        on_ready=_say_ready,
    )
    # uvicorn's own lines are for developers; what a narrator should know is said here.
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, supervisor),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=30,
        )
    )
    ending: list[str] = []

    def stop_because(sentence: str) -> None:
        ending.append(sentence)
        server.should_exit = True

    def stop_with_stdin() -> None:
        # Not sys.stdin: a thread that waits in it keeps its lock, and the interpreter aborts over that at its end.
        while os.read(0, 4096):
            pass
        server.should_exit = True

    supervisor.on_unusable = stop_because
    if attached:
        threading.Thread(target=stop_with_stdin, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has shut down
        server.run(sockets=[sock])
    if ending:
        raise SettingsError(ending[0])
    say(t("The server has stopped."))
    return 0


def listen(settings: Settings) -> socket.socket:
    """The listening socket, made first: a taken port is found before a model is loaded.

    Raises SettingsError naming address and port.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform != "win32":  # there the option would let two programs share one port
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise SettingsError(
            t(
                "The server cannot listen at {host}:{port} ({reason}). Most often another program, perhaps another "
                "voice-server, uses the port: stop it, or set another PORT in .env.",
                host=settings.host,
                port=settings.port,
                reason=error.strerror or error,
            )
        ) from error
    return sock


def _say_start(settings: Settings, choice: EngineChoice) -> None:
    say(t("Engine: {engine} ({reason}).", engine=choice.engine, reason=choice.reason))
    say(t("Listening at http://{host}:{port}", host=settings.host, port=settings.port))
    say(t("Loading the engine ..."))


def _say_ready(facts: EngineFacts) -> None:
    if facts.draft:
        say(t("DRAFT speech: a robot voice to try things out, not your voice."))
    say(t("Device: {device}, {dtype}. {reason}", device=facts.device, dtype=facts.dtype, reason=facts.reason))
    say(t("Ready. Stop with Ctrl-C."))


if __name__ == "__main__":
    main()
