"""The worker: lines in, rows to the engine, takes judged, answers out. Real draft speech, real cut."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from server.audio.samples import Audio
from server.engines import EngineFacts, EngineSettings, TakeRequest
from server.engines.draft.engine import DraftEngine, open_draft
from server.errors import TakeFailed
from server.takes.calibration import Calibration
from server.takes.dummy import join
from server.takes.line import prepare_line
from server.takes.take import TakeSettings
from server.worker.lines import LineSessions, is_beyond_use

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def draft() -> DraftEngine:
    return open_draft(EngineSettings("draft"), lambda step: None)


@dataclass
class Rows:
    """Draft speech behind the interface of a batched engine: up to `width` rows at a time, the last one ends first."""

    inner: DraftEngine
    width: int = 3
    fail_first: set[str] = field(default_factory=set)
    """Texts whose first take fails"""
    begun: list[tuple[int, str]] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    """What was spoken outside speak_rows: calibration"""
    running: bool = False

    @property
    def facts(self) -> EngineFacts:
        return self.inner.facts

    def speak(self, text: str, language: str, seed: int) -> Audio:
        assert not self.running, "the engine is in the middle of a batch"
        self.alone.append(text)
        return self.inner.speak(text, language, seed)

    def speak_rows(
        self,
        more: Callable[[int], Sequence[tuple[int, TakeRequest]]],
        deliver: Callable[[int, Audio | TakeFailed], None],
        is_cancelled: Callable[[int], bool],
    ) -> None:
        self.running = True
        active: list[tuple[int, TakeRequest]] = []
        while True:
            active += more(self.width - len(active))
            active = [(number, row) for number, row in active if not is_cancelled(number)]
            if not active:
                break
            number, row = active.pop()
            self.begun.append((number, row.text))
            text = next((text for text in self.fail_first if row.text.startswith(text)), None)
            if text is not None:
                self.fail_first.discard(text)
                deliver(number, TakeFailed("frame cap"))
            else:
                deliver(number, self.heard(row))
        self.running = False

    def heard(self, row: TakeRequest) -> Audio:
        """The row's speech, as far as its listener lets it go on."""
        whole = self.inner.speak(row.text, row.language, row.seed)
        if row.stop is None:
            return whole
        seconds = row.stop.first_s
        while seconds < whole.seconds:
            so_far = Audio(whole.samples[: round(seconds * whole.sample_rate)], whole.sample_rate)
            if row.stop.is_met(so_far):
                return so_far
            seconds += row.stop.every_s
        return whole

    def close(self) -> None:
        pass

    def memory_bytes(self) -> dict[str, int]:
        return {}


class Ended(BaseException):
    """Nothing more is to be done."""


class Inbox(queue.Queue[dict[str, Any]]):
    """Ends the work instead of waiting for ever."""

    def get(self, block: bool = True, timeout: float | None = None) -> dict[str, Any]:
        if block and self.empty():
            raise Ended
        return super().get(block, timeout)


def work(engine: Any, *requests: dict[str, Any], cancelled: set[int] | None = None) -> dict[int, dict[str, Any]]:
    """The answers by request."""
    inbox = Inbox()
    for request in requests:
        inbox.put(request)
    answers: dict[int, dict[str, Any]] = {}
    calibration = Calibration(engine, None)
    sessions = LineSessions(
        engine,
        TakeSettings(),
        calibration,
        inbox,
        cancelled if cancelled is not None else set(),
        lambda header, body: answers.update({header["id"]: {**header, "body": body}}),
    )
    with pytest.raises(Ended):
        sessions.work()
    return answers


def speak(number: int, text: str, language: str = "Korean") -> dict[str, Any]:
    line = prepare_line(text, language, number)
    header: dict[str, Any] = json.loads(json.dumps({"do": "speak", "id": number, **asdict(line)}))
    return header


TEXTS = ["하나 둘 셋 넷.", "오늘은 날씨가 좋네요.", "내일은 비가 옵니다.", "정말 그럴까요?", "끝까지 봐 주세요."]


