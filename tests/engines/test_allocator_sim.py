"""The replay of PyTorch's caching allocator: its rules, and what they make of the 1.7B model on a 6 GB card."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

before = list(sys.path)
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "bench"))

import allocator_sim as sim  # noqa: E402  (the path above)

sys.path[:] = before

MIB = 2**20


@pytest.mark.parametrize(
    ("size", "segment"),
    [(1, 2 * MIB), (MIB, 2 * MIB), (MIB + 1, 20 * MIB), (10 * MIB, 10 * MIB), (11 * MIB + 1, 12 * MIB)],
)
def test_the_driver_is_asked_for_whole_segments(size: int, segment: int) -> None:
    card = sim.Allocator(100 * MIB)
    card.malloc(size)
    assert card.reserved == segment
    # A rest of up to 1 MiB is not cut off a large block.
    assert size <= card.allocated <= size + MIB and card.allocated % 512 == 0


def test_tensors_share_a_segment_and_small_ones_never_that_of_large_ones() -> None:
    card = sim.Allocator(100 * MIB)
    for size in (5 * MIB, 6 * MIB, 100, 200):
        card.malloc(size)
    assert card.reserved == 20 * MIB + 2 * MIB


def test_freed_neighbours_become_one_block_again() -> None:
    card = sim.Allocator(20 * MIB)
    first, second, third = (card.malloc(6 * MIB) for _ in range(3))
    card.free(first)
    card.free(third)
    with pytest.raises(sim.OutOfMemory):
        card.malloc(12 * MIB)
    card.free(second)
    card.malloc(20 * MIB)
    assert (card.reserved, card.allocated) == (20 * MIB, 20 * MIB)


def test_only_an_empty_segment_goes_back_to_the_driver() -> None:
    card = sim.Allocator(100 * MIB)
    first, second = card.malloc(12 * MIB), card.malloc(5 * MIB)
    card.free(first)
    card.empty_cache()
    assert card.reserved == 20 * MIB and card.holes() == [15 * MIB]
    card.free(second)
    card.empty_cache()
    assert card.reserved == 0 and card.peak_reserved == 32 * MIB


def test_the_large_model_starts_with_less_memory_when_its_weights_are_fused_in_ram() -> None:
    """The figures of docs/dev/log.md; a change of them belongs there."""
    weights = sim.weights_of("1.7b")
    on_card, _, in_ram, _ = sim.WAYS
    with pytest.raises(sim.OutOfMemory):
        sim.replay(weights, 4950, on_card)
    assert sim.replay(weights, 4968, on_card).plan.rows >= 1
    outcome = sim.replay(weights, 4650, in_ram)
    assert (outcome.plan.rows, outcome.plan.codec_frames, outcome.codec_frames_that_fit) == (6, 80, 80)
