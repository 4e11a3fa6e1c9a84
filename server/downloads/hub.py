"""A model's files from the Hugging Face hub, or a mirror of it, into a plain folder. Knows no engine.

The hub answers GET /api/models/{model}/revision/{revision} with the commit in `sha`, GET /api/models/{model}/tree/
{commit}?recursive=true with pages of files (`path`, `size`, and `lfs.oid`, the SHA-256, for large ones; the next page
in the Link header), and GET /{model}/resolve/{commit}/{path} with the file or a redirect to the store that has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

import filelock
import httpx
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from server.downloads.answers import Resume, Source, Tries
from server.downloads.errors import DownloadFailed, NotThere, Refused, Unreachable
from server.downloads.fetch import (
    Doing,
    Limits,
    TryFailed,
    disk_failure,
    fetch,
    judge_response,
    network_failures,
    open_client,
    raise_refusal,
    refuse_no_room,
    say_again,
)
from server.downloads.progress import ProgressLines
from server.downloads.record import RECORD, FileNote, Look, Record, look, read_record, write_record
from server.terminal.messages import t
from server.whole_files import sha256_of

HUB = "https://huggingface.co"
LISTING_TRIES = 4
"""Fewer than for a file: no byte has come yet, and the user waits to be told why."""
MAX_PAGES = 100
LOCK_SAID_S = 60.0

T = TypeVar("T")


@dataclass(frozen=True)
class Hub:
    endpoint: str = HUB
    token: str | None = field(default=None, repr=False)
    offline: bool = False

    def file_url(self, model: str, commit: str, path: str) -> str:
        return f"{self.endpoint}/{model}/resolve/{commit}/{quote(path)}"

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True)
class HubFile:
    path: str
    """With `/`, relative to the model."""
    size: int
    """bytes"""
    sha256: str | None
    """64 hex digits; published for large files only"""


@dataclass(frozen=True)
class Listing:
    model: str
    commit: str
    files: tuple[HubFile, ...]


def read_hub(environ: Mapping[str, str]) -> Hub:
    """The variables of huggingface_hub, with its meaning; else the token that `hf auth login` kept.

    Raises DownloadFailed for a token that is none.
    """
    endpoint = environ.get("HF_ENDPOINT", "").strip().rstrip("/") or HUB
    if "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    token = _token(environ)
    if token and not (token.isascii() and token.isprintable()):
        raise DownloadFailed(t("HF_TOKEN is not a token: it holds other characters than letters, digits and signs."))
    offline = environ.get("HF_HUB_OFFLINE") or environ.get("TRANSFORMERS_OFFLINE")
    return Hub(endpoint, token, _is_on(offline))


def _is_on(value: str | None) -> bool:
    return (value or "").strip().upper() in ("1", "ON", "YES", "TRUE")


def _token(environ: Mapping[str, str]) -> str | None:
    given = environ.get("HF_TOKEN", "").strip() or environ.get("HUGGING_FACE_HUB_TOKEN", "").strip()
    if given or _is_on(environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")):
        return given or None
    cache = Path(environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(environ.get("HF_HOME") or cache / "huggingface")
    try:
        return Path(environ.get("HF_TOKEN_PATH") or home / "token").expanduser().read_text("utf-8").strip() or None
    except (OSError, ValueError, RuntimeError):  # nobody logged in, no text file, no home
        return None


def is_safe(path: str) -> bool:
    """Whether this name from the network stays inside the folder, on Windows too."""
    parts = path.split("/")
    return path != RECORD and all(
        re.fullmatch(r'[^\\:*?"<>|\x00-\x1f]*[^\\:*?"<>|\x00-\x1f .]', part) for part in parts
    )


def is_wanted(path: str) -> bool:
    """Hidden files such as .gitattributes are not part of a model."""
    return not any(part.startswith(".") for part in path.split("/"))


class _Lfs(BaseModel):
    oid: str
    size: int = Field(ge=0)


class _Entry(BaseModel):
    type: str
    path: str
    size: int = Field(default=0, ge=0)
    lfs: _Lfs | None = None


class _Revision(BaseModel):
    sha: str = Field(pattern=r"^[0-9a-f]{40}$")


def to_files(entries: list[_Entry]) -> tuple[HubFile, ...]:
    """The smallest first: what is wrong with a small file is seen before the long wait for the weights.

    Raises Refused for a name that would lead out of the folder.
    """
    files = []
    for entry in entries:
        if entry.type != "file":
            continue
        if not is_safe(entry.path):
            raise Refused(t("This model has a file of a name that no folder can take: {file}", file=repr(entry.path)))
        if not is_wanted(entry.path):
            continue
        oid = entry.lfs.oid.removeprefix("sha256:").lower() if entry.lfs else ""
        sha256 = oid if re.fullmatch(r"[0-9a-f]{64}", oid) else None
        files.append(HubFile(entry.path, entry.lfs.size if entry.lfs else entry.size, sha256))
    return tuple(sorted(files, key=lambda file: (file.size, file.path)))


def list_files(client: httpx.Client, hub: Hub, model: str, revision: str, doing: Doing, limits: Limits) -> Listing:
    """The model's files at this branch, tag or commit. Raises DownloadFailed."""
    api = f"{hub.endpoint}/api/models/{model}"
    found = _ask(client, hub, f"{api}/revision/{quote(revision, safe='')}", model, doing, limits)
    commit = _checked(TypeAdapter(_Revision), found, hub).sha
    entries: list[_Entry] = []
    for page in _pages(client, hub, f"{api}/tree/{commit}", model, doing, limits):
        entries += _checked(TypeAdapter(list[_Entry]), page, hub)
    return Listing(model, commit, to_files(entries))


