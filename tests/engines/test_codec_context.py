"""The codec continues from the reference's state as if it had decoded reference and sentence together."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import loops
import numpy as np
import pytest
import torch
from tiny_checkpoint import CODEBOOK
from torch import Tensor

from server.engines.qwen.model.codec import Codec, CodecCounters, state_bytes
from server.engines.qwen.model.layers import LoopUnsupported

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
    """The take's samples of stock's decoder, which decodes both together."""
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
    found = codec.decode(takes, codec.state_after(reference))
    assert worst(found, [whole(tokenizer, reference, take) for take in takes]) < CLOSE


def test_the_reference_matters_and_a_short_tail_of_it_would_not_do(
    tokenizer: Any, reference: Tensor, takes: list[Tensor]
) -> None:
    exact = [whole(tokenizer, reference, take) for take in takes]
    errors = {
        tail: worst([whole(tokenizer, reference[len(reference) - tail :], take) for take in takes], exact)
        for tail in (0, 5, 10, 25)
    }
    # The convolutions alone look back on ten frames, and the transformer on more: with 25 frames of context the error
    # is a hundred times that of the state.
    assert errors[0] > errors[5] > errors[10] > 100 * CLOSE > 0
    assert errors[25] > 20 * CLOSE


def test_stocks_own_decode_is_met_too(tokenizer: Any, reference: Tensor, takes: list[Tensor]) -> None:
    waves, _ = tokenizer.decode([{"audio_codes": torch.cat((reference, take))} for take in takes])
    codec = Codec(tokenizer, 512)
    found = codec.decode(takes, codec.state_after(reference))
    assert worst(found, [wave[len(reference) * 1920 :] for wave in waves]) < CLOSE


def test_without_a_reference_a_take_begins_from_nothing(tokenizer: Any, takes: list[Tensor]) -> None:
    codec = Codec(tokenizer, 40)
    nothing = codes(0, 1)
    assert codec.state_after(None) is codec.initial_state and codec.state_after(nothing) is codec.initial_state
    assert worst(codec.decode(takes, codec.initial_state), [whole(tokenizer, nothing, take) for take in takes]) < CLOSE


def test_a_reference_shorter_than_what_the_convolutions_look_back_on_is_enough(
    tokenizer: Any, takes: list[Tensor]
) -> None:
    short = codes(4, 9)
    codec = Codec(tokenizer, 512)
    assert (
        worst(codec.decode(takes, codec.state_after(short)), [whole(tokenizer, short, take) for take in takes]) < CLOSE
    )


def test_decoding_changes_nothing_of_what_is_remembered(tokenizer: Any, reference: Tensor, takes: list[Tensor]) -> None:
    codec = Codec(tokenizer, 64)
    state = codec.state_after(reference)
    first = codec.decode(takes, state)
    again = codec.decode(takes[::-1], state)[::-1]
    assert worst(first, again) < CLOSE
    assert np.array_equal(codec.decode(takes[:1], state)[0], codec.decode(takes[:1], state)[0])


def test_no_frame_is_decoded_twice(tokenizer: Any, reference: Tensor) -> None:
    codec = Codec(tokenizer, 512)
    state = codec.state_after(reference)
    codec.counters = CodecCounters()
    codec.decode([codes(length, length) for length in (55, 60, 63, 40, 42)], state)
    assert codec.counters.frames_given == 260
    # The rest is padding beside longer rows.
    assert 260 <= codec.counters.frames_decoded <= 1.1 * 260
    codec.counters = CodecCounters()
    codec.decode([codes(1000, 3)], state)
    assert codec.counters.frames_decoded == 1000 and codec.counters.calls == 2


def test_rows_go_on_side_by_side_in_pieces_of_any_length(
    tokenizer: Any, reference: Tensor, takes: list[Tensor]
) -> None:
    """Rows at different places, with different states, each with pieces of its own length."""
    codec = Codec(tokenizer, 512)
    starts = [reference, codes(4, 9), codes(0, 1), reference, codes(30, 8)]
    states = [codec.state_after(start) for start in starts]
    heard: list[list[Any]] = [[] for _ in takes]
    at = [0] * len(takes)
    chance = random.Random(3)
    while any(place < len(take) for place, take in zip(at, takes, strict=True)):
        here = [row for row, take in enumerate(takes) if at[row] < len(take) and chance.random() < 0.7]
        pieces = [takes[row][at[row] : at[row] + chance.choice((1, 4, 8, 13))] for row in here]
        went_on = codec.decode_next([(piece, states[row]) for piece, row in zip(pieces, here, strict=True)])
        for row, piece, (samples, state) in zip(here, pieces, went_on, strict=True):
            assert len(samples) == len(piece) * 1920
            heard[row].append(samples)
            states[row] = state
            at[row] += len(piece)
    wanted = [whole(tokenizer, start, take) for start, take in zip(starts, takes, strict=True)]
    assert worst([np.concatenate(waves) for waves in heard], wanted) < CLOSE
    assert [state.frames for state in states] == [len(a) + len(b) for a, b in zip(starts, takes, strict=True)]
    assert state_bytes(states[0]) == state_bytes(codec.initial_state) > 0


def test_no_call_exceeds_the_bound(tokenizer: Any, reference: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(tokenizer, 64)
    state = codec.state_after(reference)
    sizes: list[int] = []
    last = codec.decoder.decoder[-1].conv
    hook = last.register_forward_hook(lambda _module, _inputs, out: sizes.append(out.shape[0] * out.shape[2] // 1920))
    try:
        codec.decode([codes(20, 1), codes(21, 2), codes(22, 3), codes(300, 4)], state)
    finally:
        hook.remove()
    assert max(sizes) <= 64 and len(sizes) > 5


def test_a_codec_of_another_kind_is_not_guessed_at(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown module might look back on inputs that the state does not keep."""
    longer = torch.nn.ModuleList([*tokenizer.model.decoder.decoder, torch.nn.Conv1d(1, 1, 3)])
    monkeypatch.setattr(tokenizer.model.decoder, "decoder", longer)
    with pytest.raises(LoopUnsupported, match="codec with Conv1d"):
        Codec(tokenizer, 64)
