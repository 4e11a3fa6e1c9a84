"""A take is stopped once its dummy has surely begun, and never before: on real draft speech that grows bit by bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from server.audio.samples import Audio, Samples
from server.cut.dummy_takes import DummyTakes
from server.cut.features import certain_frames, extract_features, mel_power
from server.cut.find import find_cut
from server.engines import EngineFacts, EngineSettings, TakeRequest
from server.engines.draft.engine import DraftEngine, DraftSpeech, open_draft, true_gap
from server.errors import TakeFailed
from server.takes.calibration import Calibration
from server.takes.dummy import Dummy, dummy_for, join
from server.takes.early_stop import (
    EVERY_S,
    MAX_MISMATCH,
    MIN_AGREEMENT,
    MIN_DUMMY_S,
    MIN_MARGIN,
    MIN_OPENING,
    MIN_PAUSE_S,
    MIN_QUALITY,
    STOPPED_CONFIDENCE,
    DummyDetector,
    Onset,
    detector_for,
    is_certain,
)
from server.takes.line import PreparedLine, prepare_line
from server.takes.take import LineTakes, TakeSettings

FRAME_S = 0.08
LINES = [
    ("Korean", "이 골목에는 오래된 빵집이 하나 있습니다. 강아지 세 마리가 마당을 뛰어다녔습니다."),
    ("Korean", "우리는 문을 닫았다. 그리고 잠시 기다렸다가 다시 열었다."),
    ("English", "The rain had stopped. And now we shall see what the morning brings."),
    ("English", "The lighthouse keeper wrote every evening, in a small and careful hand, what the sea had done."),
    ("German", "Der Regen hörte auf, und auf der Straße standen überall Pfützen."),
]


@pytest.fixture(scope="module")
def engine() -> DraftEngine:
    return open_draft(EngineSettings("draft"), lambda step: None)


@pytest.fixture(scope="module")
def calibration(engine: DraftEngine) -> Calibration:
    return Calibration(engine, None)


def render(engine: DraftEngine, language: str, text: str, seed: int) -> tuple[Dummy, DraftSpeech, tuple[int, int]]:
    dummy = dummy_for(language, text)
    padded, dummy_at = join(text, dummy)
    speech = engine.render(padded, language, seed)
    return dummy, speech, true_gap(speech, dummy_at)


def takes_of(calibration: Calibration, dummy: Dummy, language: str) -> DummyTakes:
    takes = calibration.takes(dummy, language)
    assert takes is not None
    return takes


def grow(detector: DummyDetector, samples: Samples, sample_rate: int) -> int | None:
    """Samples after which it was enough, asked as an engine asks."""
    frames = max(1, math.ceil(detector.first_s / FRAME_S))
    while frames * FRAME_S * sample_rate <= len(samples):
        stopped_at = round(frames * FRAME_S * sample_rate)
        if detector.is_met(Audio(samples[:stopped_at], sample_rate)):
            return stopped_at
        frames += round(detector.every_s / FRAME_S)
    return None


@pytest.mark.parametrize(("language", "text"), LINES)
@pytest.mark.parametrize("seed", [3, 11])
def test_a_take_is_stopped_in_its_dummy_and_cut_in_the_true_gap(
    engine: DraftEngine, calibration: Calibration, language: str, text: str, seed: int
) -> None:
    dummy, speech, (gap_start, gap_end) = render(engine, language, text, seed)
    samples, rate = speech.audio.samples, speech.audio.sample_rate
    detector = detector_for(text, dummy, takes_of(calibration, dummy, language))
    assert detector is not None
    stopped_at = grow(detector, samples, rate)
    assert stopped_at is not None and detector.cut is not None and detector.judged_samples == stopped_at
    # Not before 0.6 s of the dummy were spoken, and not only at its end.
    assert gap_end + (MIN_DUMMY_S - 0.1) * rate < stopped_at < len(samples) - 0.2 * rate
    assert gap_start - 0.01 * rate <= detector.cut.sample <= gap_end + 0.01 * rate
    assert (detector.cut.dummy, detector.cut.confidence) == ("begun", STOPPED_CONFIDENCE)
    # The same pause as with the whole dummy at hand.
    whole = find_cut(samples, rate, text, dummy.text, detector.takes)
    assert abs(whole.sample - detector.cut.sample) < 0.05 * rate


def test_a_take_whose_dummy_is_missing_is_never_stopped(engine: DraftEngine, calibration: Calibration) -> None:
    for language, text in LINES:
        dummy = dummy_for(language, text)
        detector = detector_for(text, dummy, takes_of(calibration, dummy, language))
        assert detector is not None
        spoken = engine.speak(text, language, 5)
        assert grow(detector, np.pad(spoken.samples, (0, spoken.sample_rate * 3)), spoken.sample_rate) is None


def test_another_sentence_in_the_dummys_place_stops_nothing(engine: DraftEngine, calibration: Calibration) -> None:
    text, other = LINES[0][1], "  ...  그러나 아무도 그 말을 믿지 않았습니다."
    dummy = dummy_for("Korean", text)
    detector = detector_for(text, dummy, takes_of(calibration, dummy, "Korean"))
    assert detector is not None
    spoken = engine.speak(text + other, "Korean", 5)
    assert grow(detector, spoken.samples, spoken.sample_rate) is None


def test_silence_and_noise_stop_nothing(calibration: Calibration) -> None:
    text = LINES[0][1]
    dummy = dummy_for("Korean", text)
    detector = detector_for(text, dummy, takes_of(calibration, dummy, "Korean"))
    assert detector is not None
    noise = np.random.default_rng(1).normal(0, 0.1, 9 * 22_050).astype(np.float32)
    for samples in (np.zeros_like(noise), noise, np.full_like(noise, np.nan)):
        assert grow(detector, samples, 22_050) is None


CERTAIN = Onset(dummy_s=1.0, quality=1.0, opening=1.0, pause_s=0.2, margin=1.0, mismatch=0.0)


@pytest.mark.parametrize(
    ("change", "certain"),
    [
        ({}, True),
        ({"dummy_s": MIN_DUMMY_S - 0.01}, False),
        ({"quality": MIN_QUALITY - 0.01}, False),
        ({"opening": MIN_OPENING - 0.01}, False),
        ({"pause_s": MIN_PAUSE_S - 0.01}, False),
        ({"margin": MIN_MARGIN - 0.01}, False),
        ({"mismatch": MAX_MISMATCH + 0.01}, False),
        ({"mismatch": -MAX_MISMATCH - 0.01}, False),
        ({"mismatch": -MAX_MISMATCH + 0.01}, True),
    ],
)
def test_everything_must_speak_for_it(change: dict[str, float], certain: bool) -> None:
    assert is_certain(replace(CERTAIN, **change), MIN_DUMMY_S) is certain


def test_more_must_be_spoken_of_a_dummy_that_begins_as_the_text_does(calibration: Calibration) -> None:
    plain, shared = LINES[0][1], "비가 그쳤다. 그리고 그 아이가 환하게 웃었다."
    dummy = dummy_for("Korean", plain)
    assert dummy == dummy_for("Korean", shared)
    takes = takes_of(calibration, dummy, "Korean")
    detectors = [detector_for(text, dummy, takes) for text in (plain, shared)]
    assert detectors[0] is not None and detectors[1] is not None
    assert detectors[0]._min_dummy_s == MIN_DUMMY_S
    assert detectors[1]._min_dummy_s == pytest.approx(MIN_DUMMY_S + 3 / 12 * float(np.median(takes.seconds)))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "雨が上がって、みんな外に出ました。それでは東大の話をします。",
            "あめがあがって、みんなそとにでました。それではとうだいのはなしをします。",
        ),
        (
            "犬を連れて外に出ました。それでは灯台の側で待ちましょう。",
            "いぬをつれてそとにでました。それではとうだいのそばでまちましょう。",
        ),
    ],
)
def test_what_is_written_in_kanji_and_sounds_like_the_dummy_is_not_taken_for_it(
    engine: DraftEngine, calibration: Calibration, written: str, said: str
) -> None:
    """Draft speech reads kana; a real engine says the same of the kanji. Letters do not show that both sound alike."""
    first = dummy_for("Japanese", "")
    assert detector_for(written, first, takes_of(calibration, first, "Japanese")) is None
    dummy = dummy_for("Japanese", written)
    assert dummy != first
    takes = takes_of(calibration, dummy, "Japanese")
    for seed in range(4):
        padded, dummy_at = join(said, dummy)
        speech = engine.render(padded, "Japanese", seed)
        gap_start, gap_end = true_gap(speech, dummy_at)
        rate = speech.audio.sample_rate
        detector = detector_for(written, dummy, takes)
        assert detector is not None
        assert grow(detector, speech.audio.samples, rate) is not None and detector.cut is not None
        assert gap_start - 0.01 * rate <= detector.cut.sample <= gap_end + 0.01 * rate


def test_where_nothing_is_certain_nobody_listens(calibration: Calibration) -> None:
    dummy = dummy_for("Korean", "")
    takes = takes_of(calibration, dummy, "Korean")
    assert detector_for("짧은 글.", dummy, takes) is not None
    assert detector_for("짧은 글.", dummy, None) is None
    assert detector_for("짧은 글.", dummy, replace(takes, agreement=MIN_AGREEMENT - 0.01)) is None
    assert detector_for("짧은 글.", dummy, replace(takes, takes=takes.takes[:1])) is None
    assert detector_for("그리고 잠시 쉬어갑니다.", dummy, takes) is None
    # "삼 초" in the text would be the same to the ear, and not in letters.
    figure = dummy_for("Korean", "", "3초만 여기서 조용히 쉬어가겠습니다.")
    assert detector_for("짧은 글.", figure, takes) is None


def test_listening_bit_by_bit_hears_what_listening_at_once_does(engine: DraftEngine) -> None:
    spoken = engine.speak(LINES[0][1], "Korean", 1)
    samples, rate = spoken.samples, spoken.sample_rate
    whole, _ = mel_power(samples, rate)
    known = None
    for seconds in (0.01, 0.5, 1.0, 1.32, 2.0):
        part = samples[: round(seconds * rate)]
        known = extract_features(part, rate, known).mel[: certain_frames(len(part), rate)]
        # Up to the mean of all samples, which is taken off first.
        assert np.allclose(known, whole[: len(known)], rtol=1e-2, atol=1e-4 * whole.max())
        assert len(part) < 0.02 * rate or len(known) * 0.005 > seconds - 0.02


# --- a line's takes


class BitByBit:
    """Draft speech from an engine that asks each row's stop condition, as the qwen engine does."""

    def __init__(self, engine: DraftEngine) -> None:
        self.engine = engine
        self.facts: EngineFacts = engine.facts
        self.spoken: list[float] = []

    def speak(self, text: str, language: str, seed: int) -> Audio:
        return self.engine.speak(text, language, seed)

    def row(self, row: TakeRequest) -> Audio:
        whole = self.speak(row.text, row.language, row.seed)
        stopped_at = None
        if row.stop is not None:
            assert isinstance(row.stop, DummyDetector)
            stopped_at = grow(row.stop, whole.samples, whole.sample_rate)
        spoken = whole if stopped_at is None else Audio(whole.samples[:stopped_at], whole.sample_rate)
        self.spoken.append(spoken.seconds)
        return spoken


