"""A Qwen3-TTS Base model small enough to build in a second, with random weights, for the real qwen-tts package.

Every module of the published models is there (talker, code predictor, speaker encoder, Mimi encoder, 12 Hz decoder,
byte-level BPE). Widths, depths and vocabularies are small; rates are the real ones: 24 kHz, 1920 samples a frame, 16
codes a frame. The model speaks noise at the level of speech, and ends after some 30 frames, depending on the seed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from server.engines.qwen.load.imports import import_qwen_tts

CODE_GROUPS = 16
CODEBOOK = 32
"""The published codebook has 2048. Here one token in 33 is the end of speech, so takes last two or three seconds."""
HIDDEN = 32
NARROW_PREDICTOR = 16
"""Narrower than the talker, with a projection between them, as in the 1.7B model; the 0.6B model has one width."""
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>")
LANGUAGES = (
    "korean",
    "english",
    "japanese",
    "chinese",
    "german",
    "french",
    "russian",
    "portuguese",
    "spanish",
    "italian",
)
# "assistant" and its newline must each become one token: the package cuts prompts by position.
TRAINING_TEXT = (
    "assistant\n",
    "assistant",
    "나는 오늘도 천천히 길을 걷는다.",
    "The lamp on the table was still warm.",
    "0123456789 .,?!",
)


def build(folder: Path, seed: int = 0, predictor_hidden: int = NARROW_PREDICTOR) -> Path:
    """Writes the model into `folder`, which must not exist."""
    import_qwen_tts()
    import torch

    (folder / "speech_tokenizer").mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ids = _write_tokenizer(folder)
        _write_talker(folder, ids, predictor_hidden)
        _write_codec(folder / "speech_tokenizer")
    return folder


def reference_samples(seconds: float = 3.0, sample_rate: int = 24_000) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A voice-like buzz that swells three times a second."""
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * np.cumsum(120 + 15 * np.sin(2 * np.pi * 2 * time_s)) / sample_rate
    buzz = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9))
    swell = 0.6 - 0.4 * np.cos(2 * np.pi * 3 * time_s)
    return (0.25 * buzz * swell / np.abs(buzz).max()).astype(np.float32)


def _write_tokenizer(folder: Path) -> dict[str, int]:
    """Returns the ids of the special tokens, and under "" the size of the vocabulary."""
    from tokenizers import ByteLevelBPETokenizer

    bpe = ByteLevelBPETokenizer(add_prefix_space=False)
    bpe.train_from_iterator(TRAINING_TEXT * 3, vocab_size=380, min_frequency=2, show_progress=False)
    bpe.save_model(str(folder))
    first = bpe.get_vocab_size()
    ids = {token: first + offset for offset, token in enumerate(SPECIALS)}
    added = {
        str(number): dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
        | {"content": token, "special": True}
        for token, number in ids.items()
    }
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "added_tokens_decoder": added,
            "additional_special_tokens": SPECIALS[1:],
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "bos_token": None,
            "errors": "replace",
            "model_max_length": 32768,
        },
    )
    return ids | {"": first + len(SPECIALS)}


def _write_talker(folder: Path, ids: dict[str, int], predictor_hidden: int) -> None:
    import torch
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration
    from safetensors.torch import save_file

    config = _talker_config(ids, predictor_hidden)
    model = Qwen3TTSForConditionalGeneration(Qwen3TTSConfig(**config))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.1 if name.startswith("speaker_encoder") else 0.2)
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    # By hand: qwen-tts 0.1.1 cannot write its own config (KeyError: 'dtype').
    _write_json(folder / "config.json", config)
    _write_json(folder / "preprocessor_config.json", {"processor_class": "Qwen3TTSProcessor"})
    # The published values, so that tests see the published limit of 8192 frames.
    _write_json(
        folder / "generation_config.json",
        {
            "do_sample": True,
            "top_k": 50,
            "top_p": 1.0,
            "temperature": 0.9,
            "repetition_penalty": 1.05,
            "subtalker_dosample": True,
            "subtalker_top_k": 50,
            "subtalker_top_p": 1.0,
            "subtalker_temperature": 0.9,
            "max_new_tokens": 8192,
        },
    )


