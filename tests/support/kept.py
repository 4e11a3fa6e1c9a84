"""The files that commit c94dcad wrote (tests/fixtures/c94dcad), copied for a test, and comparisons with a copy."""

from __future__ import annotations

import hashlib
import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import httpx
from clock import seconds
from servers import RunningServer

KEPT = next(
    folder / "tests" / "fixtures" / "c94dcad"
    for folder in Path(__file__).resolve().parents
    if (folder / "tests" / "fixtures" / "c94dcad").is_dir()
)
"""The folder is found from any depth, so that this file may move to another folder of the tests."""
MANIFEST, PREVIOUS, JOURNAL, LOG = "project.json", ".project.json.previous", ".recordings", "run.log"


def kept_folder(name: str) -> Path:
    return KEPT / "projects" / name


def copy_of(name: str, output: Path) -> Path:
    """A copy of the kept project folder in the output folder."""
    return Path(shutil.copytree(kept_folder(name), output / name))


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file of the folder, those of old/ too, by its name as it stands on the disk."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def hashes_in(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by its name: pytest shows a difference of hashes in one line."""
    return {name: sha256(content) for name, content in files_in(folder).items()}


def wavs_in(folder: Path) -> dict[str, str]:
    """SHA-256 of every WAV of the folder, those of old/ too, by its name in NFC."""
    return {unicodedata.normalize("NFC", name): of for name, of in hashes_in(folder).items() if name.endswith(".wav")}


def manifest_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / MANIFEST).read_text("utf-8")))


def journal_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / JOURNAL).read_bytes().splitlines()]


def lost_from(golden: Any, now: Any, where: str = "") -> list[str]:
    """Where the value of now lacks a part of the golden value or has another; parts that were added are allowed.

    Every element of a golden list must be in the list of now, at any place; lists of objects are compared in order.
    """
    if isinstance(golden, dict) and isinstance(now, dict):
        lost = [f"{where}/{key} is gone" for key in golden if key not in now]
        return lost + [
            each for key in golden if key in now for each in lost_from(golden[key], now[key], f"{where}/{key}")
        ]
    if isinstance(golden, list) and isinstance(now, list):
        if not all(isinstance(each, dict) for each in golden):
            return [f"{where}: {each!r} is gone" for each in golden if each not in now]
        if len(now) < len(golden):
            return [f"{where} has {len(now)} of {len(golden)}"]
        pairs = zip(golden, now, strict=False)
        return [each for i, (old, new) in enumerate(pairs) for each in lost_from(old, new, f"{where}/{i}")]
    return [] if golden == now else [f"{where} was {golden!r} and is {now!r}"]


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}


def requests_for_speech(server: RunningServer) -> int:
    """Requests for speech since the server's start, whatever the answer was: the server's own count, not narrate's."""
    told = httpx.get(server.address + "/metrics", headers=server.headers, trust_env=False, timeout=seconds(30))
    assert told.status_code == 200, told.text
    counts = [line.split() for line in told.text.splitlines() if line.startswith("tts_requests_total")]
    return round(sum(float(value) for _, value in counts))
