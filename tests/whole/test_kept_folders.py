"""Project folders and a voices/ folder that commit c94dcad made go on without one request, after every later change.

The folders in tests/fixtures/c94dcad stand for those of the narrators: their README says how they were made. They are
never made again and these tests are never loosened: a change that fails here costs a narrator a night.

Everything is reached through the command line, HTTP and files, so that no move of a module changes these tests.
"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from conftest import HOMES, XDG_HOMES
from kept import (
    JOURNAL,
    KEPT,
    LOG,
    MANIFEST,
    PREVIOUS,
    copy_of,
    files_in,
    hashes_in,
    journal_of,
    kept_folder,
    lost_from,
    manifest_of,
    requests_for_speech,
    sha256,
    wavs_in,
    without,
)
from narrator import Narrator
from servers import RunningServer, running_server

MORNING = "2026-11-28_아침_draft"
READ_WELL = (MORNING, "2026-11-28_harbour_draft")
"""Their scripts have nothing that a better splitter would split otherwise."""
PATIENCE_S = 600.0
"""For one command: only a command that hangs takes so long, on however busy a machine."""

pytestmark = pytest.mark.timeout(3 * PATIENCE_S)


def as_it_was(folder: Path) -> None:
    """Nothing happened to the folder."""


def in_loose_jamo(folder: Path) -> None:
    """Names as macOS and its zip files spell them (NFD)."""
    for path in folder.iterdir():
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))


def names_in_a_ring(folder: Path) -> None:
    """Somebody renamed the recordings, each to the next one's name."""
    names = sorted(path.name for path in folder.glob("*.wav"))
    for name in names:
        (folder / name).rename(folder / f"{name}.aside")
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        (folder / f"{name}.aside").rename(folder / other)


def without_records(*names: str) -> Callable[[Path], None]:
    def lose(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return lose


@dataclass(frozen=True)
class Case:
    """A kept folder, what happened to it, and the command that goes on with it."""

    name: str
    folder: str
    script: str
    project: str = ""
    happened: Callable[[Path], None] = as_it_was
    more: tuple[str, ...] = ()

    @property
    def recorded_anew(self) -> bool:
        """Every record is lost, so that little more than each line's text can be known again."""
        return "--adopt" in self.more

    def words(self) -> list[str]:
        project = ["--project", self.project] if self.project else []
        return ["run", str(KEPT / "scripts" / self.script), *project, "--draft", *self.more]


CASES = (
    Case("korean", MORNING, "아침.txt"),
    Case("english", "2026-11-28_harbour_draft", "harbour.md"),
    Case("torn korean", "2026-11-28_찢긴_draft", "찢긴.txt"),
    Case("torn english", "2026-11-28_torn_draft", "torn.md"),
    Case("torn french", "2026-11-28_vol_draft", "vol.txt"),
    Case("torn japanese", "2026-11-28_なぜ_draft", "なぜ.txt"),
    Case("korean taken for english", "2026-11-28_게임_draft", "게임.txt"),
    Case("renamed folder", "노을 카페 완성본", "카페.txt", "노을 카페"),
    Case("names in loose jamo", MORNING, "아침.txt", happened=in_loose_jamo),
    Case("names in a ring", MORNING, "아침.txt", happened=names_in_a_ring),
    Case("journal alone", MORNING, "아침.txt", happened=without_records(MANIFEST, PREVIOUS)),
    Case("previous copy alone", MORNING, "아침.txt", happened=without_records(MANIFEST, JOURNAL)),
    Case("project.json alone", MORNING, "아침.txt", happened=without_records(PREVIOUS, JOURNAL)),
    Case(
        "no record at all",
        MORNING,
        "아침.txt",
        happened=without_records(MANIFEST, PREVIOUS, JOURNAL),
        more=("--adopt",),
    ),
)


VOICE_FOLDER = "2026-11-28_목소리"
MADE_LONG_AGO_NS = 1_000_000_000 * 10**9


@dataclass(frozen=True)
class ClonedVoice:
    server: RunningServer
    voices: Path
    """PROMPT_DIR: a copy of the kept voices/"""

    def times(self) -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in self.voices.iterdir()}


