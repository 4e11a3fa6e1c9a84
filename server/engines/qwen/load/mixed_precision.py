"""Two number formats in one model: casts where the talker, the code predictor and the speaker encoder meet.

Stock modules stay as they are; forward pre-hooks cast their inputs. Three modules need one:
- the code predictor takes the talker's hidden state and its embedding of code 0;
- the talker takes the sum of 16 embeddings, 15 of which are the code predictor's. torch promotes that sum to the wider
  format, so casting the sum once is also the most exact;
- the speaker encoder takes a mel spectrogram in the talker's format.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def split_precision(model: Any, predictor: torch.dtype) -> None:
    """Puts the code predictor of a loaded Qwen3TTSForConditionalGeneration into its own format.

    The speaker encoder goes to float32: it runs once per voice, and the voice clone prompt then does not depend on the
    card. Changes no number where all formats are float32 already.
    """
    # Only where the format differs: `to` would also round the rotary frequencies, which stock keeps in float32.
    if next(model.talker.code_predictor.parameters()).dtype != predictor:
        model.talker.code_predictor.to(predictor)
    model.speaker_encoder.to(torch.float32)
    cast_at_borders(model)


def cast_at_borders(model: Any) -> None:
    """Casts the inputs of code predictor, talker and speaker encoder to their own formats."""
    for module in (model.talker.code_predictor, model.talker.model, model.speaker_encoder):
        module.register_forward_pre_hook(_cast_inputs, with_kwargs=True)


def _cast_inputs(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    dtype = next(module.parameters()).dtype
    cast = {name: value if name in EXACT else _cast(value, dtype) for name, value in kwargs.items()}
    return tuple(_cast(value, dtype) for value in args), cast


EXACT = ("position_ids",)
"""Arguments that are not cast: stock counts positions in floating point, and bfloat16 has no odd number above 256."""


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Casts floating point tensors, which are the hidden states: masks and codes are integers or boolean."""
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
