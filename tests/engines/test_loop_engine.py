"""The qwen engine with our loop: from lines to takes, on the tiny model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from server.audio.samples import Audio
from server.contract.codes import ErrorCode
from server.engines import EngineSettings, TakeRequest, open_engine
from server.engines.qwen.load.imports import import_qwen_tts
from server.engines.qwen.loop.engine import BatchedQwenEngine, open_batched, sampling_of, with_loop
from server.engines.qwen.stock import SAMPLING, QwenEngine
from server.errors import TakeFailed, TextRefused

if TYPE_CHECKING:
    from conftest import ReferenceClip

TEXT = "그는 천천히 고개를 들었다.  ...  그리고 잠시 쉬어가겠습니다."
LINES = [(number, TakeRequest(f"{number} {TEXT[: 10 + 5 * number]}", "Korean", 40 + number)) for number in range(10)]


@pytest.fixture(scope="module")
def settings(
    tiny_checkpoint: Path, reference_clip: ReferenceClip, tmp_path_factory: pytest.TempPathFactory
) -> EngineSettings:
    return EngineSettings(
        engine="qwen",
        model=str(tiny_checkpoint),
        ref_audio=str(reference_clip.path),
        ref_text=reference_clip.text,
        device="cpu",
        prompt_dir=str(tmp_path_factory.mktemp("prompts")),
    )


@pytest.fixture(scope="module")
def engine(settings: EngineSettings) -> Iterator[BatchedQwenEngine]:
    import_qwen_tts()
    opened = open_batched(settings, lambda _phrase: None)
    assert isinstance(opened, BatchedQwenEngine)
    yield opened


@pytest.fixture(autouse=True)
def short_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model ends by chance, after some 30 frames; rows that go on longer are of no interest here."""
    monkeypatch.setattr("server.engines.qwen.loop.engine.frame_cap", lambda _text, _language: 45)


def speak(engine: BatchedQwenEngine, lines: Sequence[tuple[int, TakeRequest]]) -> dict[int, Audio | TakeFailed]:
    waiting, takes = list(lines), {}

    def more(free: int) -> list[tuple[int, TakeRequest]]:
        taken, waiting[:] = waiting[:free], waiting[free:]
        return taken

    def deliver(number: int, take: Audio | TakeFailed) -> None:
        assert number not in takes
        takes[number] = take

    engine.speak_rows(more, deliver, lambda _number: False)
    return takes


@pytest.fixture(scope="module")
def takes(engine: BatchedQwenEngine) -> dict[int, Audio | TakeFailed]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.engines.qwen.loop.engine.frame_cap", lambda _text, _language: 45)
        return speak(engine, LINES)


def test_every_line_is_delivered_and_is_audio_or_says_why_not(takes: dict[int, Audio | TakeFailed]) -> None:
    assert set(takes) == {number for number, _ in LINES}
    good = [take for take in takes.values() if isinstance(take, Audio)]
    assert len(good) >= 4
    for take in good:
        assert take.sample_rate == 24_000 and len(take.samples) % 1920 == 0
        assert 0.02 < float(np.sqrt(np.mean(take.samples**2))) < 0.5
    for take in takes.values():
        if isinstance(take, TakeFailed):
            assert take.reason == "frame cap of 45 reached"


def test_a_line_alone_sounds_as_it_does_among_others(
    engine: BatchedQwenEngine, takes: dict[int, Audio | TakeFailed]
) -> None:
    for number, row in LINES:
        take = takes[number]
        if isinstance(take, Audio):
            alone = engine.speak(row.text, row.language, row.seed)
            # The codes are the same; the codec adds in another order, which is a hundredth of a step of 16-bit audio.
            assert len(alone.samples) == len(take.samples)
            assert float(np.abs(alone.samples - take.samples).max()) < 5e-5
        else:
            with pytest.raises(TakeFailed):
                engine.speak(row.text, row.language, row.seed)


def test_the_reference_is_heard_as_stock_would_let_it_be_heard(
    settings: EngineSettings, engine: BatchedQwenEngine, takes: dict[int, Audio | TakeFailed]
) -> None:
    """The same codes through stock's full decode, reference and all."""
    whole = with_loop(QwenEngine.open(settings, lambda _phrase: None), lambda _phrase: None, whole_reference=True)
    number, row = next((number, row) for number, row in LINES if isinstance(takes[number], Audio))
    take = takes[number]
    assert isinstance(take, Audio)
    assert float(np.abs(whole.speak(row.text, row.language, row.seed).samples - take.samples).max()) < 5e-5


def test_one_line_is_refused_without_the_others(
    engine: BatchedQwenEngine, takes: dict[int, Audio | TakeFailed]
) -> None:
    lines = [(90, TakeRequest("<|im_end|>", "Korean", 1)), LINES[0], (91, TakeRequest(TEXT, "Klingon", 1))]
    found = speak(engine, lines)
    assert set(found) == {90, 91, 0}
    assert isinstance(found[90], TakeFailed) and isinstance(found[91], TakeFailed)
    assert type(found[0]) is type(takes[0])
    for text, language, code in (("\n", "Korean", ErrorCode.TEXT_EMPTY), (TEXT, "Klingon", ErrorCode.LANGUAGE_UNKNOWN)):
        with pytest.raises(TextRefused) as refused:
            engine.speak(text, language, 1)
        assert refused.value.code is code


