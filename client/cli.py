"""narrate: typer commands. Parse, call, print; every decision is elsewhere.

Parameters of `run` go into RunOptions by their names (client/run/options.py), so a new one is a parameter and a field.
"""

# No `from __future__ import annotations` here: typer evaluates the annotations, which use the local names of build().
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from client.commands.resume import resume_runs, resumed
from client.commands.run import run_script
from client.commands.say import SayOptions, say_sentence
from client.commands.split import show_split
from client.commands.status import show_status
from client.errors import ClientError
from client.run.night import Invocation
from client.run.options import RunOptions
from client.run.patience import ServerDied
from client.run.unfinished import UnfinishedRun
from client.settings import ClientSettings, load_client_settings
from server.contract.http import MAX_SEED
from server.script.errors import NameRefused, ScriptError
from server.terminal import console
from server.terminal.messages import t

KNOWN_ERRORS: tuple[type[Exception], ...] = (ClientError, ScriptError, NameRefused)


def main() -> None:
    sys.exit(console.run(build, "narrate", KNOWN_ERRORS))


def build() -> typer.Typer:
    """Built when called and not on import: the help texts are in the reader's language."""
    app = typer.Typer(
        help=t("Turns a script into a folder of numbered WAV files in your own voice."),
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    lang_option = typer.Option("--lang", help=t("Language of the messages: ko or en."))
    server_option = typer.Option("--server", help=t("The server's address; NARRATE_SERVER."))
    key_option = typer.Option("--key", help=t("The server's key; NARRATE_KEY. Better kept in .env."))
    output_option = typer.Option("--output", help=t("Where project folders are made; NARRATE_OUTPUT."))
    language_option = typer.Option("--language", help=t("The script's language (ko, en, ja, ...); else detected."))
    local_option = typer.Option("--local", help=t("Start a server on this PC for this command."))
    draft_option = typer.Option("--draft", help=t("Allow draft speech, a robot voice to try things out."))
    json_option = typer.Option("--json", help=t("Tell everything as JSON, one object a line."))
    script_argument = typer.Argument(metavar="SCRIPT", help=t("The script, .txt or .md."))

    @app.callback()
    def root(
        lang: Annotated[str, lang_option] = "",
        debug: Annotated[bool, typer.Option("--debug", help=t("Show tracebacks (may stand anywhere)."))] = False,
    ) -> None:
        # console.run reads both before typer starts: typer's own help depends on them.
        del lang, debug

    @app.command(help=t("Make the missing WAV files of a script; run again to go on."))
    def run(
        context: typer.Context,
        script: Annotated[Path, script_argument],
        project: Annotated[str, typer.Option("--project", "-p", help=t("Name of the project folder."))] = "",
        language: Annotated[str, language_option] = "",
        draft: Annotated[bool, draft_option] = False,
        local: Annotated[bool, local_option] = False,
        new: Annotated[bool, typer.Option("--new", help=t("Begin a new folder."))] = False,
        into: Annotated[
            Path | None, typer.Option("--into", help=t("Go on in this folder, whatever its script was."))
        ] = None,
        revoice: Annotated[
            bool, typer.Option("--revoice", help=t("The voice has changed: make every line again with the new one."))
        ] = False,
        mix: Annotated[
            bool, typer.Option("--mix", help=t("The voice has changed: keep the finished lines all the same."))
        ] = False,
        adopt: Annotated[
            bool,
            typer.Option(
                "--adopt", help=t("The folder's records are lost: take its WAV files for what their names say.")
            ),
        ] = False,
        resplit: Annotated[
            bool,
            typer.Option("--resplit", help=t("Split a script that was begun anew into sentences, and say the cost.")),
        ] = False,
        wait_hours: Annotated[
            float,
            typer.Option("--wait", help=t("Hours to wait for a server that went away.")),
        ] = 10.0,
        server: Annotated[str, server_option] = "",
        key: Annotated[str, key_option] = "",
        output: Annotated[str, output_option] = "",
        as_json: Annotated[bool, json_option] = False,
        lang: Annotated[str, lang_option] = "",
    ) -> int:
        options = RunOptions.of(context.params)  # all parameters above but key and lang
        settings = load_client_settings(os.environ, Path.cwd(), options.server, key, options.output)
        return _run_with_server(settings, options, Invocation(command_as_typed(), Path.cwd()))

    @app.command(help=t("Show what 'run' would make: numbers, file names, sentences, times. Asks nothing of a server."))
    def split(
        script: Annotated[Path, script_argument],
        language: Annotated[str, language_option] = "",
        json: Annotated[bool, json_option] = False,
        lang: Annotated[str, lang_option] = "",
    ) -> int:
        del lang
        return show_split(script, language, json)

    @app.command(help=t("Speak one sentence and play it."))
    def say(
        text: Annotated[str, typer.Argument(metavar="TEXT", help=t("The sentence, in quotes."))],
        language: Annotated[str, language_option] = "",
        draft: Annotated[bool, draft_option] = False,
        local: Annotated[bool, local_option] = False,
        seed: Annotated[
            int | None,
            typer.Option(
                "--seed", help=t("The seed of the take; another one sounds different."), callback=checked_seed
            ),
        ] = None,
        out: Annotated[Path | None, typer.Option("--out", help=t("Save the WAV here and play nothing."))] = None,
        server: Annotated[str, server_option] = "",
        key: Annotated[str, key_option] = "",
        lang: Annotated[str, lang_option] = "",
    ) -> int:
        del lang
        settings = load_client_settings(os.environ, Path.cwd(), server, key)
        options = SayOptions(text, language, draft, seed, out)
        return _with_server(settings, local, draft, lambda there, died: say_sentence(there, options, died))

    @app.command(help=t("Show what a project folder holds and what is missing."))
    def status(
        folder: Annotated[
            Path | None, typer.Argument(metavar="[FOLDER]", help=t("The folder; the newest one where left out."))
        ] = None,
        output: Annotated[str, output_option] = "",
        json: Annotated[bool, json_option] = False,
        lang: Annotated[str, lang_option] = "",
    ) -> int:
        del lang
        return show_status(load_client_settings(os.environ, Path.cwd(), output=output), folder, json)

    @app.command(help=t("Finish what is unfinished, of all projects: after a restart of this PC, for one."))
    def resume(
        everything: Annotated[bool, typer.Option("--all", help=t("Finish them; without it they are listed."))] = False,
        key: Annotated[str, key_option] = "",
        json: Annotated[bool, json_option] = False,
        lang: Annotated[str, lang_option] = "",
    ) -> int:
        del lang

        def resume_one(unfinished: UnfinishedRun) -> int:
            settings = load_client_settings(os.environ, unfinished.typed_in, unfinished.server, key, unfinished.output)
            return _run_with_server(settings, *resumed(unfinished, json, command_as_typed()))

        return resume_runs(resume_one, KNOWN_ERRORS, everything)

    return app


def _run_with_server(settings: ClientSettings, options: RunOptions, invocation: Invocation) -> int:
    return _with_server(
        settings, options.local, options.draft, lambda there, died: run_script(there, options, invocation, died)
    )


def _with_server(
    settings: ClientSettings, local: bool, draft: bool, command: Callable[[ClientSettings, ServerDied], int]
) -> int:
    """Runs the command against the configured server, or against one that lives as long as the command."""
    if not local:
        return command(settings, lambda: None)
    from client.voice_server.local import died_sentence, local_server, wait_until_listening

    # A random name: in a shared folder for temporary files, another user could lay a link under one that is known.
    handle, name = tempfile.mkstemp(prefix="narrate-server-", suffix=".log")
    os.close(handle)
    log, log_is_named = Path(name), False
    try:
        with local_server(log, engine="draft" if draft else "") as there:
            wait_until_listening(there, log)
            own = ClientSettings(there.address, there.key, settings.output)
            try:
                return command(own, lambda: died_sentence(there, log))
            finally:
                log_is_named = there.process.poll() is not None
    except ClientError as error:
        log_is_named |= name in str(error)
        raise
    finally:
        if not log_is_named:
            log.unlink(missing_ok=True)


def checked_seed(seed: int | None) -> int | None:
    """Raises ClientError, since the reason inside a typer usage error is never shown."""
    if seed is not None and not 0 <= seed <= MAX_SEED:
        raise ClientError(t("The seed {seed} is not a whole number from 0 to {limit}.", seed=seed, limit=MAX_SEED))
    return seed


def command_as_typed() -> str:
    """The command that goes on from here: this one, without the key and the options of the first time only."""
    words = [program_as_typed(sys.argv[0], shutil.which), *without_once(sys.argv[1:])]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def program_as_typed(program: str, which: Callable[[str], str | None]) -> str:
    """`narrate` where a terminal finds it, else its whole path, which works without activating an environment."""
    path = Path(program)
    return str(path) if path.stem == "narrate" and which("narrate") is None else "narrate"


def without_once(words: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word not in ("--new", "--revoice", "--resplit", "--key") and not word.startswith("--key="):
            kept.append(word)
        skip = word == "--key"
    return kept


if __name__ == "__main__":
    main()
