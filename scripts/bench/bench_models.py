"""Models for benchmarks, without a download: the tiny model at real depth, and the published sizes with random weights.

Knows no clock. Needs tests/support on the path, whose tiny checkpoint brings the tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.engines.qwen.load.imports import import_qwen_tts

REFERENCE_TEXT = "나는 오늘도 천천히 길을 걷는다."


def overhead_model(folder: Path, device: str = "cpu", dtype: Any = None, predictor: Any = None) -> Any:
    """A stock Qwen3TTSModel of tiny width and real depth. dtype: float32 by default; the codec is always in float32."""
    import loops
    import torch

    model_class: Any = import_qwen_tts().Qwen3TTSModel
    dtype = dtype or torch.float32
    model = model_class.from_pretrained(
        str(loops.build_deep(folder / "overhead")), device_map=device, dtype=dtype, attn_implementation="sdpa"
    )
    model.model.speech_tokenizer.model.float()
    in_formats(model.model, dtype, predictor or dtype)
    return model


def in_formats(inner: Any, dtype: Any, predictor: Any) -> None:
    """Puts the code predictor into its own format, as the server does. A model of one format gets no casts, which would
    cost stock time."""
    if predictor != dtype:
        from server.engines.qwen.load.mixed_precision import split_precision

        split_precision(inner, predictor)


def published_size(
    name: str,
    folder: Path,
    device: str,
    dtype: Any,
    predictor: Any = None,
    fill: Callable[[Any], None] | None = None,
    whole_encoder: bool = False,
) -> Any:
    """A stock Qwen3TTSModel of the published sizes, `0.6b` or `1.7b`, with random weights and the tiny tokenizer.

    The codec is in float32. fill: gives a module its weights on the device; None means `randomise`. whole_encoder: the
    codec's encoder has its published size too, for figures of memory.
    """
    import tiny_checkpoint
    import torch
    from qwen_tts import Qwen3TTSModel, Qwen3TTSTokenizer
    from qwen_tts.core import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration, Qwen3TTSProcessor
    from transformers import Qwen2TokenizerFast
    from transformers.modeling_utils import no_init_weights

    tiny = tiny_checkpoint.build(folder / "tiny")
    torch.manual_seed(0)
    with no_init_weights():
        torch.set_default_dtype(dtype)
        inner = Qwen3TTSForConditionalGeneration(Qwen3TTSConfig(**model_config(name))).eval()
        torch.set_default_dtype(torch.float32)
        codec = Qwen3TTSTokenizerV2Model(Qwen3TTSTokenizerV2Config(**codec_config(whole_encoder))).eval()
    for module in (inner, codec):
        # On the device: a card makes random numbers a hundred times faster than a CPU.
        (fill or randomise)(module.to(device))
    in_formats(inner, dtype, predictor or dtype)
    tokenizer = Qwen3TTSTokenizer()
    tokenizer.model, tokenizer.config, tokenizer.device = codec, codec.config, torch.device(device)
    inner.load_speech_tokenizer(tokenizer)
    inner.load_generate_config(json.loads((tiny / "generation_config.json").read_text()))
    inner.config._attn_implementation = "sdpa"
    return Qwen3TTSModel(
        inner, Qwen3TTSProcessor(tokenizer=Qwen2TokenizerFast.from_pretrained(tiny)), inner.generate_config
    )


def randomise(module: Any) -> None:
    """Random weights at which the numbers stay finite."""
    import torch

    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.endswith("cluster_usage") or (weight.dim() < 2 and name.endswith("norm.weight")):
                weight.fill_(1.0)
            elif weight.dim() >= 2:
                weight.uniform_(-0.03, 0.03)
            else:
                weight.zero_()


def model_config(name: str) -> dict[str, Any]:
    """The published config.json of this size."""
    hidden, intermediate = {"0.6b": (1024, 3072), "1.7b": (2048, 6144)}[name]
    heads = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "rope_theta": 1_000_000}
    languages = dict(zip(("english", "german", "chinese", "spanish"), (2050, 2053, 2055, 2054), strict=True))
    return {
        "model_type": "qwen3_tts",
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "tts_model_size": "0b6" if name == "0.6b" else "1b7",
        "tts_model_type": "base",
        "im_start_token_id": 151644,
        "im_end_token_id": 151645,
        "tts_pad_token_id": 151671,
        "tts_bos_token_id": 151672,
        "tts_eos_token_id": 151673,
        "speaker_encoder_config": {"enc_dim": hidden, "sample_rate": 24000},
        "talker_config": heads
        | {
            "vocab_size": 3072,
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": 28,
            "max_position_embeddings": 32768,
            "rope_scaling": {"interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
            "num_code_groups": 16,
            "text_hidden_size": 2048,
            "text_vocab_size": 151936,
            "codec_pad_id": 2148,
            "codec_bos_id": 2149,
            "codec_eos_token_id": 2150,
            "codec_think_id": 2154,
            "codec_nothink_id": 2155,
            "codec_think_bos_id": 2156,
            "codec_think_eos_id": 2157,
            "codec_language_id": languages | {"korean": 2064, "japanese": 2058},
            "spk_id": {},
            "spk_is_dialect": {},
            "code_predictor_config": heads
            | {
                "vocab_size": 2048,
                "hidden_size": 1024,
                "intermediate_size": 3072,
                "num_hidden_layers": 5,
                "num_code_groups": 16,
                "max_position_embeddings": 65536,
            },
        },
    }


def fill_evenly(module: Any) -> None:
    """Small equal weights, for figures of memory: they are made in seconds and keep numbers finite."""
    import torch

    with torch.no_grad():
        for name, weight in module.named_parameters():
            is_scale = weight.dim() < 2 and name.endswith(("norm.weight", "cluster_usage"))
            weight.fill_(0.003 if weight.dim() >= 2 else float(is_scale))


def codec_config(whole_encoder: bool = False) -> dict[str, Any]:
    """The published decoder; the encoder is small by default, since no benchmark runs it."""
    return {
        "encoder_valid_num_quantizers": 16,
        "input_sample_rate": 24000,
        "output_sample_rate": 24000,
        "decode_upsample_rate": 1920,
        "encode_downsample_rate": 1920,
        "encoder_config": {}
        if whole_encoder
        else {
            "num_filters": 2,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 48,
            "upsampling_ratios": [8, 6, 5, 4],
            "upsample_groups": 32,
            "num_quantizers": 16,
            "codebook_size": 32,
            "codebook_dim": 16,
            "vector_quantization_hidden_dimension": 16,
        },
        "decoder_config": {
            "latent_dim": 1024,
            "codebook_dim": 512,
            "codebook_size": 2048,
            "decoder_dim": 1536,
            "hidden_size": 512,
            "intermediate_size": 1024,
            "num_hidden_layers": 8,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "head_dim": 64,
            "sliding_window": 72,
            "num_quantizers": 16,
            "upsample_rates": [8, 5, 4, 3],
            "upsampling_ratios": [2, 2],
        },
    }


def stock_engine(model: Any, reference_frames: int) -> Any:
    """A QwenEngine on this model, with a random voice clone prompt of so many frames."""
    import torch
    from qwen_tts import VoiceClonePromptItem

    from server.engines import EngineFacts
    from server.engines.qwen.stock import SAMPLING, QwenEngine

    config = model.model.config.talker_config
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, config.code_predictor_config.vocab_size, (reference_frames, 16), generator=generator)
    speaker = torch.randn(config.hidden_size, generator=generator)
    device = next(model.model.talker.parameters()).device
    voice = VoiceClonePromptItem(codes.to(device), speaker.to(device), False, True, REFERENCE_TEXT)
    facts = EngineFacts("qwen", "bench", "0", 24_000, device.type, "", "", 1)
    return QwenEngine(facts, model, [voice], dict(SAMPLING))


def weight_bytes_per_frame(model: Any) -> int:
    """Bytes of weights that one frame reads for any batch size: the roofline of memory bandwidth."""
    talker = model.model.talker
    predictor = talker.code_predictor
    layers = sum(weight.nbytes for weight in talker.model.layers.parameters()) + talker.codec_head.weight.nbytes
    small = sum(weight.nbytes for weight in predictor.model.layers.parameters())
    projection = sum(weight.nbytes for weight in predictor.small_to_mtp_projection.parameters())
    return int(layers + 15 * (small + projection) + sum(head.weight.nbytes for head in predictor.lm_head))
