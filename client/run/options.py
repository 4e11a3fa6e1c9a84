"""The options of `narrate run`, and what is checked of them before a server is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from client.errors import ClientError, DraftRefused
from client.settings import ClientSettings
from server.contract.http import Health
from server.terminal.messages import t
from server.text.languages import LANGUAGES, language_name


def not_remembered(reason: str) -> Any:
    """Marks a field of RunOptions that is left out of the file for `narrate resume`."""
    return Field(exclude=True, description=reason)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a person asked of a run.

    An option is written in two places: its parameter in cli.py (names on the command line, help) and its field here,
    with the same name, type and default. A field is remembered for `narrate resume` unless it is marked otherwise.
    Not here are the options that are no part of the run: --key is a secret, --lang holds for this terminal.
    """

    script: Path
    project: str = ""
    """Name of the project; empty for the script's own name."""
    language: str = ""
    """Code or name of one of the ten; empty: detected."""
    draft: bool = False
    local: bool = False
    new: Annotated[bool, not_remembered("the folder is made; resume goes on in it")] = False
    into: Annotated[Path | None, not_remembered("UnfinishedRun.folder is this folder, chosen or made")] = None
    revoice: Annotated[bool, not_remembered("the recordings of the earlier voice are in old/ by then")] = False
    mix: bool = False
    adopt: Annotated[bool, not_remembered("the folder has records again by then")] = False
    resplit: Annotated[bool, not_remembered("the folder is split anew by then")] = False
    """Split the sentences, and detect the language, as today and not as they were recorded."""
    wait_hours: float = 10.0
    server: str = ""
    """The address as typed; empty: from the settings."""
    output: str = ""
    """The output folder as typed; empty: from the settings."""
    as_json: Annotated[bool, not_remembered("resume has a --json of its own")] = False

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """From the parameters of the command, by their names; other parameters are passed over."""
        return cls(**{field.name: parameters[field.name] for field in fields(cls)})

    @property
    def project_name(self) -> str:
        return self.project or self.script.stem


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
    """Raises ClientError where the key is missing, or holds a character that no HTTP header can carry."""
    if not settings.key:
        raise ClientError(
            t(
                "There is no key for the server. Write NARRATE_KEY=... into .env (the same as API_KEY on the "
                "server's PC), or use --local for a server on this PC."
            )
        )
    strange = next((character for character in settings.key if not " " <= character <= "~"), None)
    if strange is not None:
        raise ClientError(
            t(
                "The key for the server holds the character {character}, which no key can have. Copy API_KEY from the "
                "server's .env once more (NARRATE_KEY in .env, or --key).",
                character=repr(strange),
            )
        )


def check_draft(health: Health, allowed: bool) -> None:
    """Raises DraftRefused where the server speaks draft and --draft was not given: a night of robot voice is lost."""
    if health.draft and not allowed:
        raise DraftRefused(
            t(
                "This server speaks only DRAFT: a robot voice, not yours. For your own voice set REF_AUDIO and "
                "REF_TEXT on the server ('voice-server init' asks for them). To try things out with the robot "
                "voice, add --draft."
            )
        )
