"""Every sentence that a person can see, in the reader's language. Knows no sentence itself.

Sentences are written in English where they are used, as `t("Saved {file}.", file=name)`; the Korean ones are in
locale/ko/LC_MESSAGES/messages.po. `scripts/messages.py` collects and compiles them, and
tests/terminal/test_messages.py fails where one is missing.
"""

from __future__ import annotations

import gettext
import locale
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOCALE_DIR = Path(__file__).parent / "locale"
DOMAIN = "messages"
READER_LANGUAGES = ("en", "ko")

_current: gettext.NullTranslations = gettext.NullTranslations()
_language = "en"


def N_(sentence: str) -> str:
    """Names a sentence for the catalogue without translating it yet."""
    return sentence


def t(sentence: str, /, **params: Any) -> str:
    """The sentence in the reader's language, its {places} filled."""
    return _current.gettext(sentence).format(**params)


def use_language(language: str) -> None:
    """Sets the language of every later sentence; a language that is not in READER_LANGUAGES means English."""
    global _current, _language
    _language = language if language in READER_LANGUAGES else "en"
    # English needs no catalogue, since the sentences are English. A missing Korean one is a broken installation.
    _current = (
        gettext.NullTranslations()
        if _language == "en"
        else gettext.translation(DOMAIN, LOCALE_DIR, languages=[_language])
    )
    # typer's own words ("Usage", "Options", ...) come through the process-wide gettext domain of the same name.
    gettext.bindtextdomain(DOMAIN, str(LOCALE_DIR))
    gettext.textdomain(DOMAIN)
    os.environ["LANGUAGE"] = _language


def current_language() -> str:
    return _language


def reader_language(argv: list[str], environ: Mapping[str, str], system: str | None) -> str:
    """Which language the reader wants: `--lang`, else LC_ALL, LC_MESSAGES, LANG, else the system's, else English."""
    for i, word in enumerate(argv):
        if word == "--lang" and i + 1 < len(argv):
            return _known(argv[i + 1])
        if word.startswith("--lang="):
            return _known(word.removeprefix("--lang="))
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(name):
            return _known(environ[name])
    return _known(system or "")


def _known(name: str) -> str:
    code = name.replace("-", "_").split("_")[0].split(".")[0].casefold()
    # Windows names locales in words: Korean_Korea.949.
    return "ko" if code in ("ko", "korean") else "en"


def system_language() -> str | None:
    """The desktop's language: Windows and macOS have no LANG in a double-clicked terminal."""
    if sys.platform == "win32":
        import ctypes

        primary = ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF
        return {0x12: "ko"}.get(primary, "en")  # LANG_KOREAN, winnt.h
    try:
        return locale.getlocale()[0]
    except ValueError:  # a locale name that Python does not know, UTF-8 on macOS for one
        return None
