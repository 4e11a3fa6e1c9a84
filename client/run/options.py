"""What a person asked of a run, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.errors import ClientError, DraftRefused
from client.settings import ClientSettings
from server.contract.http import Health
from server.terminal.messages import t
from server.text.languages import LANGUAGES, language_name


@dataclass(frozen=True)
class RunOptions:
    script: Path
    project: str
    language: str
    draft: bool
    new: bool
    into: Path | None
    revoice: bool
    mix: bool
    wait_s: float
    json: bool
    again: str
    adopt: bool = False
    """Take recordings whose records are lost for what their names say."""
    server_was_there: bool = False
    """This run spoke with the server before, so it is waited for from the start."""
    typed_in: Path | None = None
    """The folder of the command, for `narrate resume`; None: this run is not to be remembered."""
    server: str = ""
    local: bool = False


def given_language(language: str) -> str | None:
    """The language that --language names; None where it was left out. Raises ClientError."""
    if not language:
        return None
    try:
        return language_name(language)
    except ValueError as error:
        raise ClientError(
            t(
                "The language {language} is not one of the ten: {languages}.",
                language=language,
                languages=", ".join(f"{code} ({name})" for code, name in LANGUAGES.items()),
            )
        ) from error


def need_key(settings: ClientSettings) -> None:
    if not settings.key:
        raise ClientError(
            t(
                "There is no key for the server. Write NARRATE_KEY=... into .env (the same as API_KEY on the "
                "server's PC), or use --local for a server on this PC."
            )
        )
    strange = next((character for character in settings.key if not " " <= character <= "~"), None)
    if strange is not None:  # no header can carry it
        raise ClientError(
            t(
                "The key for the server holds the character {character}, which no key can have. Copy API_KEY from the "
                "server's .env once more (NARRATE_KEY in .env, or --key).",
                character=repr(strange),
            )
        )


def check_draft(health: Health, allowed: bool) -> None:
    """Nobody is to wake up to a night of robot voice. Raises DraftRefused."""
    if health.draft and not allowed:
        raise DraftRefused(
            t(
                "This server speaks only DRAFT: a robot voice, not yours. For your own voice set REF_AUDIO and "
                "REF_TEXT on the server ('voice-server init' asks for them). To try things out with the robot "
                "voice, add --draft."
            )
        )
