"""Finds a model's folder, says what is missing in it, and tells one model from another. Knows no torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.downloads.errors import DownloadFailed, Unreachable
from server.downloads.record import check_kept
from server.errors import EngineUnusable, ModelDamaged, ModelNotDownloaded, one_line
from server.terminal.messages import t

NEEDED = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "speech_tokenizer/config.json",
    "speech_tokenizer/model.safetensors",
    "speech_tokenizer/preprocessor_config.json",
)
"""Files that the package always opens, besides the talker's weights and the vocabulary"""
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
PROBES, PROBE_BYTES = 16, 64 * 1024
"""Pieces of a weights file that identify it: a fine-tuned model has the stock model's file sizes, but other numbers."""


def is_folder(model: str) -> bool:
    # Path("") would be the current folder.
    return bool(model.strip()) and Path(model).expanduser().is_dir()


def ascii_id(model: str) -> str:
    """The model's name as headers can carry it: the hub name, or the folder's own name, in ASCII."""
    name = Path(model).expanduser().resolve().name if is_folder(model) else model
    return re.sub(r"[^\x21-\x7e]", "_", name)


def downloaded_folder(model: str, models: Path) -> Path:
    """A downloaded model's folder; its `downloaded.json` (server/downloads/record.py) names the revision."""
    return models / model.replace("/", "--")


def find_model(model: str, announce: Callable[[str], None], models: Path) -> Path:
    """The complete folder of this model; a hub name is downloaded once, into a folder in `models`.

    Raises EngineUnusable.
    """
    if is_folder(model):
        folder = Path(model).expanduser().resolve()
        _refuse_incomplete(folder)
    elif re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", model, re.ASCII):
        folder = _from_hub(model, announce, models)
    else:
        raise EngineUnusable(
            t(
                "The model folder {model} does not exist. Set MODEL to an existing folder or to a name such as "
                "Qwen/Qwen3-TTS-12Hz-1.7B-Base.",
                model=model,
            )
        )
    _refuse_other_kinds(model, folder)
    return folder


def missing_files(folder: Path) -> list[str]:
    """Files that a loadable voice cloning model needs and this folder lacks."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    missing += [name for name in weight_files(folder) if not (folder / name).is_file()]
    if not (folder / "tokenizer.json").is_file():
        missing += [name for name in ("vocab.json", "merges.txt") if not (folder / name).is_file()]
    return missing


def weight_files(folder: Path) -> list[str]:
    """Names of the talker's weights: one file, or the files of the index."""
    index = folder / WEIGHTS_INDEX
    if not index.is_file():
        return [WEIGHTS]
    return sorted(set(_json(index).get("weight_map", {}).values()))


def model_identity(folder: Path) -> str:
    """SHA-256 over configuration and pieces of the weights: the same for the same model in any folder."""
    digest = hashlib.sha256()
    for name in ("config.json", "speech_tokenizer/config.json"):
        digest.update(name.encode() + (folder / name).read_bytes())
    for name in (*weight_files(folder), "speech_tokenizer/model.safetensors"):
        size = (folder / name).stat().st_size
        digest.update(f"{name} {size}".encode())
        with (folder / name).open("rb") as file:
            for probe in range(PROBES):
                file.seek(max(0, size - PROBE_BYTES) * probe // (PROBES - 1))
                digest.update(file.read(PROBE_BYTES))
    return digest.hexdigest()


def _refuse_incomplete(folder: Path) -> None:
    missing = missing_files(folder)
    if missing:
        raise EngineUnusable(
            t(
                "The model folder {folder} is not complete; it lacks: {files}. Download the model again: "
                "hf download Qwen/Qwen3-TTS-12Hz-1.7B-Base --local-dir {folder}",
                folder=str(folder),
                files=", ".join(missing),
            )
        )


def _refuse_other_kinds(model: str, folder: Path) -> None:
    """Raises EngineUnusable for a model that clones no voice, or has another tokenizer than the 12 Hz one."""
    config = _json(folder / "config.json")
    kind, rate = str(config.get("tts_model_type", "?")), str(config.get("tokenizer_type", "?"))
    if kind != "base":
        raise EngineUnusable(
            t(
                "The model {model} cannot clone a voice (its kind is {kind}). Set MODEL to a Base model such as "
                "Qwen/Qwen3-TTS-12Hz-1.7B-Base.",
                model=model,
                kind=kind,
            )
        )
    if rate != "qwen3_tts_tokenizer_12hz":
        raise EngineUnusable(
            t("The model {model} uses {tokenizer}; only 12 Hz models are supported.", model=model, tokenizer=rate)
        )


def _from_hub(model: str, announce: Callable[[str], None], models: Path) -> Path:
    """The model's files on this disk. The network is asked only when they are not whole: a voice stays what it was."""
    from server.downloads.hub import download_model, read_hub

    if cached := cached_snapshot(model):
        return cached
    folder = downloaded_folder(model, models)
    if _is_kept(folder, announce):
        return folder
    announce(t("downloading the model {model}", model=model))
    try:
        # Not by huggingface_hub: 0.36.2 can die on Windows while it probes for symlinks (huggingface_hub#4915).
        download_model(read_hub(os.environ), model, folder, announce)
    except Unreachable as error:
        raise _not_downloaded(model, error.reason) from error
    except DownloadFailed as error:
        raise ModelNotDownloaded(str(error)) from error
    if missing := missing_files(folder):
        raise _not_downloaded(model, ", ".join(missing))
    return folder


def cached_snapshot(model: str) -> Path | None:
    """The whole model in the cache of Hugging Face, in a folder that has the revision for its name; else None."""
    from huggingface_hub import snapshot_download

    try:
        kept = Path(snapshot_download(model, local_files_only=True))
    except (OSError, ValueError):  # never downloaded, or not a hub name
        return None
    return None if missing_files(kept) else kept


def _is_kept(folder: Path, announce: Callable[[str], None]) -> bool:
    """Whether a whole model lies in this folder, downloaded earlier or put there by hand.

    Raises EngineUnusable when a file is not the published one.
    """
    try:
        kept = check_kept(folder, announce)
    except OSError as error:
        raise EngineUnusable(
            t("The model folder {folder} cannot be read ({reason}).", folder=str(folder), reason=one_line(error))
        ) from error
    if kept.damaged:
        raise ModelDamaged(
            t(
                "In the model folder {folder} these are not the published files any more: {files}. Delete them, and "
                "the next start downloads them again. A model of your own belongs into another folder: name it with "
                "MODEL.",
                folder=str(folder),
                files=", ".join(kept.damaged),
            )
        )
    if kept.changed:
        announce(
            t(
                "changed since the download, used as they are now: {files} in {folder}",
                files=", ".join(kept.changed),
                folder=str(folder),
            )
        )
    return not kept.missing and not missing_files(folder)


def _not_downloaded(model: str, reason: str) -> ModelNotDownloaded:
    """reason: the error, or the files that did not come."""
    return ModelNotDownloaded(
        t(
            "The model {model} is neither a folder nor whole on this machine, and it could not be downloaded "
            "({reason}). Download it where there is network: hf download {model} --local-dir models/{name} - then set "
            "MODEL=models/{name}. HF_ENDPOINT names a mirror.",
            model=model,
            reason=reason,
            name=model.partition("/")[2],
        )
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EngineUnusable(
            t("{file} is damaged ({reason}). Download the model again.", file=str(path), reason=one_line(error))
        ) from error
    return value if isinstance(value, dict) else {}
