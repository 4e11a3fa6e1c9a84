"""One line to finished audio, on real draft speech."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from server.audio.samples import Audio
from server.contract.http import MAX_SEED
from server.cut.result import Cut, Evidence
from server.engines import Engine, EngineFacts, EngineSettings
from server.engines.draft.engine import DraftEngine, open_draft, true_gap
from server.errors import NarratorError, TakeFailed
from server.takes.calibration import Calibration
from server.takes.dummy import dummy_for, join
from server.takes.line import PreparedLine, prepare_line
from server.takes.take import LineTakes, Take, TakeSettings, is_good, retake_seed, sound_fingerprint


def make_take(
    engine: Engine, line: PreparedLine, settings: TakeSettings, calibration: Calibration | None = None
) -> Take:
    """One line with an engine that speaks one at a time, as the worker does it."""
    takes = LineTakes(line, settings, calibration)
    while True:
        request = takes.request()
        try:
            spoken: Audio | TakeFailed = engine.speak(request.text, request.language, request.seed)
        except TakeFailed as failure:
            spoken = failure
        if (take := takes.add(spoken)) is not None:
            return take


@pytest.fixture(scope="module")
def engine() -> DraftEngine:
    return open_draft(EngineSettings("draft"), lambda step: None)


def test_a_take_ends_with_exactly_a_fifth_of_a_second_of_silence(engine: DraftEngine) -> None:
    take = make_take(engine, prepare_line("오늘은 날씨가 좋네요.", "Korean", 1), TakeSettings())
    tail = round(0.2 * take.audio.sample_rate)
    assert not take.audio.samples[-tail:].any()
    assert take.audio.samples[-tail - take.audio.sample_rate // 5 : -tail].any(), "and no long silence before it"


def test_a_take_is_shorter_than_what_was_spoken_by_the_dummy(engine: DraftEngine) -> None:
    line = prepare_line("오늘은 날씨가 참 좋네요.", "Korean", 1)
    padded, _ = join(line.spoken_text, line.dummy)
    spoken = engine.speak(padded, "Korean", 1)
    alone = engine.speak(line.text, "Korean", 1)
    take = make_take(engine, line, TakeSettings())
    assert take.audio.seconds < spoken.seconds - 1.0
    assert abs(take.audio.seconds - alone.seconds) < 0.8


@dataclasses.dataclass
class Failing:
    """An engine whose first takes fail, as a model does that never ends."""

    facts: EngineFacts
    speech: Audio
    failures: int
    seeds: list[int] = dataclasses.field(default_factory=list)

    def speak(self, text: str, language: str, seed: int) -> Audio:
        self.seeds.append(seed)
        if len(self.seeds) <= self.failures:
            raise TakeFailed(f"frame cap reached, take {len(self.seeds)}")
        return self.speech

    def close(self) -> None:
        pass

    def memory_bytes(self) -> dict[str, int]:
        return {}


def failing(engine: DraftEngine, failures: int) -> Failing:
    return Failing(engine.facts, engine.speak("하나 둘 셋.   ...  그리고 잠시 쉬어가겠습니다.", "Korean", 0), failures)


def test_a_failed_take_is_followed_by_one_with_another_seed(engine: DraftEngine) -> None:
    broken = failing(engine, 2)
    take = make_take(broken, prepare_line("하나 둘 셋.", "Korean", 5), TakeSettings(max_takes=3, confidence=0.0))
    assert broken.seeds == [5, retake_seed(5, 1), retake_seed(5, 2)]
    assert (take.seed, take.takes) == (retake_seed(5, 2), 3)


def test_when_every_take_fails_there_is_no_audio_but_the_reasons(engine: DraftEngine) -> None:
    with pytest.raises(NarratorError) as error:
        make_take(failing(engine, 9), prepare_line("하나 둘 셋.", "Korean", 5), TakeSettings(max_takes=2))
    assert error.value.code == "take_failed"
    assert error.value.params == {"takes": 2, "reason": "frame cap reached, take 1; frame cap reached, take 2"}


def cut_with(confidence: float, dummy: str = "found", decayed: bool = True) -> Cut:
    nothing = np.zeros(0, np.float32)
    evidence = Evidence(nothing, (), (0, 0), np.zeros(0, np.int64), nothing)
    return Cut(1000, confidence, dummy, "calibrated", decayed, evidence)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cut", "good"),
    [
        (cut_with(0.9), True),
        (cut_with(0.7), False),
        (cut_with(0.9, "missing", decayed=False), False),
        (cut_with(0.9, "missing", decayed=True), True),
        (cut_with(0.9, "truncated"), True),
        (dataclasses.replace(cut_with(0.65), method="uncalibrated"), True),
        (dataclasses.replace(cut_with(0.5), method="uncalibrated"), False),
    ],
)
def test_a_take_is_good_when_its_cut_is_sure_and_its_ending_whole(cut: Cut, good: bool) -> None:
    assert is_good(cut, 0.8) is good


def test_an_unsure_cut_is_followed_by_retakes_and_the_best_is_delivered_as_doubtful(
    engine: DraftEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = iter([cut_with(0.3), cut_with(0.99, "missing", decayed=False), cut_with(0.6), cut_with(0.5)])
    monkeypatch.setattr("server.takes.take.find_cut", lambda *args: next(cuts))
    broken = failing(engine, 0)
    take = make_take(broken, prepare_line("하나 둘 셋.", "Korean", 5), TakeSettings(max_takes=4))
    assert len(broken.seeds) == take.takes == 4
    assert take.doubtful
    assert take.cut.confidence == 0.6, "a model that stopped early is worse than an unsure cut"
    assert take.seed == retake_seed(5, 2)


def test_a_sure_retake_ends_the_search_and_is_not_doubtful(
    engine: DraftEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = iter([cut_with(0.3), cut_with(0.95)])
    monkeypatch.setattr("server.takes.take.find_cut", lambda *args: next(cuts))
    take = make_take(failing(engine, 0), prepare_line("하나 둘 셋.", "Korean", 5), TakeSettings(max_takes=4))
    assert (take.takes, take.doubtful, take.seed) == (2, False, retake_seed(5, 1))


def test_the_reference_cut_is_a_setting_and_speaks_once(engine: DraftEngine) -> None:
    broken = failing(engine, 0)
    take = make_take(broken, prepare_line("하나 둘 셋.", "Korean", 5), TakeSettings(cut="reference"))
    assert take.cut.method == "reference"
    assert (len(broken.seeds), take.doubtful) == (1, False)


def test_a_calibrated_take_ends_in_the_true_gap(engine: DraftEngine) -> None:
    calibration = Calibration(engine, None)
    text = "어제는 두 시간 동안 산책했고, 오늘은 집에 있었습니다."
    padded, dummy_at = join(text, dummy_for("Korean", text))
    take = make_take(engine, prepare_line(text, "Korean", 11), TakeSettings(), calibration)
    start, end = true_gap(engine.render(padded, "Korean", take.seed), dummy_at)
    assert start <= take.cut.sample <= end
    assert take.cut.method == "calibrated" and take.cut.confidence > 0.9


def test_retake_seeds_differ_and_stay_in_range() -> None:
    seeds = {retake_seed(seed, attempt) for seed in (0, 1, MAX_SEED) for attempt in range(20)}
    assert len(seeds) == 60
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


def test_the_sound_fingerprint_changes_with_what_can_be_heard(engine: DraftEngine) -> None:
    plain = sound_fingerprint(engine.facts, TakeSettings())
    assert plain == sound_fingerprint(engine.facts, TakeSettings(max_takes=9))
    assert plain != sound_fingerprint(engine.facts, TakeSettings(dummy_suffix="끝."))
    assert plain != sound_fingerprint(dataclasses.replace(engine.facts, sound="other"), TakeSettings())
    assert np.all([character in "0123456789abcdef" for character in plain])
