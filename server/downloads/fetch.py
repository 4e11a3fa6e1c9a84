"""One file over HTTP to one path: goes on where it stopped, checked, whole or not at all. Knows no hub."""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from server.downloads.answers import Answer, PartNote, Resume, Source, Tries, judge, resume_from, safe_length
from server.downloads.errors import Damaged, DownloadFailed, NoRoom, NotThere, Refused, Unreachable
from server.downloads.part import Fetched, Part
from server.downloads.progress import megabytes
from server.errors import one_line
from server.terminal.messages import t

USER_AGENT = "overnight-narrator"


@dataclass(frozen=True)
class Limits:
    stall_s: float = 60.0
    """A connection on which no byte came for so long is given up."""
    connect_s: float = 20.0
    pauses_s: tuple[float, ...] = (1, 2, 5, 10, 20, 40, 60, 60, 60)
    """Before each new try in a row without progress: four minutes outlast the restart of a router."""
    sync_bytes: int = 16 << 20
    """Bytes between two syncs: a loss of power costs no more."""
    spare_bytes: int = 500_000_000
    """Left free on the drive for everything else."""


@dataclass(frozen=True)
class Doing:
    """Effects of a download: messages, progress, free room, pauses. Tests hand in their own."""

    say: Callable[[str], None]
    progress: Callable[[int, int | None], None] = lambda done, total: None
    """Bytes on the disk, bytes in all if known; called for each piece that came."""
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    sleep: Callable[[float], None] = time.sleep


class TryFailed(Exception):
    """This try failed; another may succeed."""

    def __init__(self, phrase: str, asked_s: float = 0.0) -> None:
        """asked_s: seconds that the server asked to wait."""
        super().__init__(phrase)
        self.asked_s = asked_s


def open_client(limits: Limits) -> httpx.Client:
    """Follows redirects; httpx drops Authorization when one leads to another host.

    Raises DownloadFailed when the proxy settings of this machine cannot be used.
    """
    timeout = httpx.Timeout(limits.stall_s, connect=limits.connect_s)
    try:
        return httpx.Client(follow_redirects=True, timeout=timeout, headers={"User-Agent": USER_AGENT})
    except (ImportError, ValueError) as error:  # a SOCKS proxy, a proxy address that is none
        raise DownloadFailed(
            t("The proxy settings of this PC (HTTPS_PROXY, ALL_PROXY) cannot be used: {reason}", reason=one_line(error))
        ) from error


