"""The ten languages, by code and by name."""

from __future__ import annotations

LANGUAGES: dict[str, str] = {
    "ko": "Korean",
    "en": "English",
    "ja": "Japanese",
    "zh": "Chinese",
    "de": "German",
    "fr": "French",
    "ru": "Russian",
    "pt": "Portuguese",
    "es": "Spanish",
    "it": "Italian",
}
"""ISO 639-1 code to the name that Qwen3-TTS knows."""


def language_name(value: str) -> str:
    """`ko`, `Korean` or `korean` to `Korean`.

    Raises ValueError for a language outside the ten.
    """
    folded = value.strip().casefold()
    for code, name in LANGUAGES.items():
        if folded in (code, name.casefold()):
            return name
    raise ValueError(value)


def language_code(value: str) -> str:
    """`Korean`, `korean` or `ko` to `ko`.

    Raises ValueError for a language outside the ten.
    """
    name = language_name(value)
    return next(code for code, known in LANGUAGES.items() if known == name)
