"""A project folder on disk, driven as a run drives it. Recordings are small; each one's bytes are its identity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from client.project.folder import ProjectFolder, new_project
from client.project.manifest import JOURNAL, MANIFEST, PREVIOUS, Manifest, ScriptRecord, read_records
from client.project.plan import WantedLine
from client.voice_server.api import Speech, Voice

WENDY = Voice("qwen", "1.7B", "aaaa", "s1")
OTHER = Voice("qwen", "1.7B", "bbbb", "s1")
SCRIPT = ScriptRecord(name="script.txt", sha256="0", language="Korean")


def wanted(texts: Sequence[str], named: bool = True) -> tuple[WantedLine, ...]:
    """named: the text is in the file's name. Else lines that change places fight for the same names."""
    return tuple(
        WantedLine(n, text, "", "", 1, f"{n:03}_{text}.wav" if named else f"{n:03}.wav")
        for n, text in enumerate(texts, 1)
    )


def speech(text: str, voice: Voice = WENDY) -> Speech:
    return Speech(f"audio of {text} by {voice.voice}".encode(), 1.0, 24_000, 1, 1, 0.9, False, voice, 0.5)


class Folder:
    """A project folder on disk, driven as a run drives it."""

    def __init__(self, path: Path, named: bool = True) -> None:
        self.path = path
        self.named = named
        self.project = new_project(path.parent, path.name, "p", False, SCRIPT, "test")

    def open(self, texts: Sequence[str], voice: Voice = WENDY, mix: bool = False) -> list[str]:
        """A run begins; returns the texts that it has to make."""
        records = read_records(self.path)
        fresh = Manifest(project="p", created="2026-02-19T10:00:00+09:00", script=SCRIPT)
        self.project = ProjectFolder.of(self.path, records) if records else ProjectFolder(self.path, fresh)
        plan = self.project.plan(wanted(texts, self.named), "Korean", voice, mix)
        self.project.apply(plan, "Korean", SCRIPT)
        self.to_make = plan.to_make
        return [line.wanted.text for line in plan.to_make]

    def make(self, count: int | None = None, voice: Voice = WENDY) -> None:
        for line in self.to_make[:count]:
            self.project.save_line(
                line.wanted.number, speech(line.wanted.text, voice), "Korean", attempts=line.attempts + 1
            )

    def wavs(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.path.glob("*.wav"))}

    def old(self) -> list[str]:
        return sorted(path.read_text() for path in self.path.glob("old/*.wav"))

    def is_right(self, texts: Sequence[str]) -> None:
        """Every line's own audio under its own name, and nothing else."""
        assert self.wavs() == {line.file: f"audio of {line.text} by aaaa" for line in wanted(texts, self.named)}
        assert sorted(path.name for path in self.path.iterdir() if path.is_file()) == sorted(
            [*self.wavs(), MANIFEST, PREVIOUS, JOURNAL]
        )
