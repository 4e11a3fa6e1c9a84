"""The server as the client sees it: ask for a line, get a whole WAV or an exception that says what to do.

Asynchronous only: its task is to keep the server fed with several lines at a time. Knows no file.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import wave
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx
from pydantic import ValidationError

from client.errors import KeyRefused, LineRefused, NotAServer, ServerAway, ServerBusy, TakeRejected
from server.contract import http as contract
from server.contract.codes import SENTENCES, STATUS, ErrorCode, Problem
from server.contract.http import Health
from server.terminal.messages import t

CONNECT_TIMEOUT_S = 10.0
SPEECH_TIMEOUT_S = 900.0
"""Allows for a long sentence on a slow card, behind others in the queue. TCP notices a server that vanished."""
HEALTH_TIMEOUT_S = 10.0
DEFAULT_RETRY_AFTER_S = 5.0
MAX_RETRY_AFTER_S = 120.0


@dataclass(frozen=True)
class Voice:
    """Two lines with equal values sound alike."""

    engine: str
    model: str
    voice: str
    """Fingerprint of reference audio, text and model."""
    sound: str
    """Fingerprint of every other setting that can be heard."""


@dataclass(frozen=True)
class Speech:
    wav: bytes
    seconds: float
    sample_rate: int
    """Hertz"""
    seed: int
    takes: int
    confidence: float
    doubtful: bool
    """The server was not sure of the cut; this line is to be listened to."""
    voice: Voice
    generation_seconds: float


class VoiceServer:
    def __init__(self, address: str, key: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.address = address
        self._http = httpx.AsyncClient(
            base_url=address,
            headers={
                # The server takes turns by this header, so two narrators behind one address share the engine fairly.
                contract.HEADER_CLIENT: secrets.token_hex(8),
                **({"authorization": f"Bearer {key}"} if key else {}),
            },
            timeout=httpx.Timeout(SPEECH_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # Sentences for a server at home must not go to an internet proxy.
            trust_env=False,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def health(self) -> Health:
        """Raises ServerAway, or NotAServer when something else answers there."""
        try:
            response = await self._http.get(contract.PATH_HEALTH, timeout=HEALTH_TIMEOUT_S)
        except httpx.TransportError as error:
            raise self._away(error) from error
        except httpx.DecodingError as error:
            raise NotAServer(str(not_understood(error))) from error
        if response.status_code == STATUS[ErrorCode.HOST_UNKNOWN]:
            raise NotAServer(str(problem_error(response)))
        try:
            return Health.model_validate_json(response.content)
        except ValidationError as error:
            raise NotAServer(
                t(
                    "Something answers at {address}, but it is not a voice-server (status {status}). "
                    "Check NARRATE_SERVER, or --server.",
                    address=self.address,
                    status=response.status_code,
                )
            ) from error

    async def speak(self, text: str, language: str, seed: int | None = None) -> Speech:
        """One sentence. Raises a ServerError that says what to do; see client/errors.py."""
        body: dict[str, object] = {"text": text, "language": language}
        if seed is not None:
            body["seed"] = seed
        try:
            response = await self._http.post(contract.PATH_CLONE, json=body)
        except httpx.TransportError as error:
            raise self._away(error) from error
        except httpx.DecodingError as error:
            raise not_understood(error) from error
        if response.status_code != 200:
            raise problem_error(response)
        return speech_from(response, text)

    def _away(self, error: httpx.TransportError) -> ServerAway:
        return ServerAway(
            t(
                "The server at {address} does not answer ({reason}). Is it switched on and 'voice-server serve' "
                "running there? Is the address right (NARRATE_SERVER)? Does its firewall let this PC in?",
                address=self.address,
                reason=type(error).__name__,
            )
        )


def problem_error(response: httpx.Response) -> Exception:
    """The answer's problem details as an exception in the reader's language."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return _unknown_answer(response)
    sentence = problem_sentence(problem)
    if problem.code == ErrorCode.UNAUTHORIZED:
        return KeyRefused(sentence)
    if response.status_code in (429, 503):
        return ServerBusy(sentence, retry_after_s(response))
    if response.status_code >= 500:
        return TakeRejected(sentence, problem.code)
    return LineRefused(sentence, problem.code)


def problem_sentence(problem: Problem) -> str:
    """In the reader's language where the code is known, else the server's own English sentence."""
    try:
        return t(SENTENCES[ErrorCode(problem.code)], **problem.params)
    except (ValueError, KeyError):  # a code or parameters of a newer server
        return problem.detail


def _unknown_answer(response: httpx.Response) -> Exception:
    sentence = t(
        "The server answered with status {status} and no explanation. Is it a voice-server, or a proxy before it?",
        status=response.status_code,
    )
    if response.status_code in (429, 502, 503, 504):
        return ServerBusy(sentence, retry_after_s(response))
    return TakeRejected(sentence, f"http_{response.status_code}")


def retry_after_s(response: httpx.Response) -> float:
    """Seconds that the server asks to wait, from 0.5 to MAX_RETRY_AFTER_S."""
    try:
        wanted = float(response.headers.get("retry-after", DEFAULT_RETRY_AFTER_S))
    except ValueError:  # the other form of the header, a date
        wanted = DEFAULT_RETRY_AFTER_S
    return min(max(wanted, 0.5), MAX_RETRY_AFTER_S)


def speech_from(response: httpx.Response, text: str) -> Speech:
    """Raises TakeRejected unless the answer is one whole WAV, made from exactly this text."""
    ours = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if response.headers.get(contract.HEADER_TEXT_SHA256) != ours:
        raise TakeRejected(t("The server answered with the audio of another text; it was thrown away."), "wrong_text")
    rate, frames = wav_size(response.content)
    try:
        return _speech(response, rate, frames)
    except (KeyError, ValueError) as error:  # a proxy that drops headers, or another version of the server
        raise not_understood(error) from error


def not_understood(error: Exception) -> TakeRejected:
    return TakeRejected(
        t(
            "The server's answer is not understood ({kind}: {error}). Are server and narrate of one version?",
            kind=type(error).__name__,
            error=error,
        ),
        "not_understood",
    )


def _speech(response: httpx.Response, rate: int, frames: int) -> Speech:
    headers = response.headers
    return Speech(
        wav=response.content,
        seconds=frames / rate,
        sample_rate=rate,
        seed=int(headers[contract.HEADER_SEED]),
        takes=int(headers[contract.HEADER_TAKES]),
        confidence=float(headers[contract.HEADER_CUT_CONFIDENCE]),
        doubtful=headers.get(contract.HEADER_DOUBTFUL) == "yes",
        voice=Voice(
            engine=headers[contract.HEADER_ENGINE],
            model=headers[contract.HEADER_MODEL],
            voice=headers[contract.HEADER_VOICE],
            sound=headers[contract.HEADER_SOUND],
        ),
        generation_seconds=float(headers[contract.HEADER_TIME_GEN]),
    )


def wav_size(content: bytes) -> tuple[int, int]:
    """Sample rate (Hz) and samples of a whole mono 16-bit WAV. Raises TakeRejected for anything else."""
    broken = TakeRejected(t("The server's answer is not a whole WAV file; it was thrown away."), "broken_wav")
    try:
        with wave.open(io.BytesIO(content)) as wav:
            frames = wav.getnframes()
            whole = len(wav.readframes(frames)) == frames * 2
            if (
                not whole
                or frames == 0
                or wav.getframerate() == 0
                or wav.getnchannels() != 1
                or wav.getsampwidth() != 2
            ):
                raise broken
            return wav.getframerate(), frames
    except (wave.Error, EOFError) as error:
        raise broken from error
