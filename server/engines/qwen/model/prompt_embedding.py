"""Text to the talker's prompt: the layout that the stock model was trained on, embedded. Knows no batch.

    role | language tags, speaker, pads | ...the voice's own words and the text, the voice's codes
          (codec embeddings summed with padding of the text, and the other way round)

What does not change from line to line (the role, the tags, the speaker, the reference's words and codes) is embedded
once. The text embedding may stay in RAM: it is the largest single matrix, and only read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ROLE_TOKENS = 3
"""<|im_start|>assistant\\n"""
TEXT_AFTER = 5
"""<|im_end|>\\n<|im_start|>assistant\\n"""
REFERENCE_AFTER = 2
"""<|im_end|>\\n"""


@dataclass(frozen=True)
class Embedded:
    prompt: Tensor
    """(length, hidden)"""
    trailing: Tensor
    """(frames, hidden): added to each frame's embedding; the last one stands for all later frames"""


class PromptWriter:
    def __init__(self, model: Any, voice: Any, text_first: bool = True) -> None:
        """model: a stock Qwen3TTSModel. voice: a VoiceClonePromptItem.

        text_first: the whole text before the speech, stock's non_streaming_mode; otherwise text is fed frame by frame.
        """
        self.model, self.voice, self.text_first = model, voice, text_first
        self.talker: Any = model.model.talker
        self.config: Any = model.model.config.talker_config
        self.device = self.talker.codec_head.weight.device
        top = model.model.config
        with torch.inference_mode():
            edges = self._texts([top.tts_bos_token_id, top.tts_eos_token_id, top.tts_pad_token_id])
            self.begin, self.end, self.pad = torch.split(edges, 1)  # (1, hidden) each
            speaker = voice.ref_spk_embedding.to(self.device).to(self.pad.dtype)
            self.speaker = speaker.view(1, -1)
            self.reference_codes = self._reference_codes() if voice.icl_mode else None
            self.reference_words: list[int] = []
            if voice.icl_mode:
                self.reference_words = self._ids(f"<|im_start|>assistant\n{voice.ref_text}<|im_end|>\n")
                self.reference_words = self.reference_words[ROLE_TOKENS:-REFERENCE_AFTER]

    @torch.inference_mode()
    def write(self, text: str, language: str) -> Embedded:
        ids = self._ids(f"<|im_start|>assistant\n{text}<|im_end|>\n<|im_start|>assistant\n")
        role, words = ids[:ROLE_TOKENS], ids[ROLE_TOKENS:-TEXT_AFTER]
        tags = self._tags(language)
        opening = torch.cat((self.pad.expand(len(tags) - 2, -1), self.begin)) + tags[:-1]
        start = torch.cat((self._texts(role), opening))
        spoken = torch.cat((self._texts(self.reference_words + words), self.end))
        if self.reference_codes is not None:
            codes = torch.cat((self._codes([self.config.codec_bos_id]), self.reference_codes))
        else:
            codes = self._codes([self.config.codec_bos_id])
        if self.text_first:
            prompt = torch.cat((start, spoken + self._codes([self.config.codec_pad_id]), codes + self.pad))
            return Embedded(prompt.to(self.pad.dtype), self.pad)
        return self._overlaid(start, spoken, codes)

    def _overlaid(self, start: Tensor, spoken: Tensor, codes: Tensor) -> Embedded:
        """Text upon codes, position by position; what is left of the text goes along with the frames."""
        missing = len(codes) - len(spoken)
        if missing > 0:
            spoken = torch.cat((spoken, self.pad.expand(missing, -1)))
        prompt = torch.cat((start, spoken[: len(codes)] + codes))
        return Embedded(prompt.to(self.pad.dtype), torch.cat((spoken[len(codes) :], self.pad)))

    def _tags(self, language: str) -> Tensor:
        config = self.config
        name = language.lower()
        if name == "auto":
            tags = [config.codec_nothink_id, config.codec_think_bos_id, config.codec_think_eos_id]
        else:
            known = config.codec_language_id[name]
            tags = [config.codec_think_id, config.codec_think_bos_id, known, config.codec_think_eos_id]
        rest = self._codes([config.codec_pad_id, config.codec_bos_id])
        return torch.cat((self._codes(tags), self.speaker, rest))

    def _reference_codes(self) -> Tensor:
        codes = self.voice.ref_code.to(self.device)  # (frames, code groups)
        tables = [self.talker.model.codec_embedding, *self.talker.code_predictor.model.codec_embedding]
        embedded = torch.stack([table(codes[:, group]) for group, table in enumerate(tables)], 1)
        summed: Tensor = embedded.sum(1)
        return summed

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.model.processor(text=text, return_tensors="pt", padding=True)["input_ids"][0].tolist()
        return ids

    def _texts(self, ids: list[int]) -> Tensor:
        embedding = self.talker.model.text_embedding
        rows = embedding(torch.tensor(ids, device=embedding.weight.device))
        projected: Tensor = self.talker.text_projection(rows.to(self.device))
        return projected

    def _codes(self, ids: list[int]) -> Tensor:
        embedded: Tensor = self.talker.model.codec_embedding(torch.tensor(ids, device=self.device))
        return embedded
