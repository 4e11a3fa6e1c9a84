"""How many rows and frames fit into a card's memory, and the next smaller plan when they did not. Pure: knows no torch.

On a 6 GB card the weights leave a few hundred MB. Three things share that rest: keys and values (rows x columns), the
codec's activations (rows x frames), and each row's noise and states. On Windows a process that asks for more than is
free is not refused: the driver moves memory into RAM without an error, and everything becomes ten times slower. So this
process is limited to what was free at the start, and when memory runs out within that limit, the batch becomes smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

MIB = 2**20
RESERVE_BYTES = 300 * MIB
"""Left to the desktop and the driver: a browser that is opened overnight must not push our memory into RAM."""
WORKSPACE_BYTES = 128 * MIB
"""For the workspaces of cuBLAS and cuDNN, for graphs, and for the allocator's fragments"""
COLUMN_STEP = 128
"""Keys and values are allocated in steps of this many columns."""
WIDTH_STEP = 64
"""Attention reads a multiple of this many columns: every width has its own views and its own graph."""
USUAL_COLUMNS = 384
"""The prefill of a voice with ten seconds of reference, and a sentence of seven seconds"""
PREFILL_COLUMNS = 2048
"""Columns that are prefilled together, over all rows: the activations of more would not fit beside the weights."""
MAX_CODEC_FRAMES = 1024
"""Frames decoded together, over all rows: so many keep a card busy, and more would only take memory."""
MIN_CODEC_FRAMES = 32
CODEC_SHARE = 0.5
"""The codec's share of the memory that is left beside the weights"""


@dataclass(frozen=True)
class ModelSizes:
    """Measured on the loaded model."""

    column_bytes: int
    """keys and values of one column of one row"""
    row_bytes: int
    """noise, states and penalties of one row"""
    codec_frame_bytes: int
    """the codec's activations while one frame of one row is decoded"""


@dataclass(frozen=True)
class MemoryPlan:
    rows: int
    """most rows at a time"""
    cells: int
    """most columns of keys and values, over all rows"""
    codec_frames: int
    """most frames in one call of the codec, over all rows"""


def plan_memory(sizes: ModelSizes, free_bytes: int, rows_wanted: int) -> MemoryPlan:
    """free_bytes: what this process may still allocate once the weights are in place. Plans one row at least.

    rows_wanted: most rows.
    """
    usable = max(0, free_bytes - WORKSPACE_BYTES)
    codec_frames = int(usable * CODEC_SHARE) // sizes.codec_frame_bytes
    codec_frames = min(MAX_CODEC_FRAMES, max(MIN_CODEC_FRAMES, codec_frames))
    # The codec runs between frames, but the allocator keeps its blocks: they are not free for keys and values.
    left = max(0, usable - codec_frames * sizes.codec_frame_bytes)
    rows = left // (sizes.row_bytes + USUAL_COLUMNS * sizes.column_bytes)
    rows = max(1, min(rows_wanted, rows))
    cells = max(0, left - rows * sizes.row_bytes) // sizes.column_bytes
    return MemoryPlan(rows, max(USUAL_COLUMNS, cells), codec_frames)


def usable_memory(free_bytes: int, total_bytes: int, taken_bytes: int, reserved_bytes: int, fraction: float) -> int:
    """What this process may still allocate: free for the driver or idle in torch's allocator, within our share.

    free_bytes, total_bytes: torch.cuda.mem_get_info. taken_bytes, reserved_bytes: torch.cuda.memory_allocated and
    memory_reserved; their difference is idle memory, which the driver does not count as free. fraction: our share of
    the card.
    """
    idle = reserved_bytes - taken_bytes
    return max(0, int(min(free_bytes + idle, fraction * total_bytes - taken_bytes)))


def process_fraction(free_bytes: int, total_bytes: int, reserve_bytes: int = RESERVE_BYTES) -> float:
    """For torch.cuda.set_per_process_memory_fraction: what was free at the start, less a reserve; 0.1 at least."""
    return min(1.0, max(0.1, (free_bytes - reserve_bytes) / total_bytes))


def smaller(plan: MemoryPlan) -> MemoryPlan | None:
    """The plan to try after memory ran out; None when this plan is the smallest."""
    if plan.rows == 1 and plan.codec_frames <= MIN_CODEC_FRAMES:
        return None
    return replace(
        plan,
        rows=max(1, plan.rows // 2),
        cells=max(USUAL_COLUMNS, plan.cells // 2),
        codec_frames=max(MIN_CODEC_FRAMES, plan.codec_frames // 2),
    )


def columns_for(needed: int) -> int:
    """Columns to allocate for a row that needs so many; a third more than needed, so that growing is rare."""
    return -(-(needed + needed // 3) // COLUMN_STEP) * COLUMN_STEP


def width_for(needed: int) -> int:
    """Columns that attention reads for a row that has so many."""
    return -(-needed // WIDTH_STEP) * WIDTH_STEP


def rows_that_fit(plan: MemoryPlan, columns: int) -> int:
    """Rows whose keys and values fit; 1 at least, since only trying shows whether the card has room for it."""
    return max(1, min(plan.rows, plan.cells // columns))


def groups_within(sizes: Sequence[int], limit: int, max_padding: float = 1.0) -> list[list[int]]:
    """Groups of indices, neighbours in order, that run together padded to the largest of the group.

    Count times largest stays within the limit (a group of one may exceed it). The smallest of a group is at least
    (1 - max_padding) times its largest.
    """
    groups: list[list[int]] = []
    smallest = largest = 0
    for index, size in enumerate(sizes):
        smallest, largest = min(smallest, size), max(largest, size)
        close = smallest >= (1 - max_padding) * largest
        if groups and close and largest * (len(groups[-1]) + 1) <= limit:
            groups[-1].append(index)
        else:
            groups.append([index])
            smallest = largest = size
    return groups
