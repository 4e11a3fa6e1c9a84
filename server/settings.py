"""The server's settings: the only reader of the environment and of .env on this side. Opens nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_validator

from server.contract.http import DEFAULT_PORT
from server.engines import EngineSettings
from server.errors import SettingsError
from server.network import parse_hosts
from server.places import base_folder, below, find_env_file, named_place
from server.takes.dummy import dummy_for
from server.takes.take import CONFIDENCE_LIMIT, TakeSettings
from server.terminal.envfile import read_env_file
from server.terminal.messages import t
from server.text.languages import LANGUAGES, language_name

MIN_KEY_CHARS = 32
"""Shortest key for a server that other machines can reach."""

MAX_ROWS = 128
"""Of ENGINE_ROWS: four times what the engine takes by itself on a large card."""

CLIENT_PREFIX = "NARRATE_"

PASSED_ON = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "PYTORCH_", "CUDA_", "OMP_")
"""Settings of the libraries below: taken from .env into the worker's environment as they are."""


class Settings(BaseModel):
    """Each field is the setting of the same name in capitals; .env.example explains them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key: SecretStr = SecretStr("")
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    engine: Literal["auto", "qwen", "draft"] = "auto"
    model: str = "Qwen/Qwen3-TTS-12Hz-1.7B-Base"
    ref_audio: str = ""
    ref_text: str = ""
    tts_language: str = "Korean"
    dummy_suffix: str = ""
    device: str = "auto"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    engine_loop: Literal["own", "stock"] = "own"
    engine_rows: int = 0
    codec_context: Literal["state", "whole"] = "state"
    prompt_dir: str = "voices"
    queue_limit: int = 64
    max_takes: int = 3
    cut: Literal["calibrated", "reference"] = "calibrated"
    cut_confidence: float = CONFIDENCE_LIMIT
    head_ms: float = 40.0
    early_stop: Literal["on", "off"] = "on"
    allowed_hosts: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    rate_limit: int = 0
    idle_minutes: float = 0
    log_file: str = ""

    @field_validator("tts_language")
    @classmethod
    def _one_of_the_ten(cls, value: str) -> str:
        return language_name(value)

    @field_validator("port")
    @classmethod
    def _a_port(cls, value: int) -> int:
        if not 1 <= value <= 65535:
            raise ValueError(value)
        return value

    @field_validator("queue_limit", "max_takes")
    @classmethod
    def _at_least_one(cls, value: int) -> int:
        if value < 1:
            raise ValueError(value)
        return value

    @field_validator("engine_rows")
    @classmethod
    def _a_few_rows(cls, value: int) -> int:
        if not 0 <= value <= MAX_ROWS:
            raise ValueError(value)
        return value

    @field_validator("rate_limit", "idle_minutes")
    @classmethod
    def _not_negative(cls, value: float) -> float:
        if not 0 <= value < float("inf"):
            raise ValueError(value)
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _names(cls, value: str) -> str:
        parse_hosts(value)
        return value

    @field_validator("cut_confidence")
    @classmethod
    def _a_share(cls, value: float) -> float:
        if not 0 <= value <= 1:
            raise ValueError(value)
        return value

    @field_validator("head_ms")
    @classmethod
    def _a_short_time(cls, value: float) -> float:
        if not 0 <= value <= 1000:
            raise ValueError(value)
        return value


NAMES = tuple(name.upper() for name in Settings.model_fields)

PATHS = ("ref_audio", "prompt_dir", "tls_cert", "tls_key", "log_file")


@dataclass(frozen=True)
class Loaded:
    settings: Settings
    env_file: Path | None
    warnings: tuple[str, ...] = ()
    """Sentences about keys that nobody reads."""
    passed_on: dict[str, str] = field(default_factory=dict)
    """Environment for the worker, from .env."""
    folder: Path = Path()
    """What relative paths in the settings start from."""

    def log_file(self, attached: bool) -> Path | None:
        """attached: a server for the length of one command, whose starter keeps what it prints; it has no log of its
        own unless LOG_FILE asks for one.
        """
        if self.settings.log_file:
            return Path(self.settings.log_file)
        return None if attached else below(self.folder).log


def load_settings(environ: Mapping[str, str], folder: Path, client_names: tuple[str, ...] = ()) -> Loaded:
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
        warnings=tuple(unknown_key_warnings(in_file, env_file, client_names)),
        passed_on={key: value for key, value in in_file.items() if key.startswith(PASSED_ON)},
        folder=base,
    )


def _is_folder_name(model: str, base: Path) -> bool:
    """Hub names look like relative paths ("Qwen/..."): a folder is one that is there, or that says so by its form."""
    return model.startswith((".", "~", "/", "\\")) or ":" in model or (base / model).is_dir()


def validated(values: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        raise SettingsError(
            t(
                "{name}={value} is not a value that the server knows. It may be: {allowed}. "
                "Correct it in .env or in the environment.",
                name=name.upper(),
                value=values.get(name, ""),
                allowed=_allowed(name),
            )
        ) from error


def _allowed(name: str) -> str:
    if name == "tts_language":
        return ", ".join(LANGUAGES.values())
    if name == "port":
        return "1-65535"
    if name in ("queue_limit", "max_takes"):
        return t("a whole number from 1")
    if name == "rate_limit":
        return t("a whole number from 0")
    if name == "idle_minutes":
        return t("a number from 0")
    if name == "allowed_hosts":
        return t("names and addresses between commas, without http:// and without a path")
    return {
        "engine": "auto, qwen, draft",
        "dtype": "auto, float32, float16, bfloat16",
        "attention": "sdpa, eager, flash_attention_2",
        "engine_loop": "own, stock",
        "engine_rows": f"0-{MAX_ROWS}",
        "codec_context": "state, whole",
        "cut": "calibrated, reference",
        "cut_confidence": "0-1",
        "early_stop": "on, off",
        "head_ms": "0-1000",
    }.get(name, t("text"))


def unknown_key_warnings(in_file: Mapping[str, str], env_file: Path | None, client_names: tuple[str, ...]) -> list[str]:
    """One sentence for each key of .env that no part of this project reads."""
    known = (*NAMES, *client_names)
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
    """Raises SettingsError when DUMMY_SUFFIX cannot be spoken: now, and not at the first request."""
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
