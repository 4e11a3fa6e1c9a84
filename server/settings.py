"""The server's settings: the only reader of the environment and of .env on this side. Opens nothing else.

A new setting is a field of `Settings`, a line in .env.example and one in docs/: its bounds stand in the field, and the
sentence for a wrong value is made from them.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from server.contract.env_names import CLIENT_NAMES
from server.contract.http import DEFAULT_PORT
from server.engines import EngineSettings
from server.errors import SettingsError
from server.network import parse_hosts
from server.places import base_folder, below, find_env_file, named_place
from server.takes.dummy import dummy_for
from server.takes.take import CONFIDENCE_LIMIT, TakeSettings
from server.terminal.envfile import read_env_file
from server.terminal.messages import N_, t
from server.text.languages import LANGUAGES, language_name

MIN_KEY_CHARS = 32
"""Shortest key for a server that other machines can reach."""

MAX_ROWS = 128
"""Of ENGINE_ROWS: four times what the engine takes by itself on a large card."""

MAX_RATE = 1_000_000_000
"""Of RATE_LIMIT, requests a minute: far more than one PC answers, and a float holds it exactly."""

MAX_SHOWN_CHARS = 80
"""Of a wrong value, in the sentence about it"""

PASSED_ON = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "PYTORCH_", "CUDA_", "OMP_")
"""Beginnings of the names of libraries' settings: passed from .env to the worker's environment unchanged."""


@dataclass(frozen=True)
class MayBe:
    """What a field may hold, for a field whose type and bounds do not say it."""

    words: str
    """Marked with N_ where they are to be translated"""


def _names_of_hosts(value: str) -> str:
    parse_hosts(value)
    return value


class Settings(BaseModel):
    """Each field is the setting of the same name in capitals; .env.example explains the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key: SecretStr = SecretStr("")
    host: str = "127.0.0.1"
    port: int = Field(DEFAULT_PORT, ge=1, le=65535)
    engine: Literal["auto", "qwen", "draft"] = "auto"
    model: str = "Qwen/Qwen3-TTS-12Hz-1.7B-Base"
    ref_audio: str = ""
    ref_text: str = ""
    tts_language: Annotated[str, AfterValidator(language_name), MayBe(", ".join(LANGUAGES.values()))] = "Korean"
    dummy_suffix: str = ""
    device: str = "auto"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    engine_loop: Literal["own", "stock"] = "own"
    engine_rows: int = Field(0, ge=0, le=MAX_ROWS)
    codec_context: Literal["state", "whole"] = "state"
    prompt_dir: str = "voices"
    queue_limit: int = Field(64, ge=1)
    max_takes: int = Field(3, ge=1)
    cut: Literal["calibrated", "reference"] = "calibrated"
    cut_confidence: float = Field(CONFIDENCE_LIMIT, ge=0, le=1)
    head_ms: float = Field(40.0, ge=0, le=1000)
    early_stop: Literal["on", "off"] = "on"
    allowed_hosts: Annotated[
        str,
        AfterValidator(_names_of_hosts),
        MayBe(N_("names and addresses between commas, without http:// and without a path")),
    ] = ""
    tls_cert: str = ""
    tls_key: str = ""
    rate_limit: int = Field(0, ge=0, le=MAX_RATE)
    idle_minutes: float = Field(0, ge=0, allow_inf_nan=False)
    log_file: str = ""


NAMES = tuple(name.upper() for name in Settings.model_fields)

PATHS = ("ref_audio", "prompt_dir", "tls_cert", "tls_key", "log_file")


@dataclass(frozen=True)
class Loaded:
    settings: Settings
    env_file: Path | None
    warnings: tuple[str, ...] = ()
    """Sentences about names in .env that are no settings."""
    passed_on: dict[str, str] = field(default_factory=dict, repr=False)
    """Environment for the worker, from .env. May hold HF_TOKEN."""
    folder: Path = Path()
    """Where relative paths in the settings start."""

    def log_file(self, attached: bool) -> Path | None:
        """None: no log of its own.

        attached: a server for the length of one command. The program that started it keeps what it prints, so only
        LOG_FILE makes it write a log.
        """
        if self.settings.log_file:
            return Path(self.settings.log_file)
        return None if attached else below(self.folder).log


