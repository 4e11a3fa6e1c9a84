"""voice-server init: what it writes is what the server reads."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from clock import seconds

from client.settings import load_client_settings
from server.commands.init import Answers, ask_and_write, cleaned_path, env_text, new_key, quoted
from server.commands.start_checks import check_door
from server.errors import SettingsError
from server.settings import load_settings


def init(folder: Path, typed: str = "", *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", "init", *flags],
        input=typed,
        env=os.environ.copy(),
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=seconds(60),
        check=False,
    )


def test_the_questions_make_an_env_that_both_programs_read(tmp_path: Path) -> None:
    clip = tmp_path / "내 목소리's.wav"
    clip.touch()
    ended = init(tmp_path, f'"{clip}"\n안녕하세요, "제" 목소리입니다.\ny\n')
    assert ended.returncode == 0, ended.stderr
    settings = load_settings({}, tmp_path).settings
    assert settings.ref_audio == str(clip)
    assert settings.ref_text == '안녕하세요, "제" 목소리입니다.'
    assert settings.host == "0.0.0.0"
    check_door(settings)
    client = load_client_settings({}, tmp_path)
    assert client.key == settings.api_key.get_secret_value()
    assert client.key in ended.stdout, "the other PC needs it"


def test_without_another_pc_the_server_stays_on_loopback_and_the_key_off_the_screen(tmp_path: Path) -> None:
    ended = init(tmp_path, "\nn\n")
    assert ended.returncode == 0, ended.stderr
    settings = load_settings({}, tmp_path).settings
    assert settings.host == "127.0.0.1"
    assert settings.api_key.get_secret_value() not in ended.stdout


def test_an_env_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_KEY=mine\n")
    ended = init(tmp_path, "\nn\n")
    assert ended.returncode == 1
    assert "--force" in ended.stderr
    assert (tmp_path / ".env").read_text() == "API_KEY=mine\n"
    assert init(tmp_path, "\nn\n", "--force").returncode == 0
    assert "mine" not in (tmp_path / ".env").read_text()


def test_a_clip_that_is_not_there_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.wav"):
        ask_and_write(tmp_path, force=False, ref_audio="nowhere.wav", ref_text="words", lan=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission bits")
def test_the_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    init(tmp_path, "\nn\n")
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_keys_are_long_and_never_the_same() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert min(len(key) for key in keys) >= 43


@pytest.mark.parametrize(
    "value", ["C:\\new\\table.wav", "it's", "a\\'b", "plain", "끝\\", '"quoted"', "$HOME", "a # b", "\\\\server\\share"]
)
def test_quoting_survives_the_dotenv_reader(tmp_path: Path, value: str) -> None:
    (tmp_path / ".env").write_text(env_text(Answers("k" * 32, "a.wav", value, False)), "utf-8")
    assert load_settings({}, tmp_path).settings.ref_text == value, quoted(value)


@pytest.mark.parametrize("typed", ['"C:\\a b.wav"', "'C:\\a b.wav'", "  C:\\a b.wav  ", "C:\\a b.wav"])
def test_a_pasted_path_may_have_explorers_quotes(typed: str) -> None:
    assert cleaned_path(typed) == "C:\\a b.wav"