def _pages(
    client: httpx.Client, hub: Hub, url: str, model: str, doing: Doing, limits: Limits
) -> Iterator[httpx.Response]:
    query = "recursive=true"
    for _ in range(MAX_PAGES):
        page = _ask(client, hub, f"{url}?{query}", model, doing, limits)
        yield page
        following = page.links.get("next", {}).get("url")
        if not following:
            return
        # Only its query: a mirror may pass on a link to the hub itself, which this PC perhaps cannot reach.
        query = urlsplit(following).query
    raise Refused(t("{model} has more files than a model has.", model=model))


def _checked(shape: TypeAdapter[T], answer: httpx.Response, hub: Hub) -> T:
    try:
        return shape.validate_json(answer.content)
    except ValidationError as error:
        raise Refused(
            t(
                "{host} does not answer like the Hugging Face hub. A log-in page of this network, or a wrong "
                "HF_ENDPOINT?",
                host=httpx.URL(hub.endpoint).host,
            )
        ) from error


def _ask(client: httpx.Client, hub: Hub, url: str, name: str, doing: Doing, limits: Limits) -> httpx.Response:
    """name: what the sentences call it. Raises DownloadFailed."""
    tries = Tries(limits.pauses_s[:LISTING_TRIES])
    while True:
        try:
            with network_failures(limits.stall_s):
                response = client.get(url, headers=hub.headers())
            answer = judge_response(response, Resume(0), Source(url))
            if answer.kind == "whole":
                return response
            raise_refusal(answer, response, name)
            raise TryFailed(t("it answers {status}", status=response.status_code), answer.wait_s)
        except TryFailed as failure:
            pause_s = tries.next_pause_s(0, failure.asked_s)
            if pause_s is None:
                raise Unreachable(httpx.URL(url).host, str(failure)) from failure
            say_again(doing, name, failure, pause_s)
            doing.sleep(pause_s)


