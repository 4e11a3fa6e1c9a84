"""Draft speech with eSpeak NG, at arm's length. Importing this package imports nothing of eSpeak NG."""

from __future__ import annotations

import importlib.util

LOADER = "espeakng_loader"
"""The package that brings eSpeak NG's library and voice data"""


def draft_installed() -> bool:
    return importlib.util.find_spec(LOADER) is not None
