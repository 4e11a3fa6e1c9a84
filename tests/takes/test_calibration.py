"""The dummy said alone: spoken once, kept, believed only when whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from server.audio.samples import Audio
from server.engines import EngineFacts, EngineSettings
from server.engines.draft.engine import open_draft
from server.errors import TakeFailed
from server.takes.calibration import MAX_CALIBRATION_TAKES, WANTED_TAKES, Calibration, read_takes
from server.takes.dummy import dummy_for


@dataclasses.dataclass
class Counting:
    """Draft speech that counts, and fails as often as it is told."""

    facts: EngineFacts
    inner: object
    failures: int = 0
    spoken: list[str] = dataclasses.field(default_factory=list)

    def speak(self, text: str, language: str, seed: int) -> Audio:
        self.spoken.append(text)
        if len(self.spoken) <= self.failures:
            raise TakeFailed("frame cap")
        return self.inner.speak(text, language, seed)  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        pass

    def memory_bytes(self) -> dict[str, int]:
        return {}


@pytest.fixture
def engine() -> Counting:
    draft = open_draft(EngineSettings("draft"), lambda step: None)
    return Counting(draft.facts, draft)


KOREAN = dummy_for("Korean", "")


def test_three_takes_are_spoken_once_and_kept_through_a_restart(engine: Counting, tmp_path: Path) -> None:
    first = Calibration(engine, tmp_path)
    takes = first.takes(KOREAN, "Korean")
    assert takes is not None
    assert len(takes.takes) == WANTED_TAKES == len(engine.spoken)
    assert set(engine.spoken) == {KOREAN.words}
    assert takes.agreement > 0.5
    first.takes(KOREAN, "Korean")
    again = Calibration(engine, tmp_path).takes(KOREAN, "Korean")
    assert len(engine.spoken) == WANTED_TAKES, "neither the second line nor the second start speaks again"
    assert again is not None
    for one, other in zip(takes.takes, again.takes, strict=True):
        assert np.array_equal(one.mel, other.mel), "a restarted worker must cut exactly as the first one did"


def test_another_language_or_dummy_or_voice_has_takes_of_its_own(engine: Counting, tmp_path: Path) -> None:
    calibration = Calibration(engine, tmp_path)
    other_voice = Calibration(
        dataclasses.replace(engine, facts=dataclasses.replace(engine.facts, voice="ff")), tmp_path
    )
    keys = {
        calibration.key(KOREAN, "Korean"),
        calibration.key(dummy_for("Korean", KOREAN.words), "Korean"),
        calibration.key(dummy_for("English", ""), "English"),
        other_voice.key(KOREAN, "Korean"),
    }
    assert len(keys) == 4


def test_failed_takes_are_made_up_for(engine: Counting) -> None:
    engine.failures = 4
    takes = Calibration(engine, None).takes(KOREAN, "Korean")
    assert takes is not None and len(takes.takes) == WANTED_TAKES
    assert len(engine.spoken) == 4 + WANTED_TAKES


def test_an_engine_that_cannot_say_the_dummy_is_not_asked_for_ever(engine: Counting) -> None:
    engine.failures = 1000
    calibration = Calibration(engine, None)
    assert calibration.takes(KOREAN, "Korean") is None
    assert calibration.takes(KOREAN, "Korean") is None
    assert len(engine.spoken) == MAX_CALIBRATION_TAKES


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "pickle"])
def test_a_damaged_file_is_made_anew(engine: Counting, tmp_path: Path, damage: str) -> None:
    calibration = Calibration(engine, tmp_path)
    calibration.takes(KOREAN, "Korean")
    file = calibration.file(calibration.key(KOREAN, "Korean"))
    assert file is not None
    whole = file.read_bytes()
    if damage == "pickle":
        np.savez(file, sample_rate=np.int64(22_050), take0=np.array([{}], dtype=object))
    else:
        file.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": bytes(len(whole))}[damage])
    assert read_takes(file, 22_050) == []
    engine.spoken.clear()
    assert Calibration(engine, tmp_path).takes(KOREAN, "Korean") is not None
    assert len(engine.spoken) == WANTED_TAKES
    assert read_takes(file, 22_050)


def test_a_folder_that_cannot_be_written_costs_only_time(engine: Counting, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert Calibration(engine, blocked / "voices").takes(KOREAN, "Korean") is not None
