"""The stock qwen-tts model behind our Engine protocol: load it, give it its voice, speak one text.

Imports torch: only `open_qwen` imports this module, in the worker.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from server.audio.samples import SILENT_PEAK, Audio, Samples
from server.contract.codes import ErrorCode
from server.engines import Announce, EngineFacts, EngineSettings
from server.engines.qwen.frame_cap import frame_cap
from server.engines.qwen.load.checkpoint import ascii_id, find_model, model_identity
from server.engines.qwen.load.gpu import read_build, read_card
from server.engines.qwen.load.mixed_precision import split_precision
from server.engines.qwen.load.precision import Precision, choose_precision
from server.errors import EngineUnusable, TakeFailed, TextRefused, one_line
from server.places import models_folder
from server.terminal.messages import t
from server.text.languages import LANGUAGES
from server.voices.clip import clean_ref_text, prepare_clip
from server.voices.prompt import PromptShape, VoicePrompt, fingerprint, keep_or_make, prompt_key

ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
IN_FLIGHT = 2
"""One line being spoken and the next one waiting"""
SAMPLING: dict[str, bool | int | float] = {
    "do_sample": True,
    "temperature": 0.9,
    "top_k": 50,
    "top_p": 1.0,
    "repetition_penalty": 1.05,
    "subtalker_dosample": True,
    "subtalker_temperature": 0.9,
    "subtalker_top_k": 50,
    "subtalker_top_p": 1.0,
}
"""Values of the published generation_config.json; a model's own file overrides each of them."""


@dataclass
class QwenEngine:
    facts: EngineFacts
    model: Any
    """a qwen_tts.Qwen3TTSModel"""
    voice: list[Any]
    """one qwen_tts.VoiceClonePromptItem"""
    sampling: dict[str, bool | int | float]

    @classmethod
    def open(cls, settings: EngineSettings, announce: Announce) -> QwenEngine:
        """Raises EngineUnusable."""
        card = None if settings.device.strip().casefold() == "cpu" else read_card(settings.device)
        precision = choose_precision(settings.device, settings.dtype, card, read_build())
        refuse_attention(settings.attention, precision)
        announce(precision.reason)
        # Before the model, which takes a minute to load: a missing text or clip is reported at once.
        ref_text, clip = clean_ref_text(settings.ref_text), prepare_clip(settings.ref_audio)
        folder = find_model(settings.model, announce, models_folder(settings.prompt_dir))
        version = importlib.metadata.version("qwen-tts")
        key = prompt_key(Path(settings.ref_audio).expanduser().read_bytes(), ref_text, model_identity(folder), version)
        announce(t("loading the model"))
        model = load_model(settings.model, folder, precision, settings.attention, text_on_device=settings.loop != "own")
        prompt = keep_or_make(
            Path(settings.prompt_dir) if settings.prompt_dir else None,
            key,
            prompt_shape(model),
            ascii_id(settings.model),
            lambda: make_prompt(model, clip, ref_text),
            announce,
        )
        sampling = choose_sampling(model.generate_defaults)
        facts = EngineFacts(
            engine="qwen",
            model=ascii_id(settings.model),
            voice=fingerprint(key),
            sample_rate=model.model.speech_tokenizer.get_output_sample_rate(),
            device=precision.device,
            dtype=precision.label,
            reason=precision.reason,
            in_flight=IN_FLIGHT,
            sound=f"qwen-tts {version}; {describe_sampling(sampling)}; {precision.label}; {settings.attention}",
        )
        return cls(facts, model, [to_item(prompt, precision.device)], sampling)

    def speak(self, text: str, language: str, seed: int) -> Audio:
        """CUDA errors are passed on: they poison the process, and the worker must end."""
        text = plain_text(text, self.model.processor.tokenizer.all_special_tokens)
        if not text:
            raise TextRefused(ErrorCode.TEXT_EMPTY)
        if language.casefold() not in self.model.get_supported_languages():
            raise TextRefused(ErrorCode.LANGUAGE_UNKNOWN, language=language, languages=", ".join(LANGUAGES.values()))
        cap = frame_cap(text, language)
        torch.manual_seed(seed)  # seeds every CUDA device too
        takes, sample_rate = self.model.generate_voice_clone(
            text=text,
            language=language,
            voice_clone_prompt=self.voice,
            # Text fed along with the speech makes the speech hurry (QwenLM/Qwen3-TTS #239, faster-qwen3-tts PR 24).
            non_streaming_mode=True,
            max_new_tokens=cap,
            **self.sampling,
        )
        samples = np.asarray(takes[0], np.float32)
        refuse_bad_take(samples, cap, self.model.model.speech_tokenizer.get_decode_upsample_rate())
        return Audio(samples, int(sample_rate))

    def close(self) -> None:
        """Frees nothing: only the end of the process, which comes next, frees a CUDA context."""

    def memory_bytes(self) -> dict[str, int]:
        if not self.facts.device.startswith("cuda"):
            return {}
        return {self.facts.device: int(torch.cuda.memory_reserved(self.facts.device))}


def refuse_bad_take(samples: Samples, cap: int, samples_per_frame: int) -> None:
    """Raises TakeFailed for a take that must not be delivered.

    The package does not report that it reached max_new_tokens. The last sampled token then never becomes a frame, so
    cap - 1 frames come out. A sentence that ends by itself on its last token looks the same and is refused too.
    """
    # Rounded: the package cuts the reference off by a float ratio and may be one sample out.
    frames = round(len(samples) / samples_per_frame)
    if frames == 0:
        raise TakeFailed("no audio")
    if frames >= cap - 1:
        raise TakeFailed(f"frame cap of {cap} reached")
    if not np.isfinite(samples).all():
        raise TakeFailed("audio that is not finite")
    if np.abs(samples).max() < SILENT_PEAK:
        raise TakeFailed("silent audio")


