"""voice-server init: asks three questions and writes .env. Knows no engine."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

import typer

from server.contract.http import DEFAULT_PORT
from server.errors import SettingsError
from server.network import own_addresses
from server.places import ENV_NAME
from server.settings import MIN_KEY_CHARS
from server.terminal.console import say
from server.terminal.messages import t
from server.whole_files import write_whole


@dataclass(frozen=True)
class Answers:
    key: str = field(repr=False)
    ref_audio: str
    ref_text: str
    lan: bool


def new_key() -> str:
    """43 characters, 256 random bits."""
    key = secrets.token_urlsafe(32)
    assert len(key) >= MIN_KEY_CHARS
    return key


def env_text(answers: Answers) -> str:
    """The content of .env. Values stand in single quotes, where a backslash of a Windows path stays a backslash."""
    lines = [
        "# overnight-narrator; every setting is explained in .env.example",
        f"API_KEY={answers.key}",
        f"HOST={'0.0.0.0' if answers.lan else '127.0.0.1'}",  # noqa: S104 only when another PC is to connect
        f"PORT={DEFAULT_PORT}",
    ]
    if answers.ref_audio:
        lines += [f"REF_AUDIO={quoted(answers.ref_audio)}", f"REF_TEXT={quoted(answers.ref_text)}"]
    lines += [
        "",
        "# This PC's narrate command",
        f"NARRATE_SERVER=http://127.0.0.1:{DEFAULT_PORT}",
        f"NARRATE_KEY={answers.key}",
    ]
    return "\n".join(lines) + "\n"


def quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def cleaned_path(typed: str) -> str:
    """A pasted path without the quotes that Explorer's "Copy as path" or a file that was dragged in puts around it."""
    return typed.strip().strip("\"'").strip()


def ask_and_write(folder: Path, *, force: bool, ref_audio: str, ref_text: str, lan: bool | None) -> int:
    """Raises SettingsError when there is a .env already, or the voice recording is no file."""
    target = folder / ENV_NAME
    if target.exists() and not force:
        raise SettingsError(
            t(
                "{file} is there already and was left alone. Change it with a text editor, or write a new one "
                "(with a new key) with 'voice-server init --force'.",
                file=target,
            )
        )
    audio = cleaned_path(ref_audio) or cleaned_path(_ask(_voice_question()))
    if audio and not Path(audio).expanduser().is_file():
        raise SettingsError(
            t("There is no file {file}. Give the full path of the voice recording, then run init again.", file=audio)
        )
    text = ref_text or (_ask(t("The exact words of that recording")) if audio else "")
    if audio and not text.strip():
        raise SettingsError(
            t(
                "The words of the recording are missing. Cloning needs them exactly as they are spoken; "
                "run init again with them."
            )
        )
    if lan is None:
        lan = typer.confirm(t("Will another PC connect to this server?"), default=False)
    audio = str(Path(audio).expanduser().resolve()) if audio else ""
    answers = Answers(new_key(), audio, " ".join(text.split()), lan)
    write_whole(target, env_text(answers).encode(), private=True)
    say(t("Written: {file}", file=target))
    _say_next(answers)
    return 0


def _voice_question() -> str:
    return t("File of the voice recording, 5 to 15 s of your voice without noise (empty: draft speech for now)")


def _ask(question: str) -> str:
    return str(typer.prompt(question, default="", show_default=False))


def _say_next(answers: Answers) -> None:
    say(t("Next: 'voice-server doctor' checks this PC, 'voice-server serve' starts the server."))
    if answers.lan:
        addresses = own_addresses() or ["ADDRESS-OF-THIS-PC"]
        say(t("On the PC where you run narrate, write these two lines into .env:"))
        say(f"NARRATE_SERVER=http://{addresses[0]}:{DEFAULT_PORT}")
        say(f"NARRATE_KEY={answers.key}")
        say(t("Windows asks about its firewall at the first start: allow private networks only."))