@pytest.mark.parametrize("batched", [False, True])
def test_every_line_gets_its_own_answer_batched_or_not(draft: DraftEngine, batched: bool) -> None:
    engine = Rows(draft) if batched else draft
    requests = [speak(number, text) for number, text in enumerate(TEXTS, 1)]
    together = work(engine, *requests)
    assert {number: answer["is"] for number, answer in together.items()} == dict.fromkeys(range(1, 6), "done")
    for request in requests:
        alone = work(Rows(draft) if batched else draft, request)
        assert together[request["id"]]["body"] == alone[request["id"]]["body"]


def test_a_failed_row_is_spoken_again_while_the_others_go_on(draft: DraftEngine) -> None:
    engine = Rows(draft, fail_first={TEXTS[1]})
    answers = work(engine, *(speak(number, text) for number, text in enumerate(TEXTS, 1)))
    assert [answers[number]["takes"] for number in range(1, 6)] == [1, 2, 1, 1, 1]


def test_what_the_engine_refuses_is_answered_and_stops_nothing(draft: DraftEngine) -> None:
    """Draft speech reads no kanji."""
    answers = work(draft, speak(1, "하나 둘 셋."), speak(2, "漢字。", "Japanese"), speak(3, "넷입니다."))
    assert [answers[number]["is"] for number in (1, 2, 3)] == ["done", "failed", "done"]
    assert answers[2]["code"] == "kanji_unreadable"


def test_another_languages_dummy_is_said_between_batches_and_never_within_one(draft: DraftEngine) -> None:
    """`speak` inside `speak_rows` would trample on the batch: Rows asserts that it does not happen."""
    engine = Rows(draft)
    answers = work(
        engine,
        speak(1, TEXTS[0]),
        speak(2, "This is a sentence in English.", "English"),
        speak(3, TEXTS[1]),
        speak(4, "Das ist ein Satz auf Deutsch.", "German"),
    )
    assert {answer["is"] for answer in answers.values()} == {"done"}
    assert len(answers) == 4
    assert len(set(engine.alone)) == 3


def test_a_cancelled_line_leaves_the_batch_and_its_place_is_used(draft: DraftEngine) -> None:
    engine = Rows(draft, width=1)
    cancelled = {2}
    answers = work(engine, *(speak(number, text) for number, text in enumerate(TEXTS, 1)), cancelled=cancelled)
    assert answers[2]["is"] == "cancelled"
    assert 2 not in {number for number, _ in engine.begun}
    assert [answers[number]["is"] for number in (1, 3, 4, 5)] == ["done"] * 4


def test_a_fault_of_the_engine_is_answered_for_every_open_line(draft: DraftEngine) -> None:
    class Broken(Rows):
        def speak_rows(self, more: Any, deliver: Any, is_cancelled: Any) -> None:
            more(2)
            raise KeyError("a bug")

    answers = work(Broken(draft), speak(1, TEXTS[0]), speak(2, TEXTS[1]))
    assert {answer["code"] for answer in answers.values()} == {"internal"}
    assert len(answers) == 2


def test_lines_are_delivered_from_takes_that_were_stopped_early(draft: DraftEngine) -> None:
    answers = work(Rows(draft), speak(1, TEXTS[0]), speak(2, TEXTS[1]))
    for number, text in ((1, TEXTS[0]), (2, TEXTS[1])):
        header = answers[number]
        line = prepare_line(text, "Korean", number)
        padded, _ = join(line.spoken_text, line.dummy)
        whole = draft.speak(padded, "Korean", header["seed"])
        assert (header["dummy"], header["takes"], header["doubtful"]) == ("begun", 1, False)
        assert header["audio_seconds"] < header["spoken_seconds"] < whole.seconds - 0.3


class OutOfMemoryError(RuntimeError):
    """torch's has this name."""


@pytest.mark.parametrize(
    ("error", "beyond"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (OutOfMemoryError("tried to allocate"), True),
        (MemoryError(), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (KeyError("x"), False),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_what_no_engine_survives(error: Exception, beyond: bool) -> None:
    assert is_beyond_use(error) is beyond


def test_what_our_modules_log_reaches_the_parents_log_and_libraries_do_not_drown_it() -> None:
    """The parent reads the worker's standard error; without a handler Python drops INFO lines."""
    program = (
        "import logging; from server.worker.__main__ import log_to_stderr; log_to_stderr();"
        "logging.getLogger('server.calibration').info('three takes'); logging.getLogger('numba').info('byte flow')"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stderr == "three takes\n" and ran.stdout == ""