def take_of(
    engine: BitByBit, line: PreparedLine, settings: TakeSettings, calibration: Calibration
) -> Callable[[], object]:
    takes = LineTakes(line, settings, calibration)

    def once() -> object:
        return takes.add(engine.row(takes.request()))

    return once


def test_a_line_is_delivered_from_the_take_that_was_stopped(engine: DraftEngine, calibration: Calibration) -> None:
    speaker = BitByBit(engine)
    for language, text in LINES:
        line = prepare_line(text, language, 7)
        stopped = LineTakes(line, TakeSettings(), calibration)
        take = stopped.add(speaker.row(stopped.request()))
        full = LineTakes(line, TakeSettings(early_stop=False), calibration)
        assert full.request().stop is None
        whole = full.add(speaker.row(full.request()))
        assert take is not None and whole is not None
        assert (take.takes, take.doubtful, take.cut.dummy, whole.cut.dummy) == (1, False, "begun", "found")
        assert take.spoken_seconds == speaker.spoken[-2] < speaker.spoken[-1] - 0.3 == whole.spoken_seconds - 0.3
        # The same line to the ear: what follows its last sound differs by some milliseconds at most.
        assert abs(take.audio.seconds - whole.audio.seconds) < 0.03
        length = min(len(take.audio.samples), len(whole.audio.samples)) - round(0.35 * take.audio.sample_rate)
        assert np.array_equal(take.audio.samples[:length], whole.audio.samples[:length])


