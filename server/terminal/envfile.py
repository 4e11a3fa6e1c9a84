"""What a .env file says, for both programs. Knows no setting by name; server/places.py knows where the file lies."""

from __future__ import annotations

import io
from pathlib import Path

from dotenv import dotenv_values


def read_env_file(path: Path) -> dict[str, str]:
    """Its keys and values; empty values are left out, they mean "not set".

    Values are taken literally, `$` included: keys and Windows paths may hold it.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        # cp949 is what Notepad on Korean Windows calls "ANSI".
        text = raw.decode("cp949", errors="replace")
    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {key: value.strip() for key, value in values.items() if value and value.strip()}
