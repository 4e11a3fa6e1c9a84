"""Draft speech: eSpeak NG in a child process per utterance, intelligible on any CPU without weights.

Knows nothing of the dummy sentence. `render` also tells where each word begins: tests and benchmarks compare cuts with
these places, and server/cut/ never sees them.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.audio.samples import Audio
from server.contract.codes import ErrorCode
from server.engines import Announce, EngineFacts, EngineSettings
from server.engines.draft import LOADER, child
from server.engines.draft.pauses import SAMPLE_RATE, stretch_pauses
from server.engines.draft.reading import as_written, in_kana, kana_reader
from server.errors import EngineUnusable, TakeFailed, TextRefused
from server.terminal.messages import t
from server.text.languages import language_code

VOICES = {
    "ko": "ko",
    "en": "en-us",
    "ja": "ja",
    "zh": "cmn",
    "de": "de",
    "fr": "fr",
    "ru": "ru",
    "pt": "pt-br",
    "es": "es",
    "it": "it",
}

BASE_RATE_WPM = 165

BASE_PITCH = 50
"""0 to 99"""

RATE_SPREAD = 0.08

PITCH_SPREAD = 6

PAUSE_FACTORS = (0.8, 1.3)
"""Bounds of a take's pauses, as multiples of eSpeak NG's"""

SOUND = "draft-takes-1"
"""Version of the rules above: changed whenever the same text and seed begin to sound different"""

TIMEOUT_S = 60
"""An utterance takes 0.05 s; the limit allows for a machine that is swapping."""

_SHOWN_CHARS = 40


@dataclass(frozen=True)
class Variation:
    """eSpeak NG's settings for one take"""

    rate_wpm: int
    pitch: int
    """0 to 99"""
    pause_factor: float


@dataclass(frozen=True)
class DraftSpeech:
    audio: Audio
    marks: tuple[tuple[int, int], ...]
    """(character offset in the text, sample) where each word and sentence begins, in order of time"""


def open_draft(settings: EngineSettings, announce: Announce) -> DraftEngine:
    """Finds eSpeak NG and says one word with it.

    Raises EngineUnusable when it is not installed or does not run here.
    """
    del settings  # draft speech has no settings: one voice for each language
    announce(t("looking for eSpeak NG"))
    library, data = _installed()
    try:
        home = child.readable_home(data)
    except OSError as error:
        raise EngineUnusable(
            t(
                "Draft speech cannot use its voice data in {folder}: {reason}. "
                "Install this program in a folder with a shorter name of plain letters.",
                folder=data,
                reason=error,
            )
        ) from error
    announce(t("trying the draft voice"))
    try:
        header, _ = _run_child(_request(library, home, "ok", "en", Variation(BASE_RATE_WPM, BASE_PITCH, 1.0)))
    except TakeFailed as error:
        raise EngineUnusable(_reinstall(error.reason)) from error
    version = str(header["version"])
    digest = child.inventory_digest(child.inventory(data))
    facts = EngineFacts(
        engine="draft",
        model=f"espeak-ng-{version}",
        voice=_voice_fingerprint(version, digest),
        sample_rate=SAMPLE_RATE,
        device="cpu",
        dtype="int16",
        reason=t("eSpeak NG runs on the CPU and writes 16-bit samples."),
        in_flight=min(4, max(2, os.cpu_count() or 2)),
        draft=True,
        sound=SOUND,
    )
    return DraftEngine(facts, library, home)


class DraftEngine:
    """Safe to call from several threads: each utterance runs in a process of its own."""

    def __init__(self, facts: EngineFacts, library: Path, data_home: Path) -> None:
        self.facts = facts
        self._library = library
        self._data_home = data_home
        self._kana_reader = kana_reader()

    def speak(self, text: str, language: str, seed: int) -> Audio:
        """One take; the same samples for the same text, language and seed."""
        return self.render(text, language, seed).audio

    def render(self, text: str, language: str, seed: int) -> DraftSpeech:
        """One take with the offsets of its words.

        Raises TextRefused for kanji without a reading, or when eSpeak NG has nothing to say; TakeFailed when the child
        process fails.
        """
        tag = language_code(language)
        variation = variation_of(text, tag, seed)
        readable = in_kana(text, self._kana_reader) if tag == "ja" else as_written(text)
        header, pcm = _run_child(_request(self._library, self._data_home, readable.text, tag, variation))
        if not np.any(pcm):
            raise TextRefused(ErrorCode.TEXT_UNSPEAKABLE, text=text[:_SHOWN_CHARS])
        stretched, moved = stretch_pauses(pcm, variation.pause_factor)
        begins = [
            (readable.offsets[min(offset, len(readable.offsets) - 1)], moved(sample))
            for kind, offset, _, sample in header["marks"]
            if kind in ("word", "sentence")
        ]
        marks = tuple(dict.fromkeys(begins))  # a sentence and its first word begin together
        return DraftSpeech(Audio(stretched.astype(np.float32) / np.float32(32768), SAMPLE_RATE), marks)

    def close(self) -> None:
        """Nothing stays open between utterances."""

    def memory_bytes(self) -> dict[str, int]:
        return {}


