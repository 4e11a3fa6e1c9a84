"""What a job asks of host and card, counted by torch's profiler: operations, waits, launches. Knows no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from bench_measure import synchronize

WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::_unique2", "aten::equal")
"""Operations whose result the host must wait for: a number (item(), bool(), int() and is_nonzero() all end in the
first), or a size that depends on values (indexing with a mask calls nonzero)."""
NO_WAITS = ("aten::_assert_async", "aten::_index_put_impl_")
"""Operations that read a number on a CPU, but not on a card: an assertion that runs on the card, which is all that
multinomial has from torch 2.6 on (pytorch PR 134818), and a filling value that lies in RAM."""
CARD_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")
GRAPH_LAUNCHES = ("cudaGraphLaunch",)
ON_THE_DEVICE, READ_BACK = "device side", "read back"
"""Marks in a profile of our loop"""


@dataclass(frozen=True)
class Counts:
    operations: float
    """all aten events, nested ones included"""
    waits: float
    launches: float | None = None
    """of single kernels; None on a CPU"""
    graph_launches: float | None = None

    def per_frame(self, shorter: Counts, frames: int) -> Counts:
        """The difference of two jobs, divided by the frames between them: prefill and end are in both jobs."""

        def difference(longer: float | None, less: float | None) -> float | None:
            return None if longer is None or less is None else (longer - less) / frames

        return Counts(
            (self.operations - shorter.operations) / frames,
            (self.waits - shorter.waits) / frames,
            difference(self.launches, shorter.launches),
            difference(self.graph_launches, shorter.graph_launches),
        )


def counts_of(job: Callable[[], Any], on_card: bool = False, marked: bool = False) -> Counts:
    """Counts of one job.

    On a card, waits are the driver's calls that wait for the card. On a CPU, waits are the operations that would wait
    on a card (WAITS): a lower bound, since copies between card and host do not exist there. marked: count only waits
    inside ON_THE_DEVICE, and each READ_BACK as one; our loop's other work is on numbers in RAM.
    """
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_card else [])
    with profile(activities=activities) as profiler:
        job()
        synchronize()
    events: Any = profiler.events()
    names = [event.name for event in events]
    operations = sum(name.startswith("aten::") for name in names)
    if on_card:
        return Counts(operations, tally(names, CARD_WAITS), tally(names, LAUNCHES), tally(names, GRAPH_LAUNCHES))
    if marked:
        return Counts(operations, sum(is_marked_wait(event) for event in events))
    return Counts(operations, sum(is_wait(event) for event in events))


def tally(names: Iterable[str], wanted: Sequence[str]) -> int:
    return sum(name in wanted for name in names)


def is_wait(event: Any) -> bool:
    if event.name not in WAITS:
        return False
    return event.name != "aten::_local_scalar_dense" or not any(name in NO_WAITS for name in names_around(event))


def is_marked_wait(event: Any) -> bool:
    return event.name == READ_BACK or (is_wait(event) and ON_THE_DEVICE in names_around(event))


def names_around(event: Any) -> list[str]:
    """Names of the operations that this one is part of"""
    names, parent = [], event.cpu_parent
    while parent is not None:
        names.append(parent.name)
        parent = parent.cpu_parent
    return names


@contextmanager
def marks(batch: Any) -> Iterator[None]:
    """Marks what of our loop would run on a card, and where the host reads back."""
    with ExitStack() as stack:
        for name, mark in (("frame", ON_THE_DEVICE), ("draw_noise", ON_THE_DEVICE), ("read_back", READ_BACK)):
            stack.enter_context(patch.object(batch, name, recorded(getattr(batch, name), mark)))
        yield


def recorded(function: Callable[..., Any], mark: str) -> Callable[..., Any]:
    from torch.profiler import record_function

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with record_function(mark):
            return function(*args, **kwargs)

    return wrapped
