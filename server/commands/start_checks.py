"""What must hold before the server starts: key, address, TLS, engine. Knows no socket and no process."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from server.errors import SettingsError
from server.network import is_loopback
from server.settings import MIN_KEY_CHARS, Settings
from server.terminal.messages import t


def check_door(settings: Settings) -> None:
    """Raises SettingsError when API_KEY is missing, cannot travel in a header, or is too short for the address."""
    key = settings.api_key.get_secret_value()
    if not key:
        raise SettingsError(
            t(
                "There is no API_KEY, and without a key the server does not start. Make one with "
                "'voice-server init', or write API_KEY=... into .env."
            )
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(
            t(
                "API_KEY may hold only ASCII letters, digits and marks without spaces: it travels in an HTTP header. "
                "'voice-server init' makes a good one."
            )
        )
    if not is_loopback(settings.host) and len(key) < MIN_KEY_CHARS:
        raise SettingsError(
            t(
                "HOST={host} lets other machines connect, and then API_KEY needs at least {least} characters; "
                "it has {length}. 'voice-server init' makes one, or set HOST=127.0.0.1.",
                host=settings.host,
                least=MIN_KEY_CHARS,
                length=len(key),
            )
        )


def check_tls(settings: Settings) -> bool:
    """Whether the server speaks TLS.

    Raises SettingsError when certificate and key do not make a pair that can be read.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if not cert and not key:
        return False
    if not cert or not key:
        raise SettingsError(
            t(
                "TLS needs both TLS_CERT and TLS_KEY (two PEM files); {missing} is not set. Set it, or remove the "
                "other one.",
                missing="TLS_KEY" if cert else "TLS_CERT",
            )
        )
    try:
        # OpenSSL would ask for a pass phrase at a terminal that nobody sees; the empty one turns that into an error.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SettingsError(
            t(
                "The certificate {cert} and the key {key} cannot be used ({reason}). Both must be PEM files that "
                "belong together, the key without a pass phrase.",
                cert=cert,
                key=key,
                reason=getattr(error, "strerror", None) or error,
            )
        ) from error
    return True


@dataclass(frozen=True)
class EngineChoice:
    engine: str
    """`qwen` or `draft`"""
    reason: str


def choose_engine(settings: Settings, draft_installed: bool) -> EngineChoice:
    """`ENGINE=auto` means qwen when REF_AUDIO is set, and then never falls back to draft speech.

    Raises SettingsError when there is neither a clip nor draft speech.
    """
    if settings.engine == "qwen":
        if not settings.ref_audio:
            raise SettingsError(
                t(
                    "ENGINE=qwen needs your voice: set REF_AUDIO to a clean WAV of 5 to 15 seconds and REF_TEXT to "
                    "its exact words, or run 'voice-server init'."
                )
            )
        return EngineChoice("qwen", t("ENGINE=qwen is set"))
    if settings.engine == "draft":
        return EngineChoice("draft", t("ENGINE=draft is set"))
    if settings.ref_audio:
        return EngineChoice("qwen", t("REF_AUDIO is set, so the cloned voice is used and nothing else"))
    if draft_installed:
        return EngineChoice("draft", t("REF_AUDIO is not set, so this is draft speech: a robot voice, not yours"))
    raise SettingsError(
        t(
            "There is no voice to speak with. Either set REF_AUDIO and REF_TEXT for your own voice "
            "('voice-server init' asks for them), or install draft speech: python scripts/install.py server"
        )
    )
