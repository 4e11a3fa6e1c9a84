"""The real qwen-tts package behind the real server, on the tiny random checkpoint: noise for speech, but every step."""

from __future__ import annotations

import io
import os
import signal
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from clock import exit_code_of
from conftest import ReferenceClip
from narrator import Narrator, is_whole_wav
from servers import RunningServer, running_server, worker_pids

MADE, READ = "preparing the voice", "reading the prepared voice"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, reference_clip: ReferenceClip
) -> Iterator[RunningServer]:
    with running_server(
        tmp_path_factory.mktemp("qwen"),
        wait=False,
        ENGINE="auto",
        MODEL=str(tiny_checkpoint),
        REF_AUDIO=str(reference_clip.path),
        REF_TEXT=reference_clip.text,
        DEVICE="cpu",
        # A random model ends when it likes: many takes run into their cap or stop at once.
        MAX_TAKES="20",
    ) as running:
        running.wait_ready(120)
        yield running


def test_a_cloned_voice_answers_a_wav_at_the_models_rate(server: RunningServer) -> None:
    answer = server.speak("오늘은 날씨가 참 좋네요.", seed=1)
    assert answer.status_code == 200, answer.text
    with wave.open(io.BytesIO(answer.content)) as wav:
        assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) == (1, 2, 24_000)
        assert wav.getnframes() > 0.2 * 24_000
    assert answer.headers["x-engine"] == "qwen"
    health = server.get("/health").json()
    assert health["draft"] is False
    assert (health["model"], health["voice"]) == (answer.headers["x-model"], answer.headers["x-voice"])
    assert health["dtype"] == "float32"


def test_the_prompt_is_made_once_and_survives_a_workers_death(server: RunningServer) -> None:
    before = server.speak("하나 둘 셋.", seed=4)
    assert before.status_code == 200
    assert server.log.read_text("utf-8").count(MADE) == 1
    os.kill(worker_pids(server)[0], signal.SIGKILL)
    after = server.speak("하나 둘 셋.", seed=4)
    assert after.status_code == 200
    assert after.content == before.content
    assert after.headers["x-voice"] == before.headers["x-voice"]
    log = server.log.read_text("utf-8")
    assert (log.count(MADE), log.count(READ)) == (1, 1)


def test_narrate_needs_no_draft_flag_for_a_cloned_voice(server: RunningServer, tmp_path: Path) -> None:
    narrator = Narrator(tmp_path, server)
    ended = narrator.run("run", narrator.script("하나입니다.\n둘입니다.\n셋입니다.\n"), "--project", "복제")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert narrator.project().name.endswith("_복제")
    assert "DRAFT" not in ended.stdout
    assert len(narrator.wavs()) == 3
    assert all(is_whole_wav(path) for path in narrator.project().glob("*.wav"))
    assert {line["engine"] for line in narrator.manifest()["lines"]} == {"qwen"}


def test_the_parent_has_no_torch_in_it(server: RunningServer) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps")
    if not maps.exists():
        pytest.skip("only Linux tells which files a process has open as code")
    assert "libtorch" not in maps.read_text()
    assert "libtorch" in Path(f"/proc/{worker_pids(server)[0]}/maps").read_text()


def test_without_a_card_qwen_refuses_to_start_unless_cpu_was_said(
    tmp_path: Path, tiny_checkpoint: Path, reference_clip: ReferenceClip
) -> None:
    with running_server(
        tmp_path,
        wait=False,
        ENGINE="qwen",
        MODEL=str(tiny_checkpoint),
        REF_AUDIO=str(reference_clip.path),
        REF_TEXT=reference_clip.text,
        CUDA_VISIBLE_DEVICES="",
    ) as server:
        assert exit_code_of(server.process, 60) == 41
        said = server.log.read_text("utf-8")
    assert "DEVICE=cpu" in said
    assert "Traceback" not in said


def test_noise_instead_of_speech_is_doubtful_and_its_retakes_are_bounded(server: RunningServer) -> None:
    """The random model speaks noise, in which no dummy can be found: delivered, but as what it is."""
    answer = server.speak("오늘은 아무 말도 알아들을 수 없는 날입니다.", seed=9)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-doubtful"] == "yes"
    assert float(answer.headers["x-cut-confidence"]) < 0.9
    assert 1 < int(answer.headers["x-takes"]) <= 20
