"""The benchmark of the early stop measures what it says: real loop, real codec, recorded speech for the detector."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import loops
import pytest

from server.engines.qwen.loop.engine import with_loop

before = list(sys.path)
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "bench"))

import bench_models  # noqa: E402  (the path above)
import bench_stop  # noqa: E402

sys.path[:] = before


@pytest.fixture(scope="module")
def recordings() -> list[bench_stop.Recording]:
    return list(bench_stop.draft_recordings(["ko", "en"], 2, decoys=False, first_seed=3))


def test_a_recording_is_heard_as_an_engine_would_have_it_heard(recordings: list[bench_stop.Recording]) -> None:
    for recording in recordings:
        outcome = bench_stop.detect(recording)
        assert outcome.stopped_s is not None and outcome.questions >= 1
        assert outcome.early_s <= 0.01 and outcome.late_s <= 0.01
        assert recording.gap_s[1] + 0.5 < outcome.stopped_s < recording.seconds


def test_the_report_counts_what_is_wrong(
    recordings: list[bench_stop.Recording], capsys: pytest.CaptureFixture[str]
) -> None:
    right = bench_stop.detect(recordings[0])
    early = bench_stop.Outcome(recordings[1], 3.0, recordings[1].gap_s[0] - 0.3, 4, 0.01)
    late = bench_stop.Outcome(recordings[2], 3.0, recordings[2].gap_s[1] + 0.3, 4, 0.01)
    spoken_on = bench_stop.Outcome(recordings[3], None, 0.0, 4, 0.01)
    bench_stop.report("some", [right, early, late, spoken_on], bad=5)
    said = capsys.readouterr().out
    assert "4 takes, 3 stopped (75 %), exact 1" in said and "clipped 1, leaked 1" in said
    assert recordings[1].text in said and recordings[2].text in said and recordings[3].text not in said


def test_both_arms_speak_the_same_lines_and_the_full_one_decodes_all_of_them(
    tiny_checkpoint: Path, recordings: list[bench_stop.Recording]
) -> None:
    model: Any = loops.load(tiny_checkpoint)
    engine = with_loop(bench_models.stock_engine(model, 20), lambda _phrase: None, 4)
    full = bench_stop.speak_all(engine, recordings, stop=False)
    early = bench_stop.speak_all(engine, recordings, stop=True)
    frames = sum(len(recording.samples) // bench_stop.FRAME for recording in recordings)
    assert full["decoded"] == full["frames"] == frames and full["stopped"] == 0
    assert early["stopped"] == 4 and early["again"] == full["again"] == 0
    assert early["decoded"] <= early["frames"] < 0.9 * frames
    assert early["delivered_s"] == pytest.approx(full["delivered_s"], abs=0.1)


def test_the_burst_of_the_dummys_first_consonant_is_not_left_with_the_sentence() -> None:
    """The second Chinese dummy begins with zh, 20 ms of burst and 30 ms of hiss: that was taken for a syllable."""
    draft = bench_stop.Draft24()
    calibration = bench_stop.Calibration(draft, None)
    for number in (3, 5, 15, 19):
        recording = draft.record("雨停了。现在我们去河边走一走。", "Chinese", 7 + 7919 * number, calibration)
        outcome = bench_stop.detect(recording)
        assert outcome.stopped_s is not None and outcome.late_s <= 0.01 and outcome.early_s <= 0.01