@dataclass(frozen=True)
class WentOn:
    case: Case
    folder: Path
    before: dict[str, bytes]
    """The files as the command found them."""
    ended: CompletedProcess[str]


@dataclass(frozen=True)
class Night:
    """All cases, gone on with at one server."""

    went_on: dict[str, WentOn]
    requests: int
    """For speech, that came to the server meanwhile."""


@pytest.fixture(scope="module", autouse=True)
def starting_voice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClonedVoice]:
    """A server of the kept model with the kept clip and voices/, all of it in another folder than it was made in.

    Not waited for here: torch loads while the draft voice is tried.
    """
    base = tmp_path_factory.mktemp("cloned")
    for name in ("voices", "model"):
        shutil.copytree(KEPT / name, base / name)
    shutil.copy(KEPT / "reference.wav", base / "my clip.wav")
    for path in (base / "voices").iterdir():
        os.utime(path, ns=(MADE_LONG_AGO_NS, MADE_LONG_AGO_NS))
    with running_server(
        base,
        wait=False,
        ENGINE="qwen",
        MODEL="model/tiny-voice",
        REF_AUDIO="my clip.wav",
        REF_TEXT="나는 오늘도 천천히 길을 걷는다.",
        DEVICE="cpu",
        PROMPT_DIR="voices",
        LC_ALL="en_US.UTF-8",
    ) as server:
        yield ClonedVoice(server, base / "voices")


@pytest.fixture(scope="module")
def cloned_voice(starting_voice: ClonedVoice) -> ClonedVoice:
    starting_voice.server.wait_ready(PATIENCE_S)
    return starting_voice


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server"), wait=False) as running:
        running.wait_ready(PATIENCE_S)
        yield running


def go_on(case: Case, base: Path, server: RunningServer) -> WentOn:
    narrator = Narrator(base / case.name, server)
    folder = copy_of(case.folder, narrator.output)
    case.happened(folder)
    before = files_in(folder)
    return WentOn(case, folder, before, narrator.run(*case.words(), timeout=PATIENCE_S, **home_in(base)))


def home_in(base: Path) -> dict[str, str]:
    """For commands that run before the test's own environment is there."""
    return dict.fromkeys((*HOMES, *XDG_HOMES), str(base / "home"))


