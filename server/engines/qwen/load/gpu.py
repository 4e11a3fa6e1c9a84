"""What torch sees of the GPU, as plain data for precision.py, which decides. Imports torch."""

from __future__ import annotations

import torch

from server.engines.qwen.load.precision import CudaCard, TorchBuild, card_index
from server.errors import EngineUnusable
from server.terminal.messages import t


def read_build() -> TorchBuild:
    return TorchBuild(str(torch.__version__), torch.version.cuda)


def read_card(device: str) -> CudaCard | None:
    """The card that `auto`, `cuda` or `cuda:1` means; None where torch sees none.

    Raises EngineUnusable when there is no card of that number.
    """
    if not torch.cuda.is_available():
        return None
    index, count = card_index(device), torch.cuda.device_count()
    if index >= count:
        raise EngineUnusable(
            t("DEVICE={value}, but torch sees {count} GPU(s), counted from cuda:0.", value=device, count=count)
        )
    seen = torch.cuda.get_device_properties(index)
    return CudaCard(seen.name, (seen.major, seen.minor), tuple(torch.cuda.get_arch_list()), index, seen.total_memory)
