"""Text to the talker's embedded input, in the layout that the stock model was trained on. Knows no batch.

    role | language tags, speaker, pads | reference text and text, reference codes
          (text embeddings summed with the codec's padding, and codec embeddings with the text's padding)

The speaker and the reference codes are embedded once for a voice, the reference text is tokenized once. The text
embedding may stay in RAM: it is the largest single matrix, and a line reads a few of its vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ROLE_TOKENS = 3
"""Tokens of <|im_start|>assistant\\n"""
TEXT_AFTER = 5
"""Tokens of <|im_end|>\\n<|im_start|>assistant\\n"""
REFERENCE_AFTER = 2
"""Tokens of <|im_end|>\\n"""


@dataclass(frozen=True)
class EmbeddedInput:
    prefill: Tensor
    """(length, hidden): what the talker reads before the first frame"""
    trailing: Tensor
    """(frames, hidden): added to each frame's embedding; the last one stands for all later frames"""


class InputEmbedder:
    def __init__(self, model: Any, voice: Any, text_first: bool = True) -> None:
        """model: a stock Qwen3TTSModel. voice: the voice clone prompt, a VoiceClonePromptItem.

        text_first: the whole text before the speech, stock's non_streaming_mode; otherwise the text goes along with
        the speech, one token a frame.
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
            self.reference_ids: list[int] = []
            if voice.icl_mode:
                ids = self._ids(f"<|im_start|>assistant\n{voice.ref_text}<|im_end|>\n")
                self.reference_ids = ids[ROLE_TOKENS:-REFERENCE_AFTER]

    @torch.inference_mode()
    def embed(self, text: str, language: str) -> EmbeddedInput:
        """language: a name of the ten in any case, such as `Korean`, or `auto`."""
        ids = self._ids(f"<|im_start|>assistant\n{text}<|im_end|>\n<|im_start|>assistant\n")
        role, words = ids[:ROLE_TOKENS], ids[ROLE_TOKENS:-TEXT_AFTER]
        tags = self._tags(language)
        opening = torch.cat((self.pad.expand(len(tags) - 2, -1), self.begin)) + tags[:-1]
        start = torch.cat((self._texts(role), opening))
        texts = torch.cat((self._texts(self.reference_ids + words), self.end))
        if self.reference_codes is not None:
            codes = torch.cat((self._codes([self.config.codec_bos_id]), self.reference_codes))
        else:
            codes = self._codes([self.config.codec_bos_id])
        if self.text_first:
            prefill = torch.cat((start, texts + self._codes([self.config.codec_pad_id]), codes + self.pad))
            return EmbeddedInput(prefill.to(self.pad.dtype), self.pad)
        return self._overlaid(start, texts, codes)

    def _overlaid(self, start: Tensor, texts: Tensor, codes: Tensor) -> EmbeddedInput:
        """Text and codes summed position by position; the rest of the text is trailing, one token a frame."""
        missing = len(codes) - len(texts)
        if missing > 0:
            texts = torch.cat((texts, self.pad.expand(missing, -1)))
        prefill = torch.cat((start, texts[: len(codes)] + codes))
        return EmbeddedInput(prefill.to(self.pad.dtype), torch.cat((texts[len(codes) :], self.pad)))

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
        """The reference's frames, each the sum of its codes' embeddings: (frames, hidden)."""
        codes = self.voice.ref_code.to(self.device)  # (frames, code groups)
        tables = [self.talker.model.codec_embedding, *self.talker.code_predictor.model.codec_embedding]
        embedded = torch.stack([table(codes[:, group]) for group, table in enumerate(tables)], 1)
        summed: Tensor = embedded.sum(1)
        return summed

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.model.processor(text=text, return_tensors="pt", padding=True)["input_ids"][0].tolist()
        return ids

    def _texts(self, ids: list[int]) -> Tensor:
        """Text tokens, embedded: (tokens, hidden)."""
        embedding = self.talker.model.text_embedding
        vectors = embedding(torch.tensor(ids, device=embedding.weight.device))
        projected: Tensor = self.talker.text_projection(vectors.to(self.device))
        return projected

    def _codes(self, ids: list[int]) -> Tensor:
        """Codes 0 or control codes, embedded: (codes, hidden)."""
        embedded: Tensor = self.talker.model.codec_embedding(torch.tensor(ids, device=self.device))
        return embedded