def true_gap(speech: DraftSpeech, dummy_offset: int) -> tuple[int, int]:
    """Where the sentence's last sound ends and the dummy's first begins, in samples.

    For tests and benchmarks only: server/cut/find.py has to find the gap in the audio.

    dummy_offset: character offset of the dummy's first word in the text, as server.takes.dummy.join gives it.
    eSpeak NG writes digital silence between two clauses, so the gap is the run of zeros around the dummy's mark.
    Raises LookupError when no word begins at that offset, or one side of the mark is silent.
    """
    boundary = next((sample for offset, sample in speech.marks if offset == dummy_offset), None)
    if boundary is None:
        raise LookupError(f"no word begins at character {dummy_offset}; marks: {speech.marks}")
    sounding = speech.audio.samples != 0
    before = np.flatnonzero(sounding[:boundary])
    after = np.flatnonzero(sounding[boundary:])
    if len(before) == 0 or len(after) == 0:
        raise LookupError(f"there is no sound on both sides of sample {boundary}")
    return int(before[-1]) + 1, boundary + int(after[0])


# --- one take differs from another ------------------------------------------------------------------------------------


def variation_of(text: str, tag: str, seed: int) -> Variation:
    """The same for the same three arguments. The text is one of them, since a real voice also varies from line to line.

    tag: the language, such as `ko`.
    """
    digest = hashlib.sha256(f"{SOUND}\n{seed}\n{tag}\n{text}".encode("utf-8", "replace")).digest()
    rate, pitch, pause = (int.from_bytes(digest[4 * i : 4 * i + 4], "big") / 2**32 for i in range(3))  # 0 to 1
    low, high = PAUSE_FACTORS
    return Variation(
        rate_wpm=round(BASE_RATE_WPM * (1 + RATE_SPREAD * (2 * rate - 1))),
        pitch=round(BASE_PITCH + PITCH_SPREAD * (2 * pitch - 1)),
        pause_factor=low + (high - low) * pause,
    )


# --- the child process ------------------------------------------------------------------------------------------------


def _installed() -> tuple[Path, Path]:
    """Paths of eSpeak NG's library and data."""
    try:
        loader = importlib.import_module(LOADER)
    except ImportError as error:
        raise EngineUnusable(
            t("Draft speech is not installed. Install it: {command}", command="python scripts/install.py server")
        ) from error
    try:
        return Path(loader.get_library_path()), Path(loader.get_data_path())
    except RuntimeError as error:  # the loader's data folder is missing
        raise EngineUnusable(_reinstall(str(error))) from error


def _reinstall(reason: str) -> str:
    return t(
        "Draft speech does not work on this machine ({reason}). Install it again: "
        "pip install --force-reinstall espeakng-loader",
        reason=reason,
    )


def _voice_fingerprint(version: str, data_digest: str) -> str:
    """Covers the voice data and not the library, so that Windows, macOS and Linux have the same voice."""
    parts = [version, data_digest, VOICES, BASE_RATE_WPM, BASE_PITCH]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _request(library: Path, home: Path, text: str, tag: str, variation: Variation) -> dict[str, Any]:
    return {
        "library": str(library),
        "data_home": str(home),
        "voice": VOICES[tag],
        "rate_wpm": variation.rate_wpm,
        "pitch": variation.pitch,
        "text": text,
    }


def _run_child(request: dict[str, Any]) -> tuple[dict[str, Any], npt.NDArray[np.int16]]:
    """The child's header and samples. Raises TakeFailed when it crashes, hangs or refuses."""
    command = [sys.executable, "-I", "-S", str(Path(child.__file__))]
    # On Windows, a server without a console would otherwise show one for every sentence.
    no_window = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=TIMEOUT_S,
            creationflags=no_window,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TakeFailed(f"eSpeak NG was not done in {TIMEOUT_S} s") from error
    except OSError as error:
        raise TakeFailed(f"eSpeak NG's process did not start: {error}") from error
    if done.returncode != 0:
        raise TakeFailed(_exit_reason(done.returncode, done.stderr))
    head, _, body = done.stdout.partition(b"\n")
    try:
        header = json.loads(head)
    except ValueError as error:
        raise TakeFailed("eSpeak NG's process answered nothing that can be read") from error
    pcm: npt.NDArray[np.int16] = np.frombuffer(body, "<i2")
    if len(pcm) != header["samples"] or header["sample_rate"] != SAMPLE_RATE:
        raise TakeFailed(f"eSpeak NG's process promised {header['samples']} samples and sent {len(pcm)}")
    return header, pcm


def _exit_reason(status: int, stderr: bytes) -> str:
    """The child's own words on its failure, with the exit status; a crash leaves no words."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    try:
        said = str(json.loads(lines[-1])["error"])
    except (IndexError, ValueError, KeyError, TypeError):
        said = lines[-1] if lines else "no message"
    return f"eSpeak NG's process ended with {status}: {said}"
