"""The files as other programs read them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import need_program
from narrator import Narrator
from servers import running_server

SCRIPT = "# 인트로\n안녕하세요, 여러분.\n오늘은 버전 2.0을 살펴보겠습니다.\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Narrator:
    folder = tmp_path_factory.mktemp("wav")
    with running_server(folder / "server") as server:
        narrator = Narrator(folder / "narrator", server)
        assert narrator.run("run", narrator.script(SCRIPT), "--draft").returncode == 0
    return narrator


@pytest.mark.system
def test_ffprobe_reads_plain_mono_pcm_of_the_recorded_length(project: Narrator) -> None:
    ffprobe = need_program("ffprobe", "ffmpeg")
    lines = project.manifest()["lines"]
    assert len(lines) == 2
    for line in lines:
        answer = subprocess.run(
            [ffprobe, "-v", "error", "-of", "json", "-show_streams", "-show_format", project.project() / line["file"]],
            capture_output=True,
            check=True,
        )
        assert answer.stderr == b""
        probed = json.loads(answer.stdout)
        stream = probed["streams"][0]
        assert (stream["codec_name"], stream["channels"], stream["sample_rate"]) == ("pcm_s16le", 1, "22050")
        assert float(probed["format"]["duration"]) == pytest.approx(line["duration"], abs=1e-4)


@pytest.mark.system
def test_sox_finds_sound_and_no_complaint(project: Narrator) -> None:
    sox = need_program("sox", "sox")
    for file in Path(project.project()).glob("*.wav"):
        answer = subprocess.run([sox, file, "-n", "stat"], capture_output=True, encoding="utf-8", check=True)
        assert "WARN" not in answer.stderr
        statistics = dict(line.split(":", 1) for line in answer.stderr.splitlines() if ":" in line)
        assert float(statistics["Maximum amplitude"]) > 0.05