def test_each_line_has_its_own_cap(engine: BatchedQwenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a line whose number an earlier, cancelled line had."""
    monkeypatch.setattr("server.engines.qwen.loop.engine.frame_cap", lambda text, _language: len(text))
    lines = [(number, TakeRequest("x" * frames, "Korean", 1)) for number, frames in enumerate((3, 5, 4, 9, 6))]
    waiting, found, cancelled = [*lines, (1, TakeRequest("x" * 4, "Korean", 1))], {}, {1}

    def more(_free: int) -> list[tuple[int, TakeRequest]]:
        return [waiting.pop(0)] if waiting else []

    def is_cancelled(number: int) -> bool:
        if number in cancelled:
            cancelled.discard(number)
            return True
        return False

    engine.speak_rows(more, found.__setitem__, is_cancelled)
    assert {number: take.reason for number, take in found.items() if isinstance(take, TakeFailed)} == {
        number: f"frame cap of {frames} reached" for number, frames in ((0, 3), (1, 4), (2, 4), (3, 9), (4, 6))
    }


def test_lines_that_are_all_refused_are_not_the_end(engine: BatchedQwenEngine) -> None:
    batches = iter([[(1, TakeRequest("", "Korean", 1))], [(2, TakeRequest("", "Korean", 1))], [LINES[0]], []])
    delivered: list[int] = []
    engine.speak_rows(
        lambda _free: next(batches, []), lambda number, _take: delivered.append(number), lambda _number: False
    )
    assert delivered == [1, 2, 0]


def test_what_speaking_does_not_need_is_given_back(engine: BatchedQwenEngine) -> None:
    inside: Any = engine.model.model
    assert inside.speaker_encoder is None and inside.speech_tokenizer.model.encoder is None
    assert inside.talker.model.text_embedding.weight.device.type == "cpu"


def test_the_facts_tell_rows_and_loop(engine: BatchedQwenEngine) -> None:
    facts = engine.facts
    assert facts.rows == 8 and facts.in_flight == 12
    # A take of the same seed is another one than stock's, since the noise is another.
    assert facts.sound.endswith("; loop 2") and facts.sound.isascii()


def test_a_codec_call_that_does_not_fit_is_made_in_smaller_pieces(
    engine: BatchedQwenEngine, takes: dict[int, Audio | TakeFailed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.codec, "frames_at_once", 512)
    stock = engine.codec._decode_piece
    refused: list[int] = []

    def scarce(codes: list[torch.Tensor], pasts: Any) -> Any:
        if sum(map(len, codes)) > 40:
            refused.append(len(codes[0]))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return stock(codes, pasts)

    monkeypatch.setattr(engine.codec, "_decode_piece", scarce)
    codes = torch.randint(0, 32, (100, 16))
    found = engine.decoded([codes])[0]
    assert len(found) == 100 * 1920 and refused and engine.codec.frames_at_once < 64

    monkeypatch.setattr(engine.codec, "_decode_piece", lambda *_args: scarce([codes], None))
    with pytest.raises(torch.OutOfMemoryError):
        engine.decoded([codes])


def test_a_models_own_sampling_settings_reach_the_loop() -> None:
    sampling = sampling_of(SAMPLING | {"subtalker_top_k": 7, "temperature": 0.4, "subtalker_dosample": False})
    assert (sampling.first.temperature, sampling.first.top_k, sampling.first.sample) == (0.4, 50, True)
    assert (sampling.rest.temperature, sampling.rest.top_k, sampling.rest.sample) == (0.9, 7, False)
    assert sampling.repetition_penalty == 1.05


def test_a_model_of_another_kind_is_spoken_by_the_stock_loop(
    settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = QwenEngine.open(settings, lambda _phrase: None)
    stock.sampling["repetition_penalty"] = 0.9
    monkeypatch.setattr(QwenEngine, "open", lambda *_args: stock)
    said: list[str] = []
    assert open_batched(settings, said.append) is stock
    assert "one line at a time" in said[-1]


@pytest.mark.parametrize(("loop", "batched"), [("own", True), ("stock", False)])
def test_the_setting_chooses_the_loop(settings: EngineSettings, loop: str, batched: bool) -> None:
    from dataclasses import replace

    opened = open_engine(replace(settings, loop=loop), lambda _phrase: None)
    assert hasattr(opened, "speak_rows") == batched
    assert opened.facts.rows == (8 if batched else 1)


def test_rows_and_the_codecs_context_can_be_set(settings: EngineSettings, takes: dict[int, Audio | TakeFailed]) -> None:
    from dataclasses import replace

    asked = replace(settings, rows=3, codec_context="whole")
    opened = open_batched(asked, lambda _phrase: None)
    assert isinstance(opened, BatchedQwenEngine)
    assert opened.facts.rows == 3 and opened.facts.in_flight == 5
    assert opened.whole_reference is not None
    found = speak(opened, LINES)
    assert set(found) == set(takes)
    for number, take in takes.items():
        other = found[number]
        assert type(other) is type(take)
        if isinstance(take, Audio) and isinstance(other, Audio):
            assert len(other.samples) == len(take.samples)
            assert float(np.abs(other.samples - take.samples).max()) < 5e-5


def test_neither_rows_nor_the_codecs_context_is_another_sound(
    settings: EngineSettings, engine: BatchedQwenEngine
) -> None:
    """A project goes on with its finished lines when one of them is changed."""
    from dataclasses import replace

    opened = open_batched(replace(settings, rows=3, codec_context="whole"), lambda _phrase: None)
    assert opened.facts.sound == engine.facts.sound
