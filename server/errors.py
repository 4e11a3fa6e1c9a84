"""The server's exceptions: each carries a code for machines and the parameters of its sentence.

NarratorError           code and params; http/error_answers.py turns it into a status and a sentence
+-- TextRefused         no engine can speak the text (422)
+-- TakeFailed          the take is unusable; another seed may give a good one (retaken, then 500)
+-- Unavailable         the server cannot speak now (503)
SettingsError           a setting is wrong or missing; the sentence says which and what to do
+-- EngineUnusable      the engine cannot start on this machine with these settings
    +-- NoGpu           torch is a build without CUDA, or sees no card
    +-- NoGpuCode       torch has no code for this card
    +-- ModelNotDownloaded
    +-- ModelDamaged    its files are not the published ones
"""

from __future__ import annotations

from typing import Any

from server.contract.codes import SENTENCES, ErrorCode
from server.terminal.messages import t


class NarratorError(Exception):
    def __init__(self, code: ErrorCode, /, **params: Any) -> None:
        self.code = code
        self.params = params
        super().__init__(code.value)

    def sentence(self) -> str:
        return t(SENTENCES[self.code], **self.params)


class TextRefused(NarratorError):
    pass


class TakeFailed(NarratorError):
    """The audio that the engine made must not be delivered."""

    def __init__(self, reason: str) -> None:
        """reason: a short English phrase such as `frame cap of 75 reached`."""
        super().__init__(ErrorCode.TAKE_FAILED, takes=1, reason=reason)
        self.reason = reason


class Unavailable(NarratorError):
    def __init__(self, code: ErrorCode, retry_after: int, /, **params: Any) -> None:
        """retry_after: seconds until the client should ask again."""
        super().__init__(code, **params)
        self.retry_after = retry_after


class SettingsError(Exception):
    """The exception's text is a whole sentence in the reader's language."""


class EngineUnusable(SettingsError):
    """Raised while an engine opens; the worker passes the sentence on and the parent stops with it."""


class NoGpu(EngineUnusable):
    pass


class NoGpuCode(EngineUnusable):
    pass


class ModelNotDownloaded(EngineUnusable):
    pass


class ModelDamaged(EngineUnusable):
    pass


def one_line(error: BaseException) -> str:
    """An exception's name and the start of its first line, for a sentence."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}".rstrip(": ")