def _talker_config(ids: dict[str, int], predictor_hidden: int) -> dict[str, Any]:
    transformer = {
        "hidden_size": HIDDEN,
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "num_code_groups": CODE_GROUPS,
        "rope_theta": 1_000_000,
    }
    return {
        "architectures": ["Qwen3TTSForConditionalGeneration"],
        "model_type": "qwen3_tts",
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "tts_model_size": "0b6",
        "tts_model_type": "base",
        "im_start_token_id": ids["<|im_start|>"],
        "im_end_token_id": ids["<|im_end|>"],
        "tts_pad_token_id": ids["<tts_pad>"],
        "tts_bos_token_id": ids["<tts_text_bos>"],
        "tts_eos_token_id": ids["<tts_text_eod>"],
        "speaker_encoder_config": {
            "mel_dim": 128,  # fixed in the package
            "enc_dim": HIDDEN,
            "enc_channels": [16, 16, 16, 16, 48],  # the last is the sum of the three before it
            "enc_attention_channels": 8,
            "enc_res2net_scale": 8,
            "enc_se_channels": 8,
            "sample_rate": 24000,
        },
        "talker_config": transformer
        | {
            # generate() forbids the last 1024 ids except the end of speech.
            "vocab_size": CODEBOOK + 1024,
            "num_hidden_layers": 2,
            "rope_scaling": {"interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"},
            "text_hidden_size": HIDDEN,
            "text_vocab_size": ids[""],
            # After the codebook's end, as in the published models, whose codebook ends at 2048.
            "codec_pad_id": CODEBOOK + 100,
            "codec_bos_id": CODEBOOK + 101,
            "codec_eos_token_id": CODEBOOK + 102,
            "codec_think_id": CODEBOOK + 106,
            "codec_nothink_id": CODEBOOK + 107,
            "codec_think_bos_id": CODEBOOK + 108,
            "codec_think_eos_id": CODEBOOK + 109,
            "codec_language_id": {name: CODEBOOK + 2 + number for number, name in enumerate(LANGUAGES)},
            "spk_id": {},
            "spk_is_dialect": {},
            "code_predictor_config": transformer
            | {"hidden_size": predictor_hidden, "vocab_size": CODEBOOK, "num_hidden_layers": 1},
        },
    }


def _write_codec(folder: Path) -> None:
    import torch
    from qwen_tts.core import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
    from safetensors.torch import save_file

    config = _codec_config()
    codec = Qwen3TTSTokenizerV2Model(Qwen3TTSTokenizerV2Config(**config)).eval()
    with torch.no_grad():
        for name, weight in (*codec.named_parameters(), *codec.named_buffers()):
            if name.endswith(("embedding_sum", "embed_sum")):
                weight.normal_()  # zero when built, and all frames would sound alike
            elif name.endswith("cluster_usage"):
                weight.fill_(1)
            elif weight.dim() > 1:
                weight.normal_(0, weight[0].numel() ** -0.5)
        _set_level(codec, rms=0.1)
    save_file(codec.state_dict(), folder / "model.safetensors", {"format": "pt"})
    _write_json(folder / "config.json", config)
    _write_json(
        folder / "preprocessor_config.json",
        {
            "feature_extractor_type": "EncodecFeatureExtractor",
            "feature_size": 1,
            "sampling_rate": 24000,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
        },
    )


def _codec_config() -> dict[str, Any]:
    transformer = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "num_quantizers": CODE_GROUPS,
        "codebook_size": CODEBOOK,
    }
    return {
        "architectures": ["Qwen3TTSTokenizerV2Model"],
        "model_type": "qwen3_tts_tokenizer_12hz",
        "encoder_valid_num_quantizers": CODE_GROUPS,
        "input_sample_rate": 24000,
        "output_sample_rate": 24000,
        "decode_upsample_rate": 1920,
        "encode_downsample_rate": 1920,
        "encoder_config": transformer
        | {
            "num_filters": 2,
            "codebook_dim": 16,
            "vector_quantization_hidden_dimension": 16,
            "num_semantic_quantizers": 1,
            "upsampling_ratios": [8, 6, 5, 4],  # 960, and halved once more: 1920 samples a frame
            "upsample_groups": 32,
            "sliding_window": 250,
            "use_cache": False,
        },
        "decoder_config": transformer
        | {
            "codebook_dim": 32,
            "latent_dim": 32,
            "decoder_dim": 32,
            "sliding_window": 72,
            "upsample_rates": [8, 5, 4, 3],
            "upsampling_ratios": [2, 2],
        },
    }


def _set_level(codec: Any, rms: float) -> None:
    """Scales the last convolution, whose level is measured before the decoder clips to full scale."""
    import torch

    last = codec.decoder.decoder[-1].conv
    last.bias.zero_()
    levels = []
    hook = last.register_forward_hook(lambda _module, _inputs, out: levels.append(out.square().mean().sqrt().item()))
    codec.decoder(torch.randint(0, CODEBOOK, (1, CODE_GROUPS, 40)))
    hook.remove()
    last.weight.mul_(rms / levels[0])


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
