"""Whether a script that was begun goes on with the sentences and the language of then, and what it costs if not."""

from __future__ import annotations

from client.project.choice import is_same_script
from client.project.folder import ProjectFolder
from client.project.plan import Plan, wanted_lines, with_recorded_split
from client.run.options import RunOptions
from client.voice_server.api import Voice
from server.script.lines import Script, read_script
from server.terminal.messages import t


def as_recorded(
    script: Script, folder: ProjectFolder, voice: Voice, options: RunOptions
) -> tuple[Script, tuple[str, ...]]:
    """The script as the run is to speak it, and what is to be said of it.

    Raises FileHeld or DiskUnusable where the cost has to be found out.
    """
    recorded = _as_then(script, folder, options)
    if recorded.language == script.language and recorded.lines == script.lines:
        return script, ()
    if not options.resplit:
        return recorded, (
            t("Sentences and language stay as they were recorded. (--resplit works them out anew and says the cost.)"),
        )
    cost = _kept(folder, recorded, voice, options) - _kept(folder, script, voice, options)
    return script, (_said_of(cost),)


def _as_then(script: Script, folder: ProjectFolder, options: RunOptions) -> Script:
    then = folder.manifest.script.language
    if then != script.language and not options.language and _has_recordings(folder) and _goes_on(script, folder):
        script = read_script(options.script, then)
    return with_recorded_split(script, folder.manifest.lines)


def _has_recordings(folder: ProjectFolder) -> bool:
    return any(record.status == "made" for record in folder.manifest.lines)


def _goes_on(script: Script, folder: ProjectFolder) -> bool:
    return is_same_script(script, folder.manifest)


def _kept(folder: ProjectFolder, script: Script, voice: Voice, options: RunOptions) -> int:
    plan: Plan = folder.plan(wanted_lines(script), script.language, voice, options.mix)
    return len(plan.lines) - len(plan.to_make)


def _said_of(cost: int) -> str:
    if cost <= 0:
        return t("--resplit: the sentences are split anew, and no finished line is lost by it.")
    return t(
        "--resplit: {count} finished lines are made again, because their sentences are split otherwise now. Their old "
        "files go to the folder 'old'.",
        count=cost,
    )
