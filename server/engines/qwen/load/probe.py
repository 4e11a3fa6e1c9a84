"""What torch sees on this machine, as one line of JSON: `python -m server.engines.qwen.load.probe`.

A program of its own, because voice-server's parent never imports torch.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def probe() -> dict[str, Any]:
    import torch

    from server.engines.qwen.load.gpu import read_card

    found: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "cards": []}
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        card = read_card(f"cuda:{index}")
        if card is None:
            continue
        free, total = torch.cuda.mem_get_info(index)
        ones = torch.ones(64, 64, device=f"cuda:{index}", dtype=torch.float16)
        found["cards"].append(
            {
                "name": card.name,
                "capability": card.capability,
                "arch_list": card.arch_list,
                "index": index,
                "memory_bytes": total,
                "free_bytes": free,
                # One product tests the whole chain: driver, kernels for this card, arithmetic.
                "works": bool((ones @ ones == 64).all().item()),
            }
        )
    return found


if __name__ == "__main__":
    try:
        print(json.dumps(probe()))
    except (ImportError, OSError, RuntimeError) as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        sys.exit(1)