def fetch(
    client: httpx.Client,
    source: Source,
    target: Path,
    doing: Doing,
    limits: Limits,
    headers: Mapping[str, str] | None = None,
) -> Fetched:
    """Writes the file to `target`, which appears whole or not at all; what came stays in `target`.part for next time.

    Raises DownloadFailed.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Part(target) as part:
            size = source.size or (part.note.size if part.note else None)
            part.keep(safe_length(part.length, size, limits.sync_bytes))
            return _fetch_into(part, client, source, doing, limits, headers or {})
    except OSError as error:
        raise disk_failure(target, error) from error


def _fetch_into(
    part: Part, client: httpx.Client, source: Source, doing: Doing, limits: Limits, headers: Mapping[str, str]
) -> Fetched:
    tries = Tries(limits.pauses_s)
    part.keep(resume_from(part.length, part.note, source).start)
    resumed = tries.mark = part.length
    refuse_no_room(part.target.parent, (source.size or 0) - part.length, doing, limits)
    while True:
        try:
            _one_try(part, client, source, doing, limits, headers)
        except TryFailed as failure:
            pause_s = tries.next_pause_s(part.length, failure.asked_s)
            if pause_s is None:
                raise Unreachable(httpx.URL(source.url).host, str(failure)) from failure
            say_again(doing, part.target.name, failure, pause_s)
            doing.sleep(pause_s)
            continue
        if source.sha256 in (None, part.sha256):
            return part.finish()
        part.keep(0)
        if not resumed:
            part.discard()
            raise Damaged(
                t(
                    "{file} from {host} is not the published file (its SHA-256 is another one). Nothing of it was "
                    "kept. Try again later, or through another HF_ENDPOINT.",
                    file=part.target.name,
                    host=httpx.URL(source.url).host,
                )
            )
        # A part that an earlier start left may have been damaged on this disk.
        resumed = 0
        doing.say(t("{file} came damaged; it is downloaded again from its first byte", file=part.target.name))


def _one_try(
    part: Part, client: httpx.Client, source: Source, doing: Doing, limits: Limits, headers: Mapping[str, str]
) -> None:
    """Until the part is whole. Raises TryFailed, Refused, Damaged and, of the disk, OSError."""
    asked = resume_from(part.length, part.note, source)
    part.keep(asked.start)
    with (
        network_failures(limits.stall_s),
        client.stream("GET", source.url, headers={**headers, **_range_headers(asked)}) as response,
    ):
        answer = judge_response(response, asked, source)
        if answer.kind in ("again", "over"):
            if answer.kind == "over":
                part.keep(0)
            raise TryFailed(t("it answers {status}", status=response.status_code), answer.wait_s)
        _raise_refusal(answer, response, part.target.name, source)
        if answer.kind == "whole":
            if asked.start:
                doing.say(
                    t(
                        "{file} is downloaded from its first byte: what is here cannot be continued",
                        file=part.target.name,
                    )
                )
            part.keep(0)
        total = source.size if source.size is not None else answer.total
        part.write_note(PartNote(source.url, response.headers.get("etag"), source.sha256, total))
        for piece in response.iter_bytes():
            part.write(piece, limits.sync_bytes)
            if total is not None and part.length > total:
                raise _too_long(part)
            doing.progress(part.length, total)
    if total is not None and part.length < total:
        raise TryFailed(t("it ended after {done} of {total} MB", done=megabytes(part.length), total=megabytes(total)))


def judge_response(response: httpx.Response, asked: Resume, source: Source) -> Answer:
    moved = response.url.netloc != httpx.URL(source.url).netloc
    return judge(response.status_code, response.headers, asked, source, moved=moved)


def _range_headers(asked: Resume) -> dict[str, str]:
    """Without compression: sizes and ranges are those of the file itself."""
    headers = {"Accept-Encoding": "identity"}
    if asked.start:
        headers["Range"] = f"bytes={asked.start}-"
    if asked.start and asked.if_range:
        headers["If-Range"] = asked.if_range
    return headers


def _raise_refusal(answer: Answer, response: httpx.Response, name: str, source: Source) -> None:
    if answer.kind == "wrong_size":
        raise Damaged(
            t(
                "{host} offers {file} with {seen} bytes instead of {size}; it was not downloaded. Try again later, or "
                "through another HF_ENDPOINT.",
                host=response.url.host,
                file=name,
                seen=answer.total,
                size=source.size,
            )
        )
    raise_refusal(answer, response, name)


def raise_refusal(answer: Answer, response: httpx.Response, name: str) -> None:
    """name: what was asked for. Raises NotThere or Refused for an answer that asking again does not change."""
    status, host = response.status_code, response.url.host
    if answer.kind == "missing" or response.headers.get("x-error-code") == "RepoNotFound":
        raise NotThere(
            t(
                "{host} has no {file} ({status}). Check the name; a private one needs HF_TOKEN.",
                host=host,
                file=name,
                status=status,
            )
        )
    if answer.kind == "refused" and status in (401, 403):
        raise Refused(
            t(
                "{host} does not give {file} to this PC ({status}). If it is private or asks for consent: agree to "
                "its terms on its page, make a token there and set HF_TOKEN to it.",
                host=host,
                file=name,
                status=status,
            )
        )
    if answer.kind == "refused":
        raise Refused(t("{host} refuses {file} ({status}).", host=host, file=name, status=status))


def _too_long(part: Part) -> Damaged:
    part.discard()
    return Damaged(
        t("{file} is longer than was announced; nothing of it was kept. Try again later.", file=part.target.name)
    )


@contextlib.contextmanager
def network_failures(stall_s: float) -> Iterator[None]:
    """Turns what httpx raises into TryFailed, or Refused where a new try would end the same way."""
    try:
        yield
    except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
        raise Refused(t("This address cannot be downloaded from: {reason}", reason=one_line(error))) from error
    except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
        raise TryFailed(t("no data for {seconds} s", seconds=f"{stall_s:g}")) from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise TryFailed(one_line(error)) from error


def say_again(doing: Doing, name: str, failure: TryFailed, pause_s: float) -> None:
    doing.say(
        t("{file}: {reason}; trying again in {seconds} s", file=name, reason=str(failure), seconds=f"{pause_s:g}")
    )


def refuse_no_room(folder: Path, needed: int, doing: Doing, limits: Limits) -> None:
    """needed: bytes yet to come. Raises NoRoom."""
    free = doing.free_bytes(folder)
    if needed > 0 and needed + limits.spare_bytes > free:
        raise no_room(folder, needed + limits.spare_bytes, free)


def no_room(folder: Path, needed: int, free: int) -> NoRoom:
    return NoRoom(
        t(
            "The drive of {folder} has {free} MB free; the download needs {needed} MB. Make room and start again: what "
            "is downloaded already is kept.",
            folder=str(folder),
            free=megabytes(free),
            needed=megabytes(needed),
        )
    )


def disk_failure(target: Path, error: OSError) -> DownloadFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoRoom(
            t(
                "The drive of {folder} is full. Make room and start again: what is downloaded already is kept.",
                folder=str(target.parent),
            )
        )
    return DownloadFailed(t("{file} cannot be written ({reason}).", file=str(target), reason=one_line(error)))
