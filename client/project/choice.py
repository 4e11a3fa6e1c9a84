"""Which project folder a script belongs to. Pure."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date

from client.project.manifest import Manifest, age_key
from client.project.plan import with_recorded_split
from server.script.lines import Script
from server.script.names import safe_project_name

SAME_SCRIPT_SHARE = 0.5
"""A script is a new version of a folder's script when at least this share of its sentences is there already."""


def script_sha256(script: Script) -> str:
    """Hash of the spoken sentences, not of the file: a script with one more comment is still the same."""
    return hashlib.sha256("\n".join(line.text for line in script.lines).encode()).hexdigest()


def similarity(script: Script, manifest: Manifest) -> float:
    """Share of the script's sentences that the folder's script has too; a repeated sentence counts each time."""
    ours = Counter(line.text for line in script.lines)
    theirs = Counter(line.text for line in manifest.lines)
    return (ours & theirs).total() / max(1, ours.total())


def is_same_script(script: Script, manifest: Manifest) -> bool:
    """Whatever the splitter of then made of its sentences."""
    script = with_recorded_split(script, manifest.lines)
    return script_sha256(script) == manifest.script.sha256 or similarity(script, manifest) >= SAME_SCRIPT_SHARE


def folder_name(project: str, day: date, draft: bool, taken: Iterable[str]) -> str:
    """`2026-02-19_유튜브인트로`; `_draft` for draft speech; `_2`, `_3`, ... where the name is taken."""
    base = f"{day.isoformat()}_{safe_project_name(project)}" + ("_draft" if draft else "")
    used = {unicodedata.normalize("NFC", name).casefold() for name in taken}
    name, count = base, 1
    while name.casefold() in used:
        count += 1
        name = f"{base}_{count}"
    return name


def choose_folder(script: Script, project: str, draft: bool, folders: Mapping[str, Manifest]) -> str | None:
    """The newest folder of this project whose script this one continues; None: a new folder is to be made."""
    key = safe_project_name(project).casefold()
    candidates = [
        (*age_key(manifest), name)
        for name, manifest in folders.items()
        if _project_key(manifest.project) == key and manifest.draft == draft and is_same_script(script, manifest)
    ]
    return max(candidates)[-1] if candidates else None


def _project_key(project: str) -> str:
    return unicodedata.normalize("NFC", project).casefold()
