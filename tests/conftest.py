"""What all tests share: a home and an environment of their own, the tiny model, a reference clip."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Read when torch and huggingface_hub are imported, and passed on to the programs that tests start. One thread: the
# tiny model is 15 times slower on two that are contended for.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import filelock
import pytest
import pytest_timeout
from clock import CLOCK, seconds
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from server.contract.env_names import CLIENT_NAMES
from server.settings import NAMES
from server.terminal.messages import use_language

# Hypothesis has deadlines of its own (200 ms an example, 1 s for the first examples), which a busy machine breaks.
hypothesis_settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# On CI the same examples each time: a new one is found, and mended, where somebody is looking.
hypothesis_settings.register_profile("ci", hypothesis_settings.get_profile("busy"), derandomize=True)
hypothesis_settings.load_profile("ci" if os.environ.get("CI") else "busy")

HOMES = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "WIN_PD_OVERRIDE_LOCAL_APPDATA")
XDG_HOMES = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
REFERENCE_TEXT = "나는 오늘도 천천히 길을 걷는다."


class ReferenceClip(NamedTuple):
    path: Path
    """24 kHz mono WAV, 3 s"""
    text: str


SLOWEST_FILES = (
    "test_whole_path.py",
    "test_qwen.py",
    "test_kept_folders.py",
    "test_server_qwen.py",
    "test_soak.py",
    "test_bench_engine.py",
    "test_kept_surface.py",
    "test_loop_engine.py",
    "test_services.py",
    "test_door.py",
    "test_server.py",
    "test_incremental_decode.py",
)
"""Begun first, the longest at the head: the short files then fill both cores to the end (scripts/test.py)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool:
    """The limit of a test is a deadline like the others; here each test begins, so the clock is looked at too."""
    CLOCK.refresh()
    scaled = settings._replace(timeout=seconds(settings.timeout))
    return bool(pytest_timeout.pytest_timeout_set_timer(item, scaled))


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the developer's home, or the settings of a server that runs on this machine."""
    home = tmp_path_factory.mktemp("home")
    for name in (*HOMES, *XDG_HOMES):
        monkeypatch.setenv(name, str(home))
    for name in list(os.environ):
        if name in (*NAMES, *CLIENT_NAMES):
            monkeypatch.delenv(name)
    use_language("en")
    yield
    use_language("en")


REQUIRE_SYSTEM = "NARRATOR_REQUIRE_SYSTEM"
"""Set by CI: a test marked `system` that lacks its program fails there instead of being skipped."""


def need_program(program: str, package: str) -> str:
    """Its path; skips the test naming the Debian package that has it."""
    path = shutil.which(program)
    if path is None:
        sentence = f"{program} is missing; it comes with Debian's package {package}"
        if os.environ.get(REQUIRE_SYSTEM):
            pytest.fail(sentence)
        pytest.skip(sentence)
    return path


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of pytest-xdist, which each have a base folder of their own below it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny random model. Shared: copy it before changing it."""
    import tiny_checkpoint as builder

    folder = shared_folder(tmp_path_factory) / "tiny-checkpoint"
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.exists():
            # Renamed when whole: a worker that was killed while building leaves no half of it.
            builder.build(folder.with_name("tiny-checkpoint.part")).rename(folder)
    return folder


@pytest.fixture(scope="session")
def reference_clip(tmp_path_factory: pytest.TempPathFactory) -> ReferenceClip:
    import soundfile
    import tiny_checkpoint as builder

    path = tmp_path_factory.mktemp("reference") / "reference.wav"
    soundfile.write(path, builder.reference_samples(), 24_000)
    return ReferenceClip(path, REFERENCE_TEXT)
