"""`narrate` as a narrator runs it: a process of its own, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

from clock import seconds
from servers import RunningServer


class Narrator:
    def __init__(self, folder: Path, server: RunningServer | None = None) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.server = server
        self.folder.mkdir(parents=True, exist_ok=True)

    def environment(self) -> dict[str, str]:
        ours = {"NARRATE_OUTPUT": str(self.output)}
        if self.server:
            ours |= {"NARRATE_SERVER": self.server.address, "NARRATE_KEY": self.server.key}
        return {**os.environ, "PYTHONUTF8": "1", **ours}

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "client", *args]

    def run(self, *args: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*args),
            env={**self.environment(), **environment},
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            timeout=seconds(timeout),
            check=False,
        )

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*args),
            env=self.environment(),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def script(self, text: str, name: str = "script.txt") -> str:
        (self.folder / name).write_text(text, "utf-8")
        return name

    def project_folders(self) -> list[Path]:
        return sorted(path.parent for path in self.output.glob("*/project.json"))

    def project(self) -> Path:
        folders = self.project_folders()
        assert len(folders) == 1, folders
        return folders[0]

    def manifest(self) -> dict[str, Any]:
        return dict(json.loads((self.project() / "project.json").read_text("utf-8")))

    def wavs(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.project().glob("*.wav"))}


def is_whole_wav(path: Path) -> bool:
    with wave.open(str(path)) as wav:
        return len(wav.readframes(wav.getnframes())) == wav.getnframes() * 2 > 0