def download_model(
    hub: Hub,
    model: str,
    folder: Path,
    say: Callable[[str], None],
    limits: Limits | None = None,
    doing: Doing | None = None,
) -> Record:
    """Makes the folder hold this model, whole; what is there already stays. A download once begun is finished at its
    revision, even if the hub has a newer one.

    Raises DownloadFailed.
    """
    limits, doing = limits or Limits(), doing or Doing(say)
    if hub.offline:
        raise Unreachable(httpx.URL(hub.endpoint).host, t("HF_HUB_OFFLINE is set"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _Alone(folder, model, say), open_client(limits) as client:
            record = _begin(client, hub, model, folder, doing, limits)
            return _fetch_files(client, hub, folder, record, doing, limits)
    except OSError as error:
        raise disk_failure(folder / RECORD, error) from error


class _Alone:
    """One program at a time: two servers that start together would write into the same part."""

    def __init__(self, folder: Path, model: str, say: Callable[[str], None]) -> None:
        self.lock = filelock.FileLock(folder.with_name(folder.name + ".lock"))
        self.model, self.say = model, say

    def __enter__(self) -> None:
        wait_s = 0.0
        while True:
            try:
                self.lock.acquire(timeout=wait_s)
                return
            except filelock.Timeout:
                self.say(t("another program downloads {model} at this moment; waiting for it", model=self.model))
                wait_s = LOCK_SAID_S

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def _begin(client: httpx.Client, hub: Hub, model: str, folder: Path, doing: Doing, limits: Limits) -> Record:
    """The record to work through, written before the first byte comes."""
    before = read_record(folder)
    if before is not None and before.model == model:
        try:
            listing = list_files(client, hub, model, before.revision, doing, limits)
        except NotThere:  # a revision that its owner has taken back
            listing = list_files(client, hub, model, "main", doing, limits)
    else:
        before, listing = None, list_files(client, hub, model, "main", doing, limits)
    record = begun_record(listing, before)
    write_record(folder, record)
    return record


def begun_record(listing: Listing, before: Record | None) -> Record:
    """The listing's files; of an earlier record only what is still said of the same file."""
    files = {}
    for file in listing.files:
        note = FileNote(size=file.size, sha256=file.sha256, published=file.sha256 is not None)
        old = before.files.get(file.path) if before else None
        if old and old.size == file.size and before is not None:
            # Without a published hash the same revision is the only promise of the same file.
            same = old.sha256 == file.sha256 if file.sha256 else before.revision == listing.commit
            note = old if same else note
        files[file.path] = note
    return Record(model=listing.model, revision=listing.commit, files=files)


def _fetch_files(client: httpx.Client, hub: Hub, folder: Path, record: Record, doing: Doing, limits: Limits) -> Record:
    wanted = []
    for name, note in record.files.items():
        kept = _kept(folder / name, note)
        if kept is None:
            wanted.append(name)
        elif kept != note:
            record = record.with_file(name, kept)
    total = sum(note.size for note in record.files.values())
    done = total - sum(record.files[name].size for name in wanted)
    refuse_no_room(folder, sum(_to_come(folder / name, record.files[name].size) for name in wanted), doing, limits)
    lines = ProgressLines(doing.say)
    for name in wanted:
        note = record.files[name]
        source = Source(hub.file_url(record.model, record.revision, name), note.size, note.sha256)
        each = Doing(doing.say, _sum(done, total, lines, doing.progress), doing.free_bytes, doing.sleep)
        fetched = fetch(client, source, folder / name, each, limits, hub.headers())
        mtime_ns = (folder / name).stat().st_mtime_ns
        record = record.with_file(name, note.model_copy(update={"sha256": fetched.sha256, "mtime_ns": mtime_ns}))
        write_record(folder, record)
        done += note.size
    write_record(folder, record)
    return record


def _sum(
    before: int, total: int, lines: ProgressLines, progress: Callable[[int, int | None], None]
) -> Callable[[int, int | None], None]:
    """Turns the bytes of one file into those of the model."""

    def tell(done: int, _: int | None) -> None:
        lines(before + done, total)
        progress(before + done, total)

    return tell


def _kept(path: Path, note: FileNote) -> FileNote | None:
    """The note of a file that is here and stays; None: to be downloaded.

    A file put here by hand is as good as a downloaded one. A file without a published hash that somebody has changed
    since its download is left to them: `check_kept` tells.
    """
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if look(note, stat.st_size, stat.st_mtime_ns) is Look.SAME or (note.mtime_ns is not None and not note.published):
        return note
    if stat.st_size != note.size or note.sha256 is None or sha256_of(path) != note.sha256:
        return None
    return note.model_copy(update={"mtime_ns": stat.st_mtime_ns})


def _to_come(path: Path, size: int) -> int:
    """Bytes that the drive must still take."""
    part = path.with_name(path.name + ".part")
    return max(0, size - (part.stat().st_size if part.exists() else 0))
