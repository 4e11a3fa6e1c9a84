"""The codec goes on from the reference as if it had decoded it along with each sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import loops
import numpy as np
import pytest
import torch
from tiny_checkpoint import CODEBOOK
from torch import Tensor

from server.engines.qwen.codec import Codec, context_frames
from server.engines.qwen.imports import import_qwen_tts

CLOSE = 5e-5
"""Of full scale: one step of 16-bit audio is 3e-5."""
LENGTHS = (60, 7, 31, 1, 90)


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Path) -> Any:
    return loops.load(tiny_checkpoint).model.speech_tokenizer


@pytest.fixture(scope="module")
def reference() -> Tensor:
    return codes(100, 1)


@pytest.fixture(scope="module")
def takes() -> list[Tensor]:
    return [codes(length, 2 + number) for number, length in enumerate(LENGTHS)]


def codes(frames: int, seed: int) -> Tensor:
    return torch.randint(0, CODEBOOK, (frames, 16), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def whole(tokenizer: Any, before: Tensor, take: Tensor) -> np.ndarray:
    """What stock's decoder makes of both together, without what belongs to the codes before."""
    wave = tokenizer.model.decoder(torch.cat((before, take)).t()[None])[0, 0]
    return wave[len(before) * 1920 :].numpy()


def worst(found: list[Any], wanted: list[Any]) -> float:
    assert [len(a) for a in found] == [len(a) for a in wanted]
    return max(float(np.abs(a - b).max()) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("frames_at_once", [10_000, 200, 25, 1])
def test_takes_sound_as_if_the_reference_had_been_decoded_with_them(
    tokenizer: Any, reference: Tensor, takes: list[Tensor], frames_at_once: int
) -> None:
    """Also in pieces of any size, and padded beside longer takes."""
    codec = Codec(tokenizer, frames_at_once)
    found = codec.decode(takes, codec.remember(reference))
    assert worst(found, [whole(tokenizer, reference, take) for take in takes]) < CLOSE


def test_the_reference_matters_and_a_short_tail_of_it_would_not_do(
    tokenizer: Any, reference: Tensor, takes: list[Tensor]
) -> None:
    exact = [whole(tokenizer, reference, take) for take in takes]
    errors = {
        tail: worst([whole(tokenizer, reference[len(reference) - tail :], take) for take in takes], exact)
        for tail in (0, 5, 10, 25)
    }
    # The convolutions alone look back on ten frames, and the transformer on more: 25 leave an error a hundred times
    # as large as going on from the state.
    assert errors[0] > errors[5] > errors[10] > 100 * CLOSE > 0
    assert errors[25] > 20 * CLOSE


def test_stocks_own_decode_is_met_too(tokenizer: Any, reference: Tensor, takes: list[Tensor]) -> None:
    waves, _ = tokenizer.decode([{"audio_codes": torch.cat((reference, take))} for take in takes])
    codec = Codec(tokenizer, 512)
    found = codec.decode(takes, codec.remember(reference))
    assert worst(found, [wave[len(reference) * 1920 :] for wave in waves]) < CLOSE


def test_without_a_reference_a_take_begins_from_nothing(tokenizer: Any, takes: list[Tensor]) -> None:
    codec = Codec(tokenizer, 40)
    assert codec.remember(None) is None and codec.remember(codes(0, 1)) is None
    nothing = codes(0, 1)
    assert worst(codec.decode(takes, None), [whole(tokenizer, nothing, take) for take in takes]) < CLOSE


def test_a_reference_shorter_than_what_the_convolutions_look_back_on_is_enough(
    tokenizer: Any, takes: list[Tensor]
) -> None:
    short = codes(4, 9)
    codec = Codec(tokenizer, 512)
    assert worst(codec.decode(takes, codec.remember(short)), [whole(tokenizer, short, take) for take in takes]) < CLOSE


def test_decoding_changes_nothing_of_what_is_remembered(tokenizer: Any, reference: Tensor, takes: list[Tensor]) -> None:
    codec = Codec(tokenizer, 64)
    past = codec.remember(reference)
    first = codec.decode(takes, past)
    again = codec.decode(takes[::-1], past)[::-1]
    assert worst(first, again) < CLOSE
    assert np.array_equal(codec.decode(takes[:1], past)[0], codec.decode(takes[:1], past)[0])


def test_the_work_beside_the_frames_wanted_stays_small(tokenizer: Any, reference: Tensor) -> None:
    codec = Codec(tokenizer, 512)
    codec.decode([codes(length, length) for length in (55, 60, 63, 40, 42)], codec.remember(reference))
    counted = codec.counters
    assert counted.frames_given == 260
    assert counted.frames_decoded / counted.frames_given <= 1.3


def test_no_call_exceeds_the_bound(tokenizer: Any, reference: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(tokenizer, 64)
    past = codec.remember(reference)
    sizes: list[int] = []
    last = codec.decoder.decoder[-1]
    hook = last.register_forward_hook(lambda _module, _inputs, out: sizes.append(out.shape[0] * out.shape[2] // 1920))
    try:
        codec.decode([codes(20, 1), codes(21, 2), codes(22, 3), codes(300, 4)], past)
    finally:
        hook.remove()
    assert max(sizes) <= 64 and len(sizes) > 5


def test_the_published_codec_looks_back_on_ten_frames() -> None:
    """By its kernels, which are those of the tiny one; and nine would not always do."""
    import_qwen_tts()
    from qwen_tts.core import Qwen3TTSTokenizerV2Config
    from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Decoder

    config = Qwen3TTSTokenizerV2Config(
        decoder_config={
            "latent_dim": 16,
            "codebook_dim": 16,
            "codebook_size": 8,
            "decoder_dim": 16,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "num_quantizers": 2,
            "upsample_rates": [8, 5, 4, 3],
            "upsampling_ratios": [2, 2],
        }
    )
    decoder = Qwen3TTSTokenizerV2Decoder(config.decoder_config).eval()
    assert context_frames(decoder) == 10
    # Measured: which latent frames the first sample of frame 12 depends on.
    latents = torch.zeros(1, 13, 16, requires_grad=True)
    wave = (latents + torch.randn(1, 13, 16)).permute(0, 2, 1)
    with torch.enable_grad():
        for blocks in decoder.upsample:
            for block in blocks:
                wave = block(wave)
        for block in decoder.decoder:
            wave = block(wave)
        wave[0, 0, 12 * 1920].backward()
    assert latents.grad is not None
    reached = latents.grad[0].abs().sum(-1).nonzero().flatten().tolist()
    assert min(reached) == 2
