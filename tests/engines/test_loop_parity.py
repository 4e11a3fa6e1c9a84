"""Our decode loop draws the same greedy codes as stock qwen-tts, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import loops
import pytest
import torch
from loops import CARD_SCHEDULE, GREEDY, PUBLISHED, TEXTS, Rig, alone, speak, stock_codes, voice

CAP = 26
ASKED = {"do_sample": False, "subtalker_dosample": False, "repetition_penalty": 1.05}
LAYOUTS = [(icl, text_first) for icl in (True, False) for text_first in (True, False)]


@pytest.fixture(scope="module")
def shallow(tiny_checkpoint: Path) -> Any:
    return loops.load(tiny_checkpoint)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return loops.load(loops.build_deep(tmp_path_factory.mktemp("deep") / "model"))


@pytest.mark.parametrize(("icl", "text_first"), LAYOUTS)
def test_greedy_codes_equal_stocks_alone_in_a_batch_and_after_a_refill(
    shallow: Any, icl: bool, text_first: bool
) -> None:
    speaker = voice(shallow, icl)
    wanted = [stock_codes(shallow, [text], speaker, text_first, CAP, **ASKED)[0] for text in TEXTS]
    rig = Rig.on(shallow)
    inputs = rig.inputs(TEXTS, speaker, CAP, text_first)
    together = speak(rig.loop(), inputs)
    refilled = speak(rig.loop(rows=2, schedule=CARD_SCHEDULE), inputs)
    for number, row in enumerate(inputs):
        assert torch.equal(together[number].codes, wanted[number])
        assert torch.equal(refilled[number].codes, wanted[number])
        assert torch.equal(alone(rig.loop(), row).codes, wanted[number])
    # The greedy model draws different codes for different texts, so equality does not come from a constant.
    assert len({tuple(codes.flatten().tolist()) for codes in wanted}) == len(TEXTS)


def test_greedy_codes_equal_stocks_at_real_depth(deep: Any) -> None:
    for icl, text_first in ((True, True), (False, False)):
        speaker = voice(deep, icl)
        wanted = stock_codes(deep, TEXTS[:3], speaker, text_first, 12, **ASKED)
        rig = Rig.on(deep)
        inputs = rig.inputs(TEXTS[:3], speaker, 12, text_first)
        together = speak(rig.loop(GREEDY), inputs)
        assert all(torch.equal(together[number].codes, codes) for number, codes in enumerate(wanted))
        assert torch.equal(alone(rig.loop(), inputs[1]).codes, wanted[1])


def test_rows_end_where_stocks_do_and_one_that_does_not_is_told_apart(shallow: Any) -> None:
    speaker = voice(shallow, icl=False)
    wanted = [stock_codes(shallow, [text], speaker, False, 200, **ASKED)[0] for text in TEXTS]
    rig = Rig.on(shallow)
    longest = max(map(len, wanted))
    spoken = speak(rig.loop(), rig.inputs(TEXTS, speaker, longest + 1, False))
    for number, codes in enumerate(wanted):
        assert torch.equal(spoken[number].codes, codes)
        assert spoken[number].ended == (len(codes) < longest)


def test_the_stock_model_goes_on_working_on_the_fused_weights(tiny_checkpoint: Path) -> None:
    model = loops.load(tiny_checkpoint)
    speaker = voice(model)
    before = stock_codes(model, TEXTS[:2], speaker, True, 10, **ASKED)
    bytes_before = sum(weight.numel() for weight in model.model.parameters())
    Rig.on(model)
    Rig.on(model)  # once more finds them fused already
    after = stock_codes(model, TEXTS[:2], speaker, True, 10, **ASKED)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    storages = {
        weight.untyped_storage().data_ptr(): weight.untyped_storage().nbytes() for weight in model.model.parameters()
    }
    assert sum(storages.values()) == bytes_before * 4


def test_a_float16_talker_beside_a_float32_predictor_speaks(tiny_checkpoint: Path) -> None:
    from server.engines.qwen.load.mixed_precision import split_precision

    model = loops.load(tiny_checkpoint)
    model.model.to(torch.float16)
    split_precision(model.model, torch.float32)
    speaker = voice(model)
    wanted = stock_codes(model, TEXTS[1:2], speaker, True, 12, **ASKED)[0]
    rig = Rig.on(model)
    assert rig.talker.layers.dtype == torch.float16 and rig.predictor.layers.dtype == torch.float32
    spoken = alone(rig.loop(), rig.inputs(TEXTS[1:2], speaker, 12)[0])
    assert spoken.finite
    # Rounding differs from stock's in places; the first frame is the same.
    assert torch.equal(spoken.codes[0], wanted[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card and a CUDA build of torch")
def test_on_a_card_graphs_and_eager_path_say_what_stock_says(tiny_checkpoint: Path) -> None:
    model = loops.load(tiny_checkpoint, "cuda:0")
    # The codec stays where from_pretrained put it; only codes are compared.
    speaker = voice(model)
    wanted = [stock_codes(model, [text], speaker, True, CAP, **ASKED)[0].cpu() for text in TEXTS]
    rig = Rig.on(model)
    inputs = rig.inputs(TEXTS, speaker, CAP)
    said: list[str] = []
    graphed = rig.loop(rows=3, schedule=CARD_SCHEDULE, announce=said.append, use_graphs=True)
    for loop in (rig.loop(rows=3, schedule=CARD_SCHEDULE, use_graphs=False), graphed):
        spoken = speak(loop, inputs)
        assert all(torch.equal(spoken[number].codes, codes) for number, codes in enumerate(wanted))
    assert graphed.runner.use_graphs and said == [], said
    sampled = [speak(rig.loop(PUBLISHED, rows=rows, schedule=CARD_SCHEDULE), inputs) for rows in (1, 4)]
    assert all(torch.equal(sampled[0][number].codes, sampled[1][number].codes) for number in range(len(TEXTS)))
