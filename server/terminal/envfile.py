"""The .env file, for both programs: where it is and what it says. Knows no setting by name."""

from __future__ import annotations

import io
from pathlib import Path

from dotenv import dotenv_values

ENV_NAME = ".env"
PROJECT_ROOT = Path(__file__).resolve().parents[2]


def find_env_file(folder: Path, project_root: Path = PROJECT_ROOT) -> Path | None:
    """The current folder's .env, else the one beside pyproject.toml (an installed package has none)."""
    candidates = [folder / ENV_NAME]
    if (project_root / "pyproject.toml").is_file():
        candidates.append(project_root / ENV_NAME)
    return next((path for path in candidates if path.is_file()), None)


def read_env_file(path: Path) -> dict[str, str]:
    """Its keys and values; empty values are left out, they mean "not set".

    Values are taken literally, `$` included: keys and Windows paths may hold it.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        # What Notepad on Korean Windows writes as "ANSI".
        text = raw.decode("cp949", errors="replace")
    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {key: value.strip() for key, value in values.items() if value and value.strip()}
