"""Helpers of the tests of the decode loop, on tiny models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import tiny_checkpoint
import torch
from torch import Tensor

from server.engines.qwen.load.imports import import_qwen_tts
from server.engines.qwen.load.memory import MemoryPlan
from server.engines.qwen.loop.batch import RowInput, SyncSchedule
from server.engines.qwen.loop.decode_loop import DecodeLoop, FinishedRow
from server.engines.qwen.model.code_predictor import CodePredictor
from server.engines.qwen.model.input_embedding import InputEmbedder
from server.engines.qwen.model.sampling import Draw, Sampling
from server.engines.qwen.model.talker import Talker

GREEDY = Sampling(Draw(sample=False), Draw(sample=False), 1.05)
PUBLISHED = Sampling()
CPU_SCHEDULE = SyncSchedule(sync_frames=1, noise_frames=8)
CARD_SCHEDULE = SyncSchedule(sync_frames=4, noise_frames=4)
TEXTS = (
    "네.",
    "The lamp on the table was still warm, and nobody had touched it since the morning of the third day.",
    "나는 오늘도 천천히 길을 걷는다. 그리고 잠시 쉬어가겠습니다.",
    "Hi",
)
REFERENCE_TEXT = "나는 오늘도 천천히 길을 걷는다."


def build_deep(folder: Path) -> Path:
    """The tiny model at real depth: 28 layers and a code predictor of 5."""
    shallow = tiny_checkpoint._talker_config

    def whole(ids: dict[str, int], predictor_hidden: int) -> dict[str, Any]:
        config = shallow(ids, predictor_hidden)
        config["talker_config"]["num_hidden_layers"] = 28
        config["talker_config"]["code_predictor_config"]["num_hidden_layers"] = 5
        return config

    with patch.object(tiny_checkpoint, "_talker_config", whole):
        return tiny_checkpoint.build(folder)


def load(folder: Path, device: str = "cpu") -> Any:
    """A stock Qwen3TTSModel in float32."""
    model_class: Any = import_qwen_tts().Qwen3TTSModel
    return model_class.from_pretrained(str(folder), device_map=device, dtype=torch.float32, attn_implementation="sdpa")


def voice(model: Any, icl: bool = True, frames: int = 30) -> Any:
    item: Any = import_qwen_tts().VoiceClonePromptItem
    generator = torch.Generator().manual_seed(5)
    codes = torch.randint(0, tiny_checkpoint.CODEBOOK, (frames, 16), generator=generator)
    return item(
        ref_code=codes if icl else None,
        ref_spk_embedding=torch.randn(tiny_checkpoint.HIDDEN, generator=generator),
        x_vector_only_mode=not icl,
        icl_mode=icl,
        ref_text=REFERENCE_TEXT if icl else None,
    )


def stock_codes(
    model: Any, texts: Sequence[str], speaker: Any, text_first: bool, cap: int, **asked: Any
) -> list[Tensor]:
    """The codes that stock's own generate draws, (frames, 16) for each text."""
    found: list[list[Tensor]] = []
    generate = model.model.generate

    def noted(*args: Any, **kwargs: Any) -> Any:
        result = generate(*args, **kwargs)
        found.append(result[0])
        return result

    def silent(encoded: list[Any]) -> tuple[list[Any], int]:
        return [np.zeros(0, np.float32) for _ in encoded], 24_000

    with patch.object(model.model, "generate", noted), patch.object(model.model.speech_tokenizer, "decode", silent):
        model.generate_voice_clone(
            text=list(texts),
            language="Korean",
            voice_clone_prompt=[speaker],
            non_streaming_mode=text_first,
            max_new_tokens=cap,
            **asked,
        )
    return found[0]


@dataclass
class Rig:
    """Our loop on a stock model."""

    model: Any
    talker: Talker
    predictor: CodePredictor

    @classmethod
    def on(cls, model: Any, rows: int = 16) -> Rig:
        config = model.model.config.talker_config
        talker = Talker(model.model.talker, config.vocab_size - 1024, config.codec_eos_token_id)
        return cls(model, talker, CodePredictor(model.model.talker.code_predictor, rows))

    def loop(
        self,
        sampling: Sampling = GREEDY,
        rows: int = 8,
        schedule: SyncSchedule = CPU_SCHEDULE,
        cells: int = 10**6,
        **more: Any,
    ) -> DecodeLoop:
        return DecodeLoop(self.talker, self.predictor, sampling, MemoryPlan(rows, cells, 512), schedule, **more)

    def inputs(
        self,
        texts: Sequence[str],
        speaker: Any,
        cap: int,
        text_first: bool = True,
        seeds: Sequence[int] | None = None,
        min_frames: int = 2,
    ) -> list[RowInput]:
        embedder = InputEmbedder(self.model, speaker, text_first)
        embedded = [embedder.embed(text, "Korean") for text in texts]
        return [
            RowInput(number, one.prefill, one.trailing, seeds[number] if seeds else number, cap, min_frames)
            for number, one in enumerate(embedded)
        ]


def speak(
    loop: DecodeLoop, inputs: Sequence[RowInput], is_cancelled: Callable[[int], bool] = lambda _number: False
) -> dict[int, FinishedRow]:
    """The finished rows by id, as many spoken at a time as the loop takes."""
    waiting, spoken = list(inputs), {}

    def more(free: int) -> list[RowInput]:
        taken, waiting[:] = waiting[:free], waiting[free:]
        return taken

    def deliver(ended: list[FinishedRow]) -> None:
        for one in ended:
            assert one.id not in spoken
            spoken[one.id] = one

    loop.run(more, deliver, is_cancelled)
    return spoken


def alone(loop: DecodeLoop, row: RowInput) -> FinishedRow:
    return speak(loop, [row])[row.id]


def with_id(row: RowInput, number: int) -> RowInput:
    return replace(row, id=number)
