"""A folder that has lost all its records: which WAV may be taken for which line, and what the narrator is asked.

A WAV does not say which sentence it speaks. Its name says the number and the first words or the heading of the line
that it was made for, and an edited script may have given that name to another sentence. So nothing is taken without
`--adopt`, and every WAV that is taken is listed for listening.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.errors import RecordsLost, TakeRejected
from client.project import files
from client.project.manifest import JOURNAL, MANIFEST, PREVIOUS, LineRecord, ManifestSource
from client.project.plan import WantedLine
from client.voice_server.api import Voice, wav_size
from server.script.names import safe_project_name
from server.terminal.messages import t
from server.text.pace import expected_seconds

MIN_SHARE, MAX_SHARE = 0.35, 3.0
"""Bounds of a WAV's length as shares of the expected one, the upper bound plus a second."""


@dataclass(frozen=True)
class WholeWav:
    sha256: str
    seconds: float
    sample_rate: int
    """Hertz"""


def could_be(line: WantedLine, language: str, wav: WholeWav) -> bool:
    """Whether the sentence can take as long as that."""
    expected = expected_seconds(line.text, language)
    return MIN_SHARE * expected <= wav.seconds <= MAX_SHARE * expected + 1.0


def adopted(
    wanted: Sequence[WantedLine], language: str, voice: Voice, wavs: Mapping[str, WholeWav]
) -> list[LineRecord]:
    """Records for the lines under whose exact name a whole WAV of a possible length lies; all marked as doubtful.

    wavs: by their names, composed (NFC). voice: the server's present voice; the narrator says that it spoke them.
    """
    return [
        LineRecord(
            number=line.number,
            text=line.text,
            label=line.label,
            heading=line.heading,
            paragraph=line.paragraph,
            file=line.file,
            status="made",
            language=language,
            duration=round(wavs[line.file].seconds, 6),
            sample_rate=wavs[line.file].sample_rate,
            engine=voice.engine,
            model=voice.model,
            voice=voice.voice,
            sound=voice.sound,
            attempts=1,
            doubtful=True,
            sha256=wavs[line.file].sha256,
        )
        for line in wanted
        if line.file in wavs and could_be(line, language, wavs[line.file])
    ]


def whole_wavs(folder: Path) -> dict[str, WholeWav]:
    """The folder's WAVs that are whole and not silent, by their composed names. Raises FileHeld or DiskUnusable."""
    found = {}
    for path in sorted(folder.glob("*.wav")):
        content = files.read(path)
        if content is None:
            continue
        try:
            rate, frames = wav_size(content)
        except TakeRejected:
            continue
        # A power cut can leave a header with nothing but zeros behind it.
        if rate > 0 and any(content[44:]):
            name = unicodedata.normalize("NFC", path.name)
            found[name] = WholeWav(hashlib.sha256(content).hexdigest(), frames / rate, rate)
    return found


def is_folder_of(name: str, project: str, draft: bool) -> bool:
    """Whether a folder of this name was made for this project: `DATE_project[_draft][_2]`."""
    base = re.escape(safe_project_name(project)) + ("_draft" if draft else "")
    return bool(re.fullmatch(rf"\d{{4}}-\d\d-\d\d_{base}(_\d+)?", unicodedata.normalize("NFC", name), re.IGNORECASE))


def lost_folder(
    output: Path, known: Mapping[str, object], project: str, draft: bool, wanted: Sequence[WantedLine]
) -> Path | None:
    """The newest folder of this project that has recordings under this script's names and no record of any.

    known: composed names of the folders that have records.
    """
    names = {line.file for line in wanted}
    candidates = []
    for path in output.iterdir() if output.is_dir() else []:
        composed = unicodedata.normalize("NFC", path.name)
        ours = composed not in known and path.is_dir() and is_folder_of(composed, project, draft)
        if ours and any(unicodedata.normalize("NFC", wav.name) in names for wav in path.glob("*.wav")):
            candidates.append((composed, path))
    return max(candidates)[1] if candidates else None


def records_lost(folder: Path) -> RecordsLost:
    return RecordsLost(
        t(
            "{folder} holds recordings, but {names} are all lost or damaged: nobody knows any more which sentence each "
            "WAV speaks. Choose: --adopt takes each WAV that has exactly a line's name and could be that sentence by "
            "its length, and lists them for listening; --new makes every line again in a new folder. Nothing in the "
            "folder has been changed.",
            folder=folder,
            names=f"{MANIFEST}, {PREVIOUS}, {JOURNAL}",
        )
    )


def source_sentence(source: ManifestSource) -> str | None:
    """The sentence that says what project.json was restored from; None where it was read itself."""
    if source is ManifestSource.CURRENT:
        return None
    return t(
        "{manifest} was lost or damaged; it has been put together again from {source}.",
        manifest=MANIFEST,
        source={ManifestSource.JOURNAL: JOURNAL, ManifestSource.PREVIOUS: PREVIOUS}[source],
    )
