"""voice-server: serve, doctor, init. Reads settings and hands over."""

# No `from __future__ import annotations` here: typer reads the annotations, whose texts are made in build().
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from server.commands.doctor import report
from server.commands.init import ask_and_write
from server.commands.serve import run_server, settings_must_hold
from server.errors import SettingsError
from server.settings import load_settings
from server.terminal import console
from server.terminal.messages import t


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
        overrides = {"HOST": host, "PORT": "" if port is None else str(port)}
        environ = {**os.environ, **{name: value for name, value in overrides.items() if value}}
        with settings_must_hold():
            loaded = load_settings(environ, Path.cwd())
        return run_server(loaded, attached)

    @app.command(help=t("Tell what this machine can do and what is wrong with the settings."))
    def doctor(lang: Annotated[str, lang] = "") -> int:
        del lang
        return report(Path.cwd(), os.environ)

    @app.command(help=t("Write .env with a new random key and your voice."))
    def init(
        force: Annotated[bool, typer.Option("--force", help=t("Write a new .env over an old one."))] = False,
        ref_audio: Annotated[str, typer.Option(help=t("Voice recording: 5 to 15 s of your voice."))] = "",
        ref_text: Annotated[str, typer.Option(help=t("The exact words of the voice recording."))] = "",
        lan: Annotated[
            bool | None, typer.Option("--lan/--no-lan", help=t("Whether another PC will connect to this server."))
        ] = None,
        lang: Annotated[str, lang] = "",
    ) -> int:
        del lang
        return ask_and_write(Path.cwd(), force=force, ref_audio=ref_audio, ref_text=ref_text, lan=lan)

    return app


if __name__ == "__main__":
    main()
