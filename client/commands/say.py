"""narrate say: one sentence, spoken and played."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.commands import play
from client.errors import ClientError, LineRefused
from client.project import files
from client.run.options import check_draft, given_language, need_key
from client.run.patience import Patience, ServerDied, patiently, ready_server
from client.run.screen import PlainReport
from client.settings import ClientSettings
from client.voice_server.api import Speech, VoiceServer
from client.voice_server.transport import WatchedTransport
from server.sentences.language import detect_language
from server.terminal.console import say as say_line
from server.terminal.exit_codes import ExitCode
from server.terminal.messages import t


@dataclass(frozen=True)
class SayOptions:
    text: str
    language: str
    draft: bool
    seed: int | None
    out: Path | None


def check_out(file: Path) -> None:
    """Raises ClientError where no file of this name can be written, before a minute of speaking is spent."""
    if file.is_dir():
        raise ClientError(
            t(
                "{file} is a folder. Give --out the name of a file, such as {example}.",
                file=file,
                example=file / "say.wav",
            )
        )
    if not file.parent.is_dir():
        raise ClientError(
            t("There is no folder {folder}. Make it first, or give another name to --out.", folder=file.parent)
        )


def say_sentence(settings: ClientSettings, options: SayOptions, server_died: ServerDied = lambda: None) -> ExitCode:
    need_key(settings)
    if options.out is not None:
        check_out(options.out)
    language = given_language(options.language) or detect_language(options.text)
    try:
        speech, draft = asyncio.run(_speak_once(settings, options, language, server_died))
    except LineRefused as error:  # the typed sentence is at fault, not the server
        raise ClientError(str(error)) from error
    if draft:
        say_line(t("This is DRAFT speech, a robot voice: not for publication."))
    say_line(
        t(
            "{seconds} s of speech in {time} s (seed {seed}).",
            seconds=f"{speech.seconds:.1f}",
            time=f"{speech.generation_seconds:.1f}",
            seed=speech.seed,
        )
    )
    if options.out is not None:
        try:
            options.out.write_bytes(speech.wav)
        except OSError as error:
            raise files.disk_error(error, options.out) from error
        say_line(t("Saved: {file}", file=options.out.resolve()))
        return ExitCode.OK
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "say.wav"
        file.write_bytes(speech.wav)
        if play.play(file):
            return ExitCode.OK
    raise ClientError(not_played(play.players(sys.platform, shutil.which), play.known_players(sys.platform)))


def not_played(tried: Sequence[play.Player], known: Sequence[play.Player]) -> str:
    """Why nothing was heard. known: empty where the system plays by itself."""
    if known and not tried:
        return t(
            "This PC has no program that plays sound (looked for: {players}). Save it with --out FILE.wav.",
            players=", ".join(player[0] for player in known),
        )
    return t(
        "This PC could not play the sound (tried: {players}). Is a loudspeaker connected? Save it with --out FILE.wav.",
        players=", ".join(player[0] for player in tried) or "Windows",
    )


async def _speak_once(
    settings: ClientSettings, options: SayOptions, language: str, server_died: ServerDied
) -> tuple[Speech, bool]:
    limit_s = 0.0 if server_died() else 120.0
    patience = Patience(PlainReport(sys.stderr), limit_s, asyncio.Event(), server_died=server_died)
    async with VoiceServer(settings.server, settings.key, WatchedTransport()) as server:
        health = await ready_server(server, patience)
        check_draft(health, options.draft)
        speech = await patiently(lambda: server.speak(options.text, language, options.seed), patience)
        return speech, health.draft