@pytest.fixture(scope="module")
def night(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Night:
    base = tmp_path_factory.mktemp("night")
    at_first = requests_for_speech(server)
    with ThreadPoolExecutor(os.cpu_count()) as together:
        went_on = list(together.map(lambda case: go_on(case, base, server), CASES))
    return Night({each.case.name: each for each in went_on}, requests_for_speech(server) - at_first)


def test_no_finished_folder_asks_for_a_line(night: Night) -> None:
    assert night.requests == 0, {name: each.ended.stdout for name, each in night.went_on.items()}


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_a_finished_folder_stays_as_it_is(night: Night, name: str) -> None:
    """Every recording under its own name, byte for byte; the records say what they said, and may say more."""
    it = night.went_on[name]
    assert it.ended.returncode == 0, it.ended.stdout + it.ended.stderr
    kept = kept_folder(it.case.folder)
    assert wavs_in(it.folder) == wavs_in(kept)
    after = files_in(it.folder)
    if it.case.happened is not names_in_a_ring:
        assert it.before.keys() <= after.keys(), "no file was renamed or taken away"
    assert after[LOG].startswith(it.before[LOG])
    if it.case.recorded_anew:
        known = [{name: line[name] for name in ("number", "text", "file", "sha256")} for line in lines_of(kept)]
        assert lost_from(known, lines_of(it.folder)) == []
        return
    assert after[JOURNAL].startswith(it.before.get(JOURNAL, b""))
    assert lost_from(without(manifest_of(kept), "updated"), manifest_of(it.folder)) == []
    assert len(lines_of(it.folder)) == len(lines_of(kept))


def lines_of(folder: Path) -> list[dict[str, object]]:
    return list(manifest_of(folder)["lines"])


def test_the_count_of_requests_is_one_that_counts(server: RunningServer, tmp_path: Path) -> None:
    """A recording is taken away: one request, and the others stay. Else the zero above would prove nothing."""
    narrator = Narrator(tmp_path, server)
    folder = copy_of(MORNING, narrator.output)
    (folder / "002_우산.wav").unlink()
    at_first = requests_for_speech(server)
    ended = narrator.run(*CASES[0].words(), timeout=PATIENCE_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert requests_for_speech(server) - at_first == 1
    others = without(wavs_in(kept_folder(MORNING)), "002_우산.wav")
    assert without(wavs_in(folder), "002_우산.wav") == others


def test_words_that_were_lost_may_be_made_and_nothing_else(server: RunningServer, tmp_path: Path) -> None:
    """c94dcad left a scene, a title in angle brackets and a speaker's line of this script out without a word.

    To speak them takes three requests at most. The sentence that was whole keeps its recording, and the one that was
    not leaves its recording in old/.
    """
    narrator = Narrator(tmp_path, server)
    name = "2026-11-28_lost_draft"
    folder = copy_of(name, narrator.output)
    at_first = requests_for_speech(server)
    ended = narrator.run("run", str(KEPT / "scripts" / "lost.md"), "--draft", timeout=PATIENCE_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert requests_for_speech(server) - at_first <= 3
    kept = wavs_in(kept_folder(name))
    whole = kept["002_밤이_된다.wav"]
    assert whole in [sha256(path.read_bytes()) for path in folder.glob("*.wav")]
    assert set(kept.values()) <= set(wavs_in(folder).values())


@pytest.mark.parametrize("name", [MORNING, "노을 카페 완성본", VOICE_FOLDER])
def test_status_calls_a_kept_folder_finished_and_changes_nothing(tmp_path: Path, name: str) -> None:
    narrator = Narrator(tmp_path)
    folder = copy_of(name, narrator.output)
    ended = narrator.run("status", str(folder), "--json", timeout=PATIENCE_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    kept = kept_folder(name)
    assert lost_from(manifest_of(kept), told) == []
    assert told["states"] == {str(line["number"]): "made" for line in lines_of(kept)}
    assert hashes_in(folder) == hashes_in(kept)


def test_the_newest_of_the_kept_folders_is_found_without_its_name(tmp_path: Path) -> None:
    narrator = Narrator(tmp_path)
    shutil.copytree(KEPT / "projects", narrator.output)
    ended = narrator.run("status", timeout=PATIENCE_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert VOICE_FOLDER in unicodedata.normalize("NFC", ended.stdout)


# --- a folder made now is like one made then ------------------------------------------------------------------------

HEARD = ("duration", "takes", "confidence", "doubtful", "sha256", "sound")
"""What a better cut may change, and what says that it has changed."""


@pytest.fixture(scope="module")
def made_now(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """New project folders from the kept scripts that c94dcad read well, by the kept folder's name."""
    base = tmp_path_factory.mktemp("now")

    def make(case: Case) -> Path:
        narrator = Narrator(base / case.name, server)
        ended = narrator.run(*case.words(), timeout=PATIENCE_S, **home_in(base))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return narrator.project()

    with ThreadPoolExecutor(os.cpu_count()) as together:
        return dict(zip(READ_WELL, together.map(make, CASES[:2]), strict=True))


@pytest.mark.parametrize("name", READ_WELL)
def test_a_folder_made_now_has_the_names_and_the_fields_of_one_made_then(made_now: dict[str, Path], name: str) -> None:
    made, kept = made_now[name], kept_folder(name)
    day = len("2026-11-28")
    assert unicodedata.normalize("NFC", made.name)[day:] == name[day:]
    assert files_in(kept).keys() <= files_in(made).keys()
    assert wavs_in(made).keys() == wavs_in(kept).keys()
    then, now = manifest_of(kept), manifest_of(made)
    assert lost_from(without(then, "program", "created", "updated", "serial", "lines"), now) == []
    assert len(now["lines"]) == len(then["lines"])
    for old, new in zip(then["lines"], now["lines"], strict=True):
        # The seed: a line made again after a crash must be the same take.
        assert lost_from(without(old, *HEARD, "made"), new) == []
        assert {name: type(new[name]) for name in old} == {name: type(value) for name, value in old.items()}


@pytest.mark.parametrize("name", READ_WELL)
def test_a_journal_written_now_has_the_entries_of_one_written_then(made_now: dict[str, Path], name: str) -> None:
    """The project first, then each line as it was finished; what has its default value is left out."""
    then, now = journal_of(kept_folder(name)), journal_of(made_now[name])
    assert [list(entry) for entry in now] == [list(entry) for entry in then]
    assert lost_from(without(then[0]["project"], "program", "created", "serial"), now[0]["project"]) == []
    by_number = {entry["line"]["number"]: entry["line"] for entry in now[1:]}
    for entry in then[1:]:
        line = entry["line"]
        assert lost_from(without(line, *HEARD, "made"), by_number[line["number"]]) == []
        assert line.keys() <= by_number[line["number"]].keys()


def test_the_draft_voice_answers_with_the_fingerprints_of_then(server: RunningServer) -> None:
    """X-Sound is raised on purpose alone: whoever changes how a line sounds writes the new value here, and the tests
    above must hold all the same."""
    answer = server.speak("비가 와요.", language="Korean", seed=912572034)
    assert answer.status_code == 200, answer.text
    line = lines_of(kept_folder(MORNING))[0]
    told = {name: answer.headers[f"X-{name}"] for name in ("engine", "model", "voice", "sound")}
    assert told == {name: line[name] for name in told}
    assert int(answer.headers["X-Seed"]) == line["seed"]


# --- a cloned voice -----------------------------------------------------------------------------------------------


def test_a_kept_voice_is_neither_prepared_nor_calibrated_again(cloned_voice: ClonedVoice) -> None:
    assert hashes_in(cloned_voice.voices) == hashes_in(KEPT / "voices")
    assert set(cloned_voice.times().values()) == {MADE_LONG_AGO_NS}, "and none was written again"
    said = cloned_voice.server.log.read_text("utf-8")
    assert "reading the prepared voice" in said
    assert "preparing the voice" not in said
    assert "saying the appended sentence by itself" not in said


def test_a_kept_voice_has_the_fingerprints_of_then(cloned_voice: ClonedVoice) -> None:
    """The voice's own stays for ever; `sound` is raised on purpose alone, as for the draft voice."""
    line = lines_of(kept_folder(VOICE_FOLDER))[0]
    health = cloned_voice.server.get("/health").json()
    told = {name: health[name] for name in ("engine", "model", "voice", "sound")}
    assert told == {name: line[name] for name in told}
    assert [path.name for path in (KEPT / "voices").glob("*.safetensors")] == [f"{health['voice']}.safetensors"]


def test_a_finished_folder_of_a_cloned_voice_asks_for_no_line(cloned_voice: ClonedVoice, tmp_path: Path) -> None:
    """Its line is doubtful, as every line of a model that speaks noise is: that is no reason to make it again."""
    narrator = Narrator(tmp_path, cloned_voice.server)
    folder = copy_of(VOICE_FOLDER, narrator.output)
    at_first = requests_for_speech(cloned_voice.server)
    ended = narrator.run("run", str(KEPT / "scripts" / "목소리.txt"), timeout=PATIENCE_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert requests_for_speech(cloned_voice.server) == at_first
    kept = kept_folder(VOICE_FOLDER)
    assert wavs_in(folder) == wavs_in(kept)
    assert lost_from(without(manifest_of(kept), "updated"), manifest_of(folder)) == []
    assert [line["doubtful"] for line in lines_of(folder)] == [True]


def test_calibration_that_is_not_kept_is_seen_to_be_made(cloned_voice: ClonedVoice) -> None:
    """The first line in another language has its dummy said: else the unchanged files above would prove nothing."""
    before = cloned_voice.times()
    answer = cloned_voice.server.speak("I walk.", language="English", seed=1)
    assert answer.status_code in (200, 500), "a model that speaks noise may fail at the line itself"
    after = cloned_voice.times()
    assert before.items() <= after.items()
    assert [name for name in after.keys() - before.keys() if name.endswith(".npz")] != []