def plain_text(text: str, special_tokens: list[str]) -> str:
    """The text without surrounding white space, which the model would speak, and without the model's control tokens."""
    for token in special_tokens:
        text = text.replace(token, " ")
    return text.strip()


def choose_sampling(published: Mapping[str, Any]) -> dict[str, bool | int | float]:
    return {name: published.get(name, default) for name, default in SAMPLING.items()}


def describe_sampling(sampling: Mapping[str, bool | int | float]) -> str:
    """`T=0.9 k=50 p=1.0 r=1.05, codes T=0.9 k=50 p=1.0`"""
    talker = "T={temperature} k={top_k} p={top_p} r={repetition_penalty}" if sampling["do_sample"] else "greedy"
    codes = (
        "T={subtalker_temperature} k={subtalker_top_k} p={subtalker_top_p}"
        if sampling["subtalker_dosample"]
        else "greedy"
    )
    return f"{talker}, codes {codes}".format_map(dict(sampling))


def refuse_attention(attention: str, precision: Precision) -> None:
    """Raises EngineUnusable for an attention that is unknown, or does not work in these formats."""
    if attention not in ATTENTIONS:
        raise EngineUnusable(
            t(
                "The attention {value} is not known. Choose one of: {choices}.",
                value=attention,
                choices=", ".join(ATTENTIONS),
            )
        )
    if attention == "flash_attention_2" and precision.predictor != "bfloat16":
        raise EngineUnusable(
            t(
                "flash_attention_2 needs bfloat16, that is an RTX 30 series card or newer; here the model runs in "
                "{dtype}. Use sdpa.",
                dtype=precision.label,
            )
        )


def load_model(name: str, folder: Path, precision: Precision, attention: str, text_on_device: bool = True) -> Any:
    """The stock model in these formats.

    name: MODEL, for sentences. text_on_device: False leaves the text embedding, the largest single matrix (600 MB), in
    RAM. Raises EngineUnusable.
    """
    from qwen_tts import Qwen3TTSModel

    try:
        model = Qwen3TTSModel.from_pretrained(
            str(folder),
            # To RAM first: a 6 GB card has no room for the formats before the conversion, and transformers allocates
            # one block of the whole model's size, no part of which can be freed later.
            device_map="cpu",
            dtype=getattr(torch, precision.talker),
            attn_implementation=attention,
        )
        split_precision(model.model, getattr(torch, precision.predictor))
        place(model, precision.device, text_on_device)
        widen_codec(model, folder, precision)
    except torch.OutOfMemoryError as error:
        raise EngineUnusable(
            t(
                "The GPU's memory is too small for {model} ({reason}). Close other programs that use the GPU, or set "
                "MODEL=Qwen/Qwen3-TTS-12Hz-0.6B-Base.",
                model=name,
                reason=one_line(error),
            )
        ) from error
    # Truncated weights, another model's config, shapes that do not fit; ImportError: flash-attn is not installed.
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        if "CUDA" in str(error):  # a fault of driver or card: downloading again would not help
            raise
        raise EngineUnusable(
            t(
                "The model {model} cannot be loaded ({reason}). Download it again: hf download "
                "Qwen/Qwen3-TTS-12Hz-1.7B-Base --local-dir models/Qwen3-TTS-12Hz-1.7B-Base",
                model=name,
                reason=one_line(error),
            )
        ) from error
    return model


def place(model: Any, device: str, text_on_device: bool = True) -> None:
    """Moves all but the codec to the device; the text embedding only with text_on_device."""
    inner = model.model.talker.model
    embedding = inner.text_embedding
    if not text_on_device:
        inner.text_embedding = None
    try:
        model.model.to(device)
    finally:
        inner.text_embedding = embedding
    model.device = torch.device(device)


def widen_codec(model: Any, folder: Path, precision: Precision) -> None:
    """Puts the codec in float32 on the model's device.

    from_pretrained loads the codec in the talker's format. Widening does not undo that rounding, so the float32 weights
    are read again from their file.
    """
    codec = model.model.speech_tokenizer
    codec.model.float().to(precision.device)
    codec.device = torch.device(precision.device)
    if precision.talker != precision.codec:
        codec.model.load_state_dict(load_file(folder / "speech_tokenizer" / "model.safetensors"))


def prompt_shape(model: Any) -> PromptShape:
    """The sizes that a voice clone prompt for this model must have."""
    talker = model.model.config.talker_config
    return PromptShape(
        code_groups=talker.num_code_groups,
        codebook_size=talker.code_predictor_config.vocab_size,
        speaker_size=talker.hidden_size,
    )


def make_prompt(model: Any, clip: Audio, ref_text: str) -> VoicePrompt:
    """The voice clone prompt of this clip: runs the codec's encoder and the speaker encoder."""
    item = model.create_voice_clone_prompt((clip.samples, clip.sample_rate), ref_text)[0]
    return VoicePrompt(
        item.ref_code.cpu().numpy().astype(np.int64),
        item.ref_spk_embedding.float().cpu().numpy().astype(np.float32),
        ref_text,
    )


def to_item(prompt: VoicePrompt, device: str) -> Any:
    """The package's form of a voice clone prompt, a VoiceClonePromptItem."""
    from qwen_tts import VoiceClonePromptItem

    return VoiceClonePromptItem(
        ref_code=torch.from_numpy(prompt.codes).to(device),
        ref_spk_embedding=torch.from_numpy(prompt.speaker).to(device),
        x_vector_only_mode=False,
        icl_mode=True,
        ref_text=prompt.ref_text,
    )