def load_settings(environ: Mapping[str, str], folder: Path) -> Loaded:
    """Environment over .env over defaults.

    Raises SettingsError with a sentence naming the setting, its value and what it may be.
    """
    env_file = find_env_file(folder)
    in_file = read_env_file(env_file) if env_file else {}
    values: dict[str, str] = {}
    for name in NAMES:
        value = environ.get(name, "").strip() or in_file.get(name, "")
        if value:
            values[name.lower()] = value
    base = base_folder(env_file, folder)
    for name in PATHS:
        if name in values:
            values[name] = str(named_place(values[name], base))
    values.setdefault("prompt_dir", str(below(base).voices))
    if "model" in values and _is_folder_name(values["model"], base):
        values["model"] = str(named_place(values["model"], base))
    return Loaded(
        settings=validated(values),
        env_file=env_file,
        warnings=tuple(unknown_key_warnings(in_file, env_file)),
        passed_on={key: value for key, value in in_file.items() if key.startswith(PASSED_ON)},
        folder=base,
    )


def _is_folder_name(model: str, base: Path) -> bool:
    """Names on Hugging Face look like relative paths ("Qwen/..."): a folder exists, or its form shows it to be one."""
    if model.startswith((".", "~", "/", "\\")) or ":" in model:
        return True
    with contextlib.suppress(OSError, ValueError):  # longer than a path may be; a NUL in it
        return (base / model).is_dir()
    return False


def validated(values: Mapping[str, str]) -> Settings:
    """Raises SettingsError with a sentence about the first value that is not allowed."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        value = values[name]
        raise SettingsError(
            t(
                "{name}={value} is not a value that the server knows. It may be: {allowed}. "
                "Correct it in .env or in the environment.",
                name=name.upper(),
                value=value if len(value) <= MAX_SHOWN_CHARS else value[:MAX_SHOWN_CHARS] + " ...",
                allowed=may_be(Settings.model_fields[name]),
            )
        ) from error


def may_be(field: FieldInfo) -> str:
    """What the setting may hold, in the reader's language, made from the field's own type and bounds."""
    for each in field.metadata:
        if isinstance(each, MayBe):
            return t(each.words)
    if choices := get_args(field.annotation):  # of a Literal
        return ", ".join(choices)
    least, most = (_bound(field, name) for name in ("ge", "le"))
    if least is None:
        return t("text")
    if most is not None:
        return f"{least}-{most}"
    if field.annotation is int:
        return t("a whole number from {least}", least=least)
    return t("a number from {least}", least=least)


def _bound(field: FieldInfo, name: str) -> float | None:
    return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)


def unknown_key_warnings(in_file: Mapping[str, str], env_file: Path | None) -> list[str]:
    """One sentence for each name in .env that no part of this project reads."""
    known = (*NAMES, *CLIENT_NAMES)
    warnings = []
    for key in in_file:
        if key in known or key.startswith(PASSED_ON):
            continue
        near = difflib.get_close_matches(key.upper(), known, n=1, cutoff=0.7)
        sentence = t("{key} in {file} is not a setting of this program; it has no effect.", key=key, file=env_file)
        if near:
            sentence += " " + t("Did you mean {name}?", name=near[0])
        warnings.append(sentence)
    return warnings


def engine_settings(settings: Settings, engine: str) -> EngineSettings:
    return EngineSettings(
        engine=engine,
        model=settings.model,
        ref_audio=settings.ref_audio,
        ref_text=settings.ref_text,
        device=settings.device,
        dtype=settings.dtype,
        attention=settings.attention,
        loop=settings.engine_loop,
        rows=settings.engine_rows,
        codec_context=settings.codec_context,
        prompt_dir=settings.prompt_dir,
    )


def take_settings(settings: Settings) -> TakeSettings:
    """Raises SettingsError when DUMMY_SUFFIX cannot be spoken, so that it is known before the first request."""
    dummy_for(settings.tts_language, "", settings.dummy_suffix)
    return TakeSettings(
        language=settings.tts_language,
        dummy_suffix=settings.dummy_suffix,
        max_takes=settings.max_takes,
        cut=settings.cut,
        early_stop=settings.early_stop == "on",
        confidence=settings.cut_confidence,
        head_ms=settings.head_ms,
    )