def test_who_wants_surer_cuts_has_takes_spoken_to_their_end(calibration: Calibration) -> None:
    line = prepare_line(LINES[0][1], "Korean", 7)
    assert LineTakes(line, TakeSettings(confidence=STOPPED_CONFIDENCE), calibration).request().stop is not None
    assert LineTakes(line, TakeSettings(confidence=1.0), calibration).request().stop is None
    assert LineTakes(line, TakeSettings(cut="reference"), calibration).request().stop is None
    assert LineTakes(line, TakeSettings()).request().stop is None


def test_each_take_has_a_detector_of_its_own(engine: DraftEngine, calibration: Calibration) -> None:
    takes = LineTakes(prepare_line(LINES[0][1], "Korean", 7), TakeSettings(), calibration)
    speaker = BitByBit(engine)
    first = takes.request()
    assert takes.request().stop is first.stop
    speaker.row(first)  # its detector stops it, but then the take fails all the same
    assert takes.add(TakeFailed("audio that is not finite")) is None
    second = takes.request()
    assert second.stop is not first.stop and second.seed != first.seed
    take = takes.add(speaker.row(second))
    assert take is not None and (take.takes, take.cut.dummy) == (2, "begun")


def test_a_take_that_went_on_after_it_was_enough_is_cut_as_a_whole_one(
    engine: DraftEngine, calibration: Calibration
) -> None:
    """An engine may restart a row and not ask again: the stop of the first attempt says nothing about this take."""
    takes = LineTakes(prepare_line(LINES[0][1], "Korean", 7), TakeSettings(), calibration)
    row = takes.request()
    speaker = BitByBit(engine)
    speaker.row(row)
    take = takes.add(speaker.speak(row.text, row.language, row.seed))
    assert take is not None and take.cut.dummy == "found"


