from __future__ import annotations

import numpy as np
import pytest

from server.audio.samples import Audio
from server.takes.checks import take_fault

RATE = 24_000
TEXT = "오늘은 날씨가 참 좋네요.  ...  그리고 잠시 쉬어가겠습니다."


def noise(seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "fault"),
    [
        (noise(5), None),
        (noise(0.3), "too short"),
        (noise(60), "too long"),
        (np.zeros(5 * RATE, np.float32), "silent"),
        (np.full(5 * RATE, 1e-5, np.float32), "silent"),
        (np.zeros(0, np.float32), "silent"),
        (np.full(5 * RATE, np.nan, np.float32), "not finite"),
        (np.append(noise(5), np.float32(np.inf)), "not finite"),
    ],
)
def test_what_no_cut_can_save_is_named(samples: np.ndarray, fault: str | None) -> None:
    found = take_fault(Audio(samples, RATE), TEXT, "Korean")
    assert found is None if fault is None else fault in str(found)
