"""narrate run: a script in, a folder of numbered WAV files out."""

from __future__ import annotations

import asyncio

from client.errors import ClientError
from client.run.night import Invocation, run_night
from client.run.options import RunOptions, given_language, need_key
from client.run.patience import ServerDied
from client.settings import ClientSettings
from server.script.lines import read_script
from server.script.names import safe_project_name
from server.terminal.exit_codes import ExitCode
from server.terminal.messages import t


def run_script(
    settings: ClientSettings, options: RunOptions, invocation: Invocation, server_died: ServerDied = lambda: None
) -> ExitCode:
    """Raises ClientError, ScriptError or NameRefused when the run cannot begin."""
    check_choices(options)
    script = read_script(options.script, given_language(options.language))
    safe_project_name(options.project_name)
    need_key(settings)
    return asyncio.run(run_night(settings, options, invocation, script, server_died))


def check_choices(options: RunOptions) -> None:
    """Raises ClientError for two options that exclude each other."""
    if options.revoice and options.mix:
        raise ClientError(t("--revoice and --mix say opposite things; give one of them."))
    if options.new and options.into:
        raise ClientError(t("--new and --into say opposite things; give one of them."))
