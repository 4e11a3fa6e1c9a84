"""Qwen3-TTS in a cloned voice: all of torch and qwen_tts lives in this package, and is imported when it is opened."""

from __future__ import annotations

import os

from server.engines import Announce, Engine, EngineSettings
from server.terminal.messages import t


def open_qwen(settings: EngineSettings, announce: Announce) -> Engine:
    """Loads the model and makes or reads the voice clone prompt; seconds to minutes, longer with a download.

    Raises EngineUnusable with a sentence when that is not possible on this machine with these settings.
    """
    from server.engines.qwen.load.checkpoint import is_folder
    from server.engines.qwen.load.imports import import_qwen_tts

    if is_folder(settings.model):
        # A model on this disk needs no network. huggingface_hub reads the variable once, when it is imported.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    announce(t("importing torch and qwen-tts"))
    import_qwen_tts()

    if settings.loop == "stock":
        from server.engines.qwen.stock import QwenEngine

        return QwenEngine.open(settings, announce)
    from server.engines.qwen.loop.engine import open_batched

    return open_batched(settings, announce)