def test_a_question_that_was_on_its_way_changes_nothing(engine: DraftEngine, calibration: Calibration) -> None:
    """On a card the next question may be asked before the yes is known."""
    language, text = LINES[0]
    dummy, speech, _ = render(engine, language, text, 3)
    samples, rate = speech.audio.samples, speech.audio.sample_rate
    detector = detector_for(text, dummy, takes_of(calibration, dummy, language))
    assert detector is not None
    stopped_at = grow(detector, samples, rate)
    assert stopped_at is not None and stopped_at < len(samples)
    cut = detector.cut
    assert detector.is_met(Audio(samples[: stopped_at + round(0.1 * rate)], rate)) and detector.is_met(
        Audio(samples, rate)
    )
    assert detector.cut is cut and detector.judged_samples == stopped_at
    # A restarted take is judged from its start.
    assert not detector.is_met(Audio(samples[: stopped_at // 3], rate)) and detector.cut is None
    assert grow(detector, samples, rate) == stopped_at


def test_stopping_is_right_with_a_dummy_much_longer_than_the_line(engine: DraftEngine) -> None:
    """A stopped take is too short for the whole dummy, and must not be refused for that."""
    long = "그러면 이제부터 우리는 아주 오래된 등대 옆에 조용히 앉아서 저녁노을을 천천히 바라보며 잠시 쉬어가겠습니다."
    takes = LineTakes(prepare_line("아니요.", "Korean", 7, long), TakeSettings(), Calibration(engine, None))
    speaker = BitByBit(engine)
    take = takes.add(speaker.row(takes.request()))
    assert take is not None and (take.takes, take.cut.dummy, take.doubtful) == (1, "begun", False)
    assert speaker.spoken[0] < 3.0


def test_questions_come_as_often_as_a_card_is_looked_at() -> None:
    from server.engines.qwen.loop.batch import choose_schedule

    assert pytest.approx(choose_schedule("cuda").sync_frames * FRAME_S) == EVERY_S


def test_the_first_question_comes_when_the_shortest_way_of_saying_it_is_over(calibration: Calibration) -> None:
    dummy = dummy_for("Korean", "")
    takes = takes_of(calibration, dummy, "Korean")
    texts: Sequence[str] = ("네.", LINES[0][1], LINES[0][1] * 3)
    firsts = []
    for text in texts:
        detector = detector_for(text, dummy, takes)
        assert detector is not None
        firsts.append(detector.first_s)
    assert firsts == sorted(firsts) and 0.6 < firsts[0] < 1.0 and firsts[2] > 2 * firsts[1]
