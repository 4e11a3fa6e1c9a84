"""The dummy said alone in the server's voice: the takes that the cut searches for at the end of every line.

Made at start for the server's own language and on first use for another, then kept beside the voice clone prompt under
a key of everything that changes how the dummy sounds. Knows no line of any script.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.audio.samples import Samples
from server.cut.dummy_takes import DummyTakes, prepare_takes
from server.engines import Engine
from server.errors import TakeFailed
from server.takes.dummy import Dummy
from server.terminal.messages import t
from server.whole_files import write_whole

log = logging.getLogger("server.calibration")

WANTED_TAKES = 3
MAX_CALIBRATION_TAKES = 9
"""Attempts for the wanted takes: a random take may fail."""
FORMAT = 1
FIRST_SEED = 1_000_003


@dataclass
class Calibration:
    engine: Engine
    folder: Path | None
    """Where the takes are kept; None keeps them in memory only."""
    announce: Callable[[str], None] = lambda step: None
    _known: dict[str, DummyTakes | None] = field(default_factory=dict)

    def takes(self, dummy: Dummy, language: str) -> DummyTakes | None:
        """None if the engine failed to say the dummy; lines are then cut without calibration."""
        key = self.key(dummy, language)
        if key not in self._known:
            self._known[key] = self._read_or_make(key, dummy, language)
        return self._known[key]

    def knows(self, dummy: Dummy, language: str) -> bool:
        """Whether `takes` answers without the engine."""
        return self.key(dummy, language) in self._known

    def key(self, dummy: Dummy, language: str) -> str:
        facts = self.engine.facts
        parts = (str(FORMAT), facts.engine, facts.model, facts.voice, facts.sound, language, dummy.words)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def file(self, key: str) -> Path | None:
        return self.folder / f"{self.engine.facts.voice}.dummy-{key}.npz" if self.folder else None

    def _read_or_make(self, key: str, dummy: Dummy, language: str) -> DummyTakes | None:
        file = self.file(key)
        spoken = read_takes(file, self.engine.facts.sample_rate) if file else []
        if not spoken:
            self.announce(t("saying the appended sentence by itself, {count} times", count=WANTED_TAKES))
            spoken = self._speak(dummy, language)
            if file and spoken:
                keep_takes(file, spoken, self.engine.facts.sample_rate)
        prepared = prepare_takes(spoken, self.engine.facts.sample_rate) if spoken else None
        if prepared is None or not prepared.takes:
            log.warning("the dummy sentence could not be said alone; the cut works without calibration")
            return None
        log.info("dummy takes: %s s, agreement %.2f", [round(s, 2) for s in prepared.seconds], prepared.agreement)
        return prepared

    def _speak(self, dummy: Dummy, language: str) -> list[Samples]:
        spoken: list[Samples] = []
        for seed in range(FIRST_SEED, FIRST_SEED + MAX_CALIBRATION_TAKES):
            if len(spoken) == WANTED_TAKES:
                break
            try:
                spoken.append(_as_kept(self.engine.speak(dummy.words, language, seed).samples))
            except TakeFailed as failure:
                log.info("a take of the dummy failed: %s", failure.reason)
        return spoken


def _as_kept(samples: Samples) -> Samples:
    """Rounded to 16 bits as in the file: a restarted worker must cut exactly as this one does."""
    return (_rounded(samples) / np.float32(32767)).astype(np.float32)


def _rounded(samples: Samples) -> npt.NDArray[np.int16]:
    return np.round(np.clip(samples, -1.0, 1.0) * 32767).astype(np.int16)


def keep_takes(file: Path, takes: list[Samples], sample_rate: int) -> None:
    """If the folder cannot be written, the next start makes the takes again."""
    out = io.BytesIO()
    arrays = {f"take{i}": _rounded(take) for i, take in enumerate(takes)}
    np.savez_compressed(out, allow_pickle=False, sample_rate=np.int64(sample_rate), **arrays)
    try:
        write_whole(file, out.getvalue())
    except OSError as error:
        log.warning("could not keep the takes of the dummy in %s: %s", file, error)


def kept_takes(folder: Path) -> list[tuple[Path, DummyTakes]]:
    """The usable takes of all dummies in a folder, the newest first."""
    files = sorted(folder.glob("*.dummy-*.npz"), key=lambda file: file.stat().st_mtime, reverse=True)
    found = []
    for file in files:
        for sample_rate in KNOWN_RATES:
            if takes := read_takes(file, sample_rate):
                found.append((file, prepare_takes(takes, sample_rate)))
    return found


KNOWN_RATES = (24_000, 22_050)
"""Hertz, of the two engines"""


def read_takes(file: Path, sample_rate: int) -> list[Samples]:
    """The kept takes, (samples,) float32 each; empty if the file is missing, damaged or of another rate (Hertz)."""
    try:
        # Read into memory first: numpy leaves a file open that it cannot parse.
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
            if int(stored["sample_rate"]) != sample_rate:
                return []
            names = sorted(name for name in stored.files if name.startswith("take"))
            takes = [stored[name] for name in names]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        log.warning("the kept takes of the dummy in %s are not usable: %s", file, error)
        return []
    if any(take.dtype != np.int16 or take.ndim != 1 for take in takes):
        return []
    return [(take / np.float32(32767)).astype(np.float32) for take in takes]
