from __future__ import annotations

import pytest

from server.engines.qwen.load.precision import (
    CudaCard,
    Precision,
    TorchBuild,
    card_index,
    choose_precision,
    kernels_run_on,
)
from server.errors import EngineUnusable

CU126 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
CU130 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")

GTX_970 = CudaCard("NVIDIA GeForce GTX 970", (5, 2), CU126)
GTX_1060 = CudaCard("NVIDIA GeForce GTX 1060 6GB", (6, 1), CU126)
TESLA_V100 = CudaCard("Tesla V100-SXM2-16GB", (7, 0), CU126)
RTX_2060 = CudaCard("NVIDIA GeForce RTX 2060", (7, 5), CU126)
RTX_3060 = CudaCard("NVIDIA GeForce RTX 3060", (8, 6), CU126)
RTX_4090 = CudaCard("NVIDIA GeForce RTX 4090", (8, 9), CU126, index=1)
RTX_5090 = CudaCard("NVIDIA GeForce RTX 5090", (12, 0), CU130)


def refusal(device: str, dtype: str, card: CudaCard | None, build: TorchBuild | None = None) -> str:
    with pytest.raises(EngineUnusable) as caught:
        choose_precision(device, dtype, card, build)
    return str(caught.value)


@pytest.mark.parametrize(
    ("card", "device", "talker", "predictor", "label"),
    [
        (GTX_1060, "cuda:0", "float16", "float32", "float16 (code predictor and codec float32)"),
        (TESLA_V100, "cuda:0", "float16", "float32", "float16 (code predictor and codec float32)"),
        (RTX_2060, "cuda:0", "float16", "float32", "float16 (code predictor and codec float32)"),
        (RTX_3060, "cuda:0", "bfloat16", "bfloat16", "bfloat16 (codec float32)"),
        (RTX_4090, "cuda:1", "bfloat16", "bfloat16", "bfloat16 (codec float32)"),
        (RTX_5090, "cuda:0", "bfloat16", "bfloat16", "bfloat16 (codec float32)"),
    ],
    ids=lambda value: value.name if isinstance(value, CudaCard) else None,
)
def test_each_card_gets_its_formats_and_a_reason(
    card: CudaCard, device: str, talker: str, predictor: str, label: str
) -> None:
    chosen = choose_precision("auto", "auto", card)
    assert (chosen.device, chosen.talker, chosen.predictor, chosen.codec) == (device, talker, predictor, "float32")
    assert chosen.label == label
    assert card.name in chosen.reason and "bfloat16" in chosen.reason
    assert chosen.reason.isascii() and "warning" not in chosen.reason


def test_a_pascal_cards_reason_names_the_overflow() -> None:
    assert "no bfloat16" in choose_precision("cuda", "auto", GTX_1060).reason
    assert "overflows float16" in choose_precision("cuda", "auto", GTX_1060).reason


def test_the_cpu_is_taken_only_when_it_is_asked_for() -> None:
    assert choose_precision("cpu", "auto", RTX_3060) == Precision(
        "cpu", "float32", "float32", "float32", "DEVICE=cpu: float32, far slower than real time."
    )
    assert choose_precision(" CPU ", "auto", None).label == "float32"
    for device in ("auto", "cuda", "cuda:0", ""):
        assert "DEVICE=cpu" in refusal(device, "auto", None, TorchBuild("2.13.0", "12.6"))


def test_a_cpu_build_of_torch_is_named_as_the_cause() -> None:
    sentence = refusal("auto", "auto", None, TorchBuild("2.13.0+cpu", None))
    assert "2.13.0+cpu" in sentence and "Torch not compiled with CUDA" in sentence
    other = refusal("auto", "auto", None, TorchBuild("2.13.0+cu126", "12.6"))
    assert "No GPU was found" in other and "nvidia-smi" in other


@pytest.mark.parametrize(
    ("capability", "archs", "runs"),
    [
        ((6, 1), CU126, True),  # sm_60 code runs on sm_61
        ((8, 9), CU126, True),
        ((6, 1), CU130, False),
        ((12, 0), CU126, False),
        ((6, 0), ("sm_61",), False),  # never on an older minor version
        ((12, 1), ("sm_90", "compute_90"), True),  # PTX is compiled by the driver
        ((10, 3), ("sm_90a", "sm_100a"), False),  # the letter ties it to one card
        ((10, 0), ("sm_100a",), True),
        ((9, 0), ("gfx90a", "nonsense"), False),
        ((9, 0), (), False),
    ],
)
def test_kernels_run_where_nvidia_says_they_do(capability: tuple[int, int], archs: tuple[str, ...], runs: bool) -> None:
    assert kernels_run_on(archs, capability) is runs


def test_a_build_without_code_for_an_old_card_names_cu126() -> None:
    sentence = refusal("auto", "auto", CudaCard("NVIDIA GeForce GTX 1060 6GB", (6, 1), CU130))
    assert "cu126" in sentence and "GTX 1060" in sentence and "6.1" in sentence and "sm_75" in sentence


def test_a_build_older_than_the_card_names_a_newer_one() -> None:
    sentence = refusal("auto", "auto", CudaCard("NVIDIA GeForce RTX 5090", (12, 0), CU126))
    assert "newer than the build" in sentence and "cu130" in sentence


def test_a_card_older_than_pascal_is_refused() -> None:
    sentence = refusal("auto", "auto", GTX_970)
    assert "GTX 970" in sentence and "5.2" in sentence and "cu126" in sentence and "DEVICE=cpu" in sentence


def test_a_wished_format_is_honoured_with_a_warning() -> None:
    float16 = choose_precision("auto", "float16", RTX_3060)
    assert (float16.talker, float16.predictor, float16.codec) == ("float16", "float32", "float32")
    assert "warning" in float16.reason
    float32 = choose_precision("auto", "FLOAT32", GTX_1060)
    assert float32.label == "float32" and "memory" in float32.reason
    assert choose_precision("cpu", "float16", None).predictor == "float32"
    assert choose_precision("cpu", "bfloat16", None).label == "bfloat16 (codec float32)"


def test_the_cards_own_format_may_be_named_without_a_warning() -> None:
    assert choose_precision("auto", "float16", GTX_1060) == choose_precision("auto", "auto", GTX_1060)
    assert choose_precision("auto", "bfloat16", RTX_3060) == choose_precision("auto", "auto", RTX_3060)


@pytest.mark.parametrize("card", [GTX_1060, TESLA_V100, RTX_2060], ids=lambda card: card.name)
def test_bfloat16_is_refused_before_ampere(card: CudaCard) -> None:
    assert "DTYPE=auto" in refusal("auto", "bfloat16", card)


def test_unknown_wishes_are_refused_with_the_choices() -> None:
    assert "cuda:0" in refusal("gpu", "auto", RTX_3060)
    assert "bfloat16" in refusal("auto", "fp8", RTX_3060)


def test_the_cards_number_is_read_from_the_device() -> None:
    assert [card_index(device) for device in ("auto", "cuda", "cuda:0", "CUDA:3")] == [0, 0, 0, 3]
