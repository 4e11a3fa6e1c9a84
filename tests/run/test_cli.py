from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from client.cli import _with_server, command_as_typed, main, program_as_typed, without_once
from client.commands import play
from client.commands.say import check_out, not_played
from client.commands.status import line_state
from client.errors import ClientError, DiskUnusable
from client.run.opening import alone_in
from client.run.options import need_key
from client.settings import ClientSettings


@pytest.mark.parametrize(
    ("program", "on_path", "typed"),
    [
        ("/p/.venv/bin/narrate", False, "/p/.venv/bin/narrate"),
        ("/p/.venv/bin/narrate", True, "narrate"),
        ("/p/client/__main__.py", False, "narrate"),
    ],
)
def test_the_command_to_go_on_can_be_typed_as_it_stands(program: str, on_path: bool, typed: str) -> None:
    assert program_as_typed(program, lambda name: "/usr/bin/narrate" if on_path else None) == str(Path(typed))


def test_what_was_for_once_and_the_key_are_left_out() -> None:
    words = ["run", "a b.txt", "--new", "--key", "secret", "--mix", "--key=secret", "--revoice", "-p", "x"]
    assert without_once(words) == ["run", "a b.txt", "--mix", "-p", "x"]


def test_a_name_with_a_space_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["narrate", "run", "내 대본.txt"])
    quote = '"' if sys.platform == "win32" else "'"
    assert command_as_typed().endswith(f"run {quote}내 대본.txt{quote}")


@pytest.mark.parametrize(
    ("platform", "has", "found"),
    [
        ("darwin", ["afplay", "ffplay", "aplay"], ["afplay", "ffplay"]),
        ("darwin", [], []),
        ("linux", ["aplay", "paplay"], ["paplay", "aplay"]),
        ("linux", [], []),
        ("win32", ["ffplay"], []),
    ],
)
def test_sound_is_played_with_what_there_is(platform: str, has: list[str], found: list[str]) -> None:
    there = play.players(platform, lambda name: name if name in has else None)
    assert [player[0] for player in there] == found


@pytest.mark.skipif(sys.platform == "win32", reason="plays by itself there")
def test_a_player_that_fails_is_followed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pw-play is installed on many a PC whose sound server is another; `say` was silent there."""
    played = tmp_path / "played"
    names = ("afplay", "ffplay") if sys.platform == "darwin" else ("pw-play", "aplay")
    for name, body in zip(names, ("exit 1", f"touch {played}"), strict=True):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(play, "LINUX_PLAYERS", (("pw-play",), ("aplay",)))
    assert play.play(tmp_path / "a.wav") and played.exists()
    monkeypatch.setattr(play, "LINUX_PLAYERS", (("pw-play",),))
    monkeypatch.setattr(play, "MAC_PLAYERS", (("afplay",),))
    assert not play.play(tmp_path / "a.wav")


def test_a_player_that_fails_is_not_called_missing() -> None:
    assert "has no program" in not_played((), play.LINUX_PLAYERS)
    assert "could not play" in not_played((("aplay", "-q"),), play.LINUX_PLAYERS)
    assert "tried: aplay" in not_played((("aplay", "-q"),), play.LINUX_PLAYERS)
    assert "tried: Windows" in not_played((), ())


@pytest.mark.parametrize("key", ["비밀", "a\nb", "caf\u00e9"])
def test_a_key_that_no_header_can_carry_is_said_so_and_not_shown(key: str, tmp_path: Path) -> None:
    """It ended in "a fault of its own: UnicodeEncodeError"."""
    with pytest.raises(ClientError, match="no key can have") as refused:
        need_key(ClientSettings("http://127.0.0.1:1", key, tmp_path))
    assert key not in str(refused.value)


def test_the_place_of_a_saved_sentence_is_looked_at_before_it_is_spoken(tmp_path: Path) -> None:
    """A folder, or one that is not there, was "a fault of its own" after all the speaking."""
    with pytest.raises(ClientError, match="is a folder"):
        check_out(tmp_path)
    with pytest.raises(ClientError, match="There is no folder"):
        check_out(tmp_path / "no" / "a.wav")
    check_out(tmp_path / "a.wav")


def test_a_locks_folder_that_cannot_be_made_is_a_sentence_about_the_disk(tmp_path: Path) -> None:
    """It was "a fault of its own: PermissionError" or FileExistsError."""
    (tmp_path / ".locks").write_text("a file in its place")
    with pytest.raises(DiskUnusable, match="could not be written"), alone_in(tmp_path / "p"):
        raise AssertionError("never alone")


def test_the_log_of_ones_own_server_is_taken_away_unless_a_sentence_sends_the_reader_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name could be guessed, and it stayed behind after every error."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = ClientSettings("http://127.0.0.1:1", "key", tmp_path)

    def refuse(there: ClientSettings, gone: object) -> int:
        assert len(list(tmp_path.glob("narrate-server-*.log"))) == 1
        raise ClientError("This sentence tells all.")

    with pytest.raises(ClientError, match="tells all"):
        _with_server(settings, True, True, refuse)
    assert list(tmp_path.glob("narrate-server-*.log")) == []

    monkeypatch.setenv("RATE_LIMIT", "no number")
    with pytest.raises(ClientError, match="has ended") as died:
        _with_server(settings, True, True, lambda there, gone: 0)
    (log,) = tmp_path.glob("narrate-server-*.log")
    assert str(log) in str(died.value)


@pytest.mark.parametrize("seed", ["-1", str(2**31)])
def test_a_seed_out_of_range_is_refused_before_any_server_is_asked(
    seed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It went to the server and came back as exit code 4, as if the server were at fault."""
    monkeypatch.setattr(sys, "argv", ["narrate", "say", "가", "--seed", seed])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert f"{seed} is not a whole number from 0 to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recorded", "whole", "there", "state"),
    [
        ("made", True, True, "made"),
        ("made", False, True, "changed"),
        ("made", False, False, "missing"),  # a deleted WAV was said to be changed by hand
        ("failed", False, False, "failed"),
        ("missing", False, False, "missing"),
    ],
)
def test_what_status_says_of_a_line(recorded: str, whole: bool, there: bool, state: str) -> None:
    assert line_state(recorded, whole, there) == state
