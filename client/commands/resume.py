"""narrate resume: lists the unfinished runs of this user, or finishes them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from client.errors import FolderBusy, ScriptReplaced
from client.project.choice import is_same_script
from client.project.manifest import read_records
from client.run import unfinished as runs
from client.run.night import Invocation
from client.run.options import RunOptions, given_language
from server.script.lines import read_script
from server.terminal.console import complain
from server.terminal.console import say as say_line
from server.terminal.exit_codes import ExitCode
from server.terminal.messages import t
from server.terminal.troubleshooting import with_entry


def resumed(run: runs.UnfinishedRun, as_json: bool, command: str) -> tuple[RunOptions, Invocation]:
    """The same run, in exactly its folder."""
    invocation = Invocation(command, run.typed_in, server_was_there=not run.local)
    return replace(run, into=run.folder, as_json=as_json), invocation


def resume_runs(
    resume: Callable[[runs.UnfinishedRun], int], known: tuple[type[Exception], ...], everything: bool
) -> int:
    """Goes on with each unfinished run of this user where `everything` is set, else lists them.

    resume: goes on with one run and returns its exit code. known: exceptions that end one run and not the others.
    Returns 0 when all runs are finished, else the exit code of the last one that is not.
    """
    folder = runs.runs_folder(os.environ, sys.platform, Path.home())
    found = runs.unfinished(folder)
    if not found:
        say_line(t("No run of yours is unfinished."))
        return ExitCode.OK
    if not everything:
        for run in found:
            say_line(f"{run.folder}  ({run.script})")
        say_line(t("'narrate resume --all' finishes them."))
        return ExitCode.PARTIAL
    code: int = ExitCode.OK
    for run in found:
        say_line(t("Going on: {folder}", folder=run.folder))
        if not run.folder.is_dir() and run.folder.parent.is_dir():  # else the drive is not connected
            say_line(t("This folder is gone; the run is forgotten."))
            runs.forget(folder, run.folder)
            continue
        try:
            check_same_script(run)
            ended = resume(run)
        except FolderBusy as error:  # another narrate is finishing this run
            say_line(with_entry(error))
            continue
        except ScriptReplaced as error:
            complain(with_entry(error))
            runs.forget(folder, run.folder)
            ended = ExitCode.PARTIAL
        except known as error:
            complain(with_entry(error))
            ended = int(getattr(error, "exit_code", ExitCode.ERROR))
        if ended == ExitCode.INTERRUPTED:
            return ended
        code = ended or code
    return code


def check_same_script(run: runs.UnfinishedRun) -> None:
    """Raises ScriptReplaced when going on would put the recordings of another script into the folder."""
    records = read_records(run.folder)
    if records is None:
        return
    if not is_same_script(read_script(run.script, given_language(run.language)), records.manifest):
        raise ScriptReplaced(
            t(
                "{script} holds another script now than {folder} was made from, so nothing was made, and this run is "
                "forgotten. To go on in that folder all the same, use 'narrate run' with --into and this folder.",
                script=run.script,
                folder=run.folder,
            )
        )
