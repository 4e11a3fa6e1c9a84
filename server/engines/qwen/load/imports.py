"""Imports qwen_tts where packages that only its 25 Hz tokenizer uses are missing or broken.

qwen_tts 0.1.1 imports torchaudio, sox and onnxruntime unconditionally, in core/tokenizer_25hz/vq/speech_vq.py; the
published models have the 12 Hz tokenizer and never reach that code. The published Linux torchaudio is linked against
CUDA and fails beside any other torch ("libc10_cuda.so: cannot open shared object file"), and sox complains that its
program is missing. So placeholders stand for all three while qwen_tts is imported.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import io
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from server.errors import EngineUnusable, one_line
from server.terminal.messages import t

ONLY_25HZ = ("sox", "onnxruntime", "torchaudio", "torchaudio.compliance", "torchaudio.compliance.kaldi")


class _Placeholder(ModuleType):
    """Can be imported like a package. Using an attribute raises ImportError with the reason."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        # importlib.util.find_spec, which transformers calls, raises for a module without a spec.
        self.__spec__ = importlib.machinery.ModuleSpec(name, loader=None, is_package=True)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # inspect and copy ask for such names and expect AttributeError
            raise AttributeError(name)
        raise ImportError(f"{self.__name__}.{name} is used only by the 25 Hz tokenizer; this server runs 12 Hz models")


@contextlib.contextmanager
def placeholders() -> Iterator[None]:
    """Inert modules in place of ONLY_25HZ, save those that are imported already."""
    placed: dict[str, ModuleType] = {}
    for name in ONLY_25HZ:
        if name in sys.modules:
            continue
        placed[name] = sys.modules[name] = _Placeholder(name)
        parent, _, child = name.rpartition(".")
        if parent in placed:
            setattr(placed[parent], child, placed[name])
    try:
        yield
    finally:
        # Removed again: a later import of torchaudio gets the real one, or its real error.
        for name, module in placed.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def import_qwen_tts() -> ModuleType:
    """The qwen_tts package, imported without its banner.

    Raises EngineUnusable when it or torch is missing or broken.
    """
    try:
        # transformers asks for these packages' versions once, at its import: it has to see the real ones.
        importlib.import_module("transformers.utils.import_utils")
        # The banner on stdout advises installing flash-attn, which does not exist for Windows.
        with placeholders(), contextlib.redirect_stdout(io.StringIO()):
            module = importlib.import_module("qwen_tts")
    # OSError: torch's libraries do not load (WinError 126, a wrong CUDA build). The other three are what transformers
    # other than 4.57.3 gives: names gone, decorators with another signature, attributes renamed.
    except (ImportError, OSError, TypeError, AttributeError) as error:
        raise EngineUnusable(
            t(
                "qwen-tts cannot be imported ({reason}). 'python scripts/install.py server' installs it with the right "
                "torch (docs/en/your-voice.md, step 4).",
                reason=one_line(error),
            )
        ) from error
    quiet_transformers()
    return module


def quiet_transformers() -> None:
    """Turns off transformers' warnings, which print a line about pad_token_id for each sentence."""
    importlib.import_module("transformers").logging.set_verbosity_error()
