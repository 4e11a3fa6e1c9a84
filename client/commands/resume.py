"""narrate resume: unfinished runs, gone on with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from client.errors import EXIT_PARTIAL, FolderBusy, ScriptReplaced
from client.project.choice import is_same_script
from client.project.manifest import read_records
from client.run import unfinished as runs
from client.run.options import RunOptions, given_language
from server.script.lines import read_script
from server.terminal.console import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, complain
from server.terminal.console import say as say_line
from server.terminal.messages import t


def resume_options(run: runs.UnfinishedRun, json_too: bool, again: str) -> RunOptions:
    """The same run again, in exactly its folder."""
    return RunOptions(
        script=run.script,
        project=run.project,
        language=run.language,
        draft=run.draft,
        new=False,
        into=run.folder,
        revoice=False,
        mix=run.mix,
        wait_s=run.wait_hours * 3600,
        json=json_too,
        again=again,
        server_was_there=not run.local,
        typed_in=run.typed_in,
        server=run.server,
        local=run.local,
    )


def resume_runs(
    again: Callable[[runs.UnfinishedRun], int], known: tuple[type[Exception], ...], everything: bool
) -> int:
    """Goes on with each unfinished run of this user, or lists them; again: makes one run and returns its exit code.

    Exit code 0 when all are finished, else that of the last one that is not. One that cannot go on stops no other.
    """
    folder = runs.runs_folder(os.environ, sys.platform, Path.home())
    found = runs.unfinished(folder)
    if not found:
        say_line(t("No run of yours is unfinished."))
        return EXIT_OK
    if not everything:
        for run in found:
            say_line(f"{run.folder}  ({run.script})")
        say_line(t("'narrate resume --all' finishes them."))
        return EXIT_PARTIAL
    code = EXIT_OK
    for run in found:
        say_line(t("Going on: {folder}", folder=run.folder))
        if not run.folder.is_dir() and run.folder.parent.is_dir():  # else a drive that is not there today
            say_line(t("This folder is gone; the run is forgotten."))
            runs.forget(folder, run.folder)
            continue
        try:
            check_same_script(run)
            ended = again(run)
        except FolderBusy as error:  # somebody is finishing it already
            say_line(str(error))
            continue
        except ScriptReplaced as error:
            complain(str(error))
            runs.forget(folder, run.folder)
            ended = EXIT_PARTIAL
        except known as error:
            complain(str(error))
            ended = int(getattr(error, "exit_code", EXIT_ERROR))
        if ended == EXIT_INTERRUPTED:
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
