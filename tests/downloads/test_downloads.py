"""Downloads against a real server on loopback that breaks off, stalls, lies and redirects; what lies on disk then."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import httpx
import pytest
from clock import seconds, wait_until
from file_server import COMMIT, Fault, FileServer, Served, file_server

from server.downloads.answers import (
    MAX_WAIT_S,
    MIN_ADVANCE,
    Answer,
    PartNote,
    Resume,
    Source,
    Tries,
    asked_wait_s,
    content_range,
    judge,
    resume_from,
    safe_length,
)
from server.downloads.errors import Damaged, DownloadFailed, NoRoom, NotThere, Refused, Unreachable
from server.downloads.fetch import Doing, Limits, disk_failure, fetch, open_client
from server.downloads.hub import (
    HUB,
    Hub,
    HubFile,
    Listing,
    begun_record,
    download_model,
    is_safe,
    list_files,
    read_hub,
)
from server.downloads.part import Fetched
from server.downloads.progress import Meter, Progress, ProgressLines, line
from server.downloads.record import RECORD, FileNote, Look, Record, check_kept, look, read_record
from server.terminal.messages import use_language

ROOT = Path(__file__).parents[2]
BODY = bytes(range(256)) * 1200
"""307,200 bytes"""
OTHER_BODY = bytes(reversed(BODY))
SHA = hashlib.sha256(BODY).hexdigest()
STEP = 1024


@dataclass
class Seen:
    """Stands in for the world outside: what was said, how long was waited, and how full the drive is."""

    said: list[str] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    free: int = 1 << 40
    told: list[tuple[int, int | None]] = field(default_factory=list)

    def doing(self) -> Doing:
        return Doing(
            self.said.append,
            lambda done, total: self.told.append((done, total)),
            lambda folder: self.free,
            self.waited.append,
        )


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture
def seen() -> Seen:
    return Seen()


def limits(stall_s: float = 30.0, tries: int = 3, spare_bytes: int = 0) -> Limits:
    return Limits(stall_s, 10.0, (0.5,) * tries, STEP, spare_bytes)


def get(source: Source, target: Path, seen: Seen, given: Limits | None = None) -> Fetched:
    given = given or limits()
    with open_client(given) as client:
        return fetch(client, source, target, seen.doing(), given)


def on_disk(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- decisions


NOTE = PartNote("http://h/f", '"e1"', None, 1000)
HASHED = PartNote("http://h/f", '"e1"', SHA, 1000)


@pytest.mark.parametrize(
    ("have", "note", "source", "expected"),
    [
        (0, NOTE, Source("http://h/f"), Resume(0)),
        (500, None, Source("http://h/f", sha256=SHA), Resume(0)),
        (500, NOTE, Source("http://h/f"), Resume(500, '"e1"')),
        (500, NOTE, Source("http://h/other"), Resume(0)),
        (500, PartNote("http://h/f", 'W/"e1"', None, None), Source("http://h/f"), Resume(0)),
        (500, PartNote("http://h/f", None, None, None), Source("http://h/f"), Resume(0)),
        # A published hash names the file, wherever it comes from.
        (500, HASHED, Source("http://mirror/f", 1000, SHA), Resume(500)),
        (500, HASHED, Source("http://h/f", 1000, "0" * 64), Resume(0)),
        (500, NOTE, Source("http://h/f", 1000, SHA), Resume(0)),
        (500, HASHED, Source("http://h/f"), Resume(0)),
        (1001, HASHED, Source("http://h/f", 1000, SHA), Resume(0)),
    ],
)
def test_a_part_is_continued_only_where_something_says_whose_it_is(
    have: int, note: PartNote | None, source: Source, expected: Resume
) -> None:
    assert resume_from(have, note, source) == expected


@pytest.mark.parametrize(
    ("have", "size", "expected"),
    [(0, 10_000, 0), (1023, 10_000, 0), (1024, 10_000, 1024), (2500, None, 2048), (2048, 2048, 1024), (5, 0, 0)],
)
def test_of_a_part_only_whole_synced_steps_are_trusted_and_never_the_whole_file(
    have: int, size: int | None, expected: int
) -> None:
    assert safe_length(have, size, 1024) == expected


@pytest.mark.parametrize(
    ("status", "headers", "asked", "source", "moved", "expected"),
    [
        (200, {}, Resume(0), Source("u"), False, Answer("whole")),
        (200, {"content-length": "1000"}, Resume(5), Source("u", 1000), False, Answer("whole", 1000)),
        (200, {"content-length": "999"}, Resume(0), Source("u", 1000), False, Answer("wrong_size", 999)),
        (
            200,
            {"content-length": "9", "content-encoding": "gzip"},
            Resume(0),
            Source("u", 1000),
            False,
            Answer("whole"),
        ),
        (206, {"content-range": "bytes 5-999/1000"}, Resume(5), Source("u", 1000), False, Answer("rest", 1000)),
        (206, {"content-range": "bytes 5-999/*"}, Resume(5), Source("u", 1000), False, Answer("rest")),
        (206, {"content-range": "bytes 4-999/1000"}, Resume(5), Source("u"), False, Answer("over")),
        (206, {}, Resume(5), Source("u"), False, Answer("over")),
        (206, {"content-range": "bytes 5-8/9"}, Resume(5), Source("u", 1000), False, Answer("wrong_size", 9)),
        (
            206,
            {"content-range": "bytes 5-8/9", "etag": '"b"'},
            Resume(5, '"a"'),
            Source("u"),
            False,
            Answer("over"),
        ),
        (
            206,
            {"content-range": "bytes 5-8/9", "content-encoding": "br"},
            Resume(5),
            Source("u"),
            False,
            Answer("over"),
        ),
        (416, {}, Resume(5), Source("u"), False, Answer("over")),
        (401, {}, Resume(0), Source("u"), False, Answer("refused")),
        (403, {}, Resume(0), Source("u"), False, Answer("refused")),
        (403, {}, Resume(0), Source("u"), True, Answer("again")),
        (404, {}, Resume(0), Source("u"), True, Answer("missing")),
        (410, {}, Resume(0), Source("u"), False, Answer("missing")),
        (418, {}, Resume(0), Source("u"), False, Answer("refused")),
        (408, {}, Resume(0), Source("u"), False, Answer("again")),
        (429, {"retry-after": "7"}, Resume(0), Source("u"), False, Answer("again", wait_s=7)),
        (503, {}, Resume(0), Source("u"), False, Answer("again")),
        (304, {}, Resume(0), Source("u"), False, Answer("refused")),
    ],
)
def test_what_an_answer_means(
    status: int, headers: dict[str, str], asked: Resume, source: Source, moved: bool, expected: Answer
) -> None:
    assert judge(status, headers, asked, source, moved=moved) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 0),
        ({"retry-after": "12"}, 12),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0),
        ({"retry-after": "99999"}, MAX_WAIT_S),
        ({"ratelimit": '"api";r=0;t=55'}, 55),
        ({"ratelimit": '"api";r=489;t=189'}, 0),
    ],
)
def test_how_long_a_busy_server_asks_to_wait(headers: dict[str, str], expected: float) -> None:
    assert asked_wait_s(headers) == expected


def test_a_content_range_tells_the_first_byte_and_the_size() -> None:
    assert content_range("bytes 100-199/1000") == (100, 1000)
    assert content_range("bytes 100-199/*") == (100, None)
    assert content_range("items 1-2/3") == (None, None)


def test_tries_are_bounded_and_progress_pays_for_new_ones() -> None:
    tries = Tries((1, 2))
    assert [tries.next_pause_s(0), tries.next_pause_s(0, asked_s=9), tries.next_pause_s(0)] == [1, 9, None]
    tries = Tries((1, 2))
    assert tries.next_pause_s(MIN_ADVANCE - 1) == 1
    assert tries.next_pause_s(MIN_ADVANCE) == 1  # two halves make a whole
    assert tries.next_pause_s(MIN_ADVANCE + 1) == 2
    assert tries.next_pause_s(MIN_ADVANCE + 2) is None


# --- one file


def test_a_file_arrives_whole_under_its_name_alone(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/모델 1.bin"] = Served(BODY)
    target = tmp_path / "새 폴더" / "모델 1.bin"
    source = Source(server.address + "/%EB%AA%A8%EB%8D%B8%201.bin", len(BODY), SHA)
    assert get(source, target, seen) == Fetched(len(BODY), SHA)
    assert target.read_bytes() == BODY
    assert on_disk(tmp_path) == [str(Path("새 폴더", "모델 1.bin"))]
    assert seen.told[-1] == (len(BODY), len(BODY)) and seen.said == []


def test_an_empty_file_arrives_too(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(b"")
    assert get(Source(server.address + "/f", 0), tmp_path / "f", seen).size == 0
    assert on_disk(tmp_path) == ["f"]


def test_a_file_of_unknown_length_ends_with_its_connection(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY, length=False)
    assert get(Source(server.address + "/f"), tmp_path / "f", seen) == Fetched(len(BODY), SHA)


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_a_connection_that_breaks_is_continued_at_its_last_byte(
    server: FileServer, seen: Seen, tmp_path: Path, how: str
) -> None:
    server.files["/f"] = Served(BODY)
    server.faults["/f"] = [Fault(how, 100_000), Fault(how, 100_000)]  # type: ignore[arg-type]
    get(Source(server.address + "/f", len(BODY), SHA), tmp_path / "f", seen)
    assert (tmp_path / "f").read_bytes() == BODY and on_disk(tmp_path) == ["f"]
    first, second, third = server.ranges_of("/f")
    # A reset may throw away what was still on its way.
    assert (first is None and 0 < (second or 0) <= 100_000 < (third or 0) <= 200_000) or how == "reset"
    assert seen.waited == [0.5, 0.5]
    assert all("f: " in phrase and "trying again in 0.5 s" in phrase for phrase in seen.said[:1])


def test_a_stall_is_given_up_said_and_continued(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY)
    server.faults["/f"] = [Fault("stall", 100_000)] * 3
    get(Source(server.address + "/f", len(BODY), SHA), tmp_path / "f", seen, limits(stall_s=0.3, tries=50))
    # On a busy machine a sound answer may stall as well.
    assert len(seen.said) >= 3 and set(seen.said) == {"f: no data for 0.3 s; trying again in 0.5 s"}
    assert (server.ranges_of("/f")[-1] or 0) > 0
    assert (tmp_path / "f").read_bytes() == BODY and on_disk(tmp_path) == ["f"]


def test_the_stall_is_60_s_where_nobody_says_otherwise() -> None:
    assert Limits().stall_s == 60.0


def test_tries_without_end_do_not_happen_and_the_part_stays(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY)
    server.faults["/f"] = [Fault("cut", 100_000)] + [Fault("cut", 0)] * 20
    with pytest.raises(Unreachable) as caught:
        get(Source(server.address + "/f", len(BODY), SHA), tmp_path / "f", seen)
    assert "127.0.0.1" in str(caught.value)
    assert len(server.asked) == 4 and seen.waited == [0.5] * 3
    assert on_disk(tmp_path) == ["f.part", "f.part.json"]
    assert (tmp_path / "f.part").read_bytes() == BODY[:100_000]

    server.faults.clear()
    get(Source(server.address + "/f", len(BODY), SHA), tmp_path / "f", seen)
    assert server.ranges_of("/f")[-1] == 100_000 // STEP * STEP
    assert (tmp_path / "f").read_bytes() == BODY and on_disk(tmp_path) == ["f"]


def test_a_server_without_ranges_begins_again_and_says_so(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY, ranges=False)
    server.faults["/f"] = [Fault("cut", 100_000)]
    get(Source(server.address + "/f", len(BODY), SHA), tmp_path / "f", seen)
    assert (tmp_path / "f").read_bytes() == BODY
    assert seen.said[-1] == "f is downloaded from its first byte: what is here cannot be continued"


def test_without_a_published_hash_the_same_etag_continues(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY, '"one"')
    server.faults["/f"] = [Fault("cut", 100_000)]
    assert get(Source(server.address + "/f"), tmp_path / "f", seen).sha256 == SHA
    assert [(asked.first_byte, asked.if_range) for asked in server.asked] == [(None, None), (100_000, '"one"')]


def test_a_file_that_changed_between_two_parts_is_taken_from_its_first_byte(
    server: FileServer, seen: Seen, tmp_path: Path
) -> None:
    server.files["/f"] = Served(BODY, '"one"')
    server.faults["/f"] = [Fault("cut", 100_000)] * 9
    with pytest.raises(Unreachable):
        get(Source(server.address + "/f"), tmp_path / "f", seen, limits(tries=0))
    server.faults.clear()
    server.files["/f"] = Served(OTHER_BODY, '"two"')
    get(Source(server.address + "/f"), tmp_path / "f", seen)
    assert server.asked[-1].if_range == '"one"'
    assert (tmp_path / "f").read_bytes() == OTHER_BODY and on_disk(tmp_path) == ["f"]


def test_without_hash_and_etag_nothing_is_continued(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY)
    server.faults["/f"] = [Fault("cut", 100_000)]
    get(Source(server.address + "/f", len(BODY)), tmp_path / "f", seen)
    assert server.ranges_of("/f") == [None, None]
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_newer_published_hash_makes_an_older_part_worthless(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY)
    server.faults["/f"] = [Fault("cut", 100_000)]
    with pytest.raises(Unreachable):
        get(Source(server.address + "/f", len(BODY), SHA), tmp_path / "f", seen, limits(tries=0))
    server.files["/f"] = Served(OTHER_BODY)
    get(Source(server.address + "/f", len(BODY), hashlib.sha256(OTHER_BODY).hexdigest()), tmp_path / "f", seen)
    assert server.ranges_of("/f") == [None, None]
    assert (tmp_path / "f").read_bytes() == OTHER_BODY


def test_a_file_with_another_hash_is_never_used(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"the old one")
    server.files["/f"] = Served(OTHER_BODY)
    with pytest.raises(Damaged, match="SHA-256"):
        get(Source(server.address + "/f", len(BODY), SHA), tmp_path / "f", seen)
    assert len(server.asked) == 1
    assert on_disk(tmp_path) == ["f"] and (tmp_path / "f").read_bytes() == b"the old one"


def test_a_part_damaged_on_this_disk_costs_one_more_download(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY)
    server.faults["/f"] = [Fault("cut", 100_000)]
    source = Source(server.address + "/f", len(BODY), SHA)
    with pytest.raises(Unreachable):
        get(source, tmp_path / "f", seen, limits(tries=0))
    (tmp_path / "f.part").write_bytes(b"?" + BODY[1:100_000])
    get(source, tmp_path / "f", seen)
    assert server.ranges_of("/f") == [None, 100_000 // STEP * STEP, None]
    assert seen.said[-1] == "f came damaged; it is downloaded again from its first byte"
    assert (tmp_path / "f").read_bytes() == BODY and on_disk(tmp_path) == ["f"]


@pytest.mark.parametrize("size", [len(BODY) + 1, len(BODY) - 1])
def test_a_file_of_another_size_is_refused_before_its_first_byte(
    server: FileServer, seen: Seen, tmp_path: Path, size: int
) -> None:
    server.files["/f"] = Served(BODY)
    with pytest.raises(Damaged, match=f"{len(BODY)} bytes instead of {size}"):
        get(Source(server.address + "/f", size, SHA), tmp_path / "f", seen)
    assert seen.told == [] and on_disk(tmp_path) == []


def test_a_file_that_does_not_end_is_cut_off(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY, length=False)
    with pytest.raises(Damaged, match="longer"):
        get(Source(server.address + "/f", 1000, SHA), tmp_path / "f", seen)
    assert on_disk(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "headers", "kind", "told"),
    [
        (401, (), Refused, "HF_TOKEN"),
        (403, (), Refused, "HF_TOKEN"),
        (401, (("X-Error-Code", "RepoNotFound"),), NotThere, "Check the name"),
        (404, (), NotThere, "Check the name"),
        (451, (), Refused, "refuses"),
    ],
)
def test_a_no_is_not_asked_for_again(
    server: FileServer,
    seen: Seen,
    tmp_path: Path,
    status: int,
    headers: tuple[tuple[str, str], ...],
    kind: type[Refused],
    told: str,
) -> None:
    server.faults["/f"] = [Fault(status=status, headers=headers)]
    with pytest.raises(Refused, match=told) as caught:
        get(Source(server.address + "/f"), tmp_path / "f", seen)
    assert type(caught.value) is kind and str(status) in str(caught.value)
    assert len(server.asked) == 1 and seen.waited == [] and on_disk(tmp_path) == []


def test_a_busy_server_is_asked_again_when_it_says(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY)
    server.faults["/f"] = [
        Fault(status=503),
        Fault(status=429, headers=(("Retry-After", "7"),)),
        Fault(status=429, headers=(("RateLimit", '"resolvers";r=0;t=55'),)),
    ]
    get(Source(server.address + "/f", len(BODY), SHA), tmp_path / "f", seen)
    assert seen.waited == [0.5, 7, 55]
    assert seen.said[1] == "f: it answers 429; trying again in 7 s"
    assert (tmp_path / "f").read_bytes() == BODY


def test_nobody_at_the_address_is_said_with_the_reason(seen: Seen, tmp_path: Path) -> None:
    with file_server() as gone:
        address = gone.address
    with pytest.raises(Unreachable) as caught:
        get(Source(address + "/f"), tmp_path / "f", seen)
    assert caught.value.reason.startswith("ConnectError") and len(seen.waited) == 3
    with pytest.raises(Refused, match="cannot be downloaded from"):
        get(Source("ftp://127.0.0.1/f"), tmp_path / "f", seen)
    assert on_disk(tmp_path) == []


def test_a_redirect_is_followed_and_another_host_sees_no_token(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    with file_server() as store:
        store.files["/blob"] = Served(BODY)
        server.files["/here"] = Served(BODY)
        server.faults["/f"] = [
            Fault(status=302, headers=(("Location", store.address + "/blob"),)),
            Fault(status=307, headers=(("Location", "/here"),)),
        ]
        source = Source(server.address + "/f", len(BODY), SHA)
        with open_client(limits()) as client:
            for name in ("a", "b"):
                fetch(client, source, tmp_path / name, seen.doing(), limits(), {"Authorization": "Bearer secret"})
        assert [asked.authorization for asked in store.asked] == [None]
    assert [(asked.path, asked.authorization) for asked in server.asked] == [
        ("/f", "Bearer secret"),
        ("/f", "Bearer secret"),
        ("/here", "Bearer secret"),
    ]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == BODY


def test_an_address_whose_signature_ran_out_is_asked_for_anew(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    with file_server() as store:
        store.files["/new"] = store.files["/old"] = Served(BODY)
        store.faults["/old"] = [Fault("cut", 100_000), Fault(status=403)]
        old, new = ((("Location", f"{store.address}/{name}"),) for name in ("old", "new"))
        server.faults["/f"] = [Fault(status=302, headers=old)] * 2 + [Fault(status=302, headers=new)]
        get(Source(server.address + "/f", len(BODY), SHA), tmp_path / "f", seen)
        assert store.ranges_of("/old") == [None, 100_000] and store.ranges_of("/new") == [100_000]
    assert (tmp_path / "f").read_bytes() == BODY


def test_redirects_in_a_circle_end(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.faults["/f"] = [Fault(status=302, headers=(("Location", "/f"),))] * 100
    with pytest.raises(Refused, match="TooManyRedirects"):
        get(Source(server.address + "/f"), tmp_path / "f", seen)


def test_a_drive_too_small_is_said_before_the_first_request(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY)
    source = Source(server.address + "/f", len(BODY), SHA)
    seen.free = len(BODY) + 999
    with pytest.raises(NoRoom, match=r"has 0\.3 MB free; the download needs 0\.3 MB"):
        get(source, tmp_path / "f", seen, limits(spare_bytes=1000))
    assert server.asked == [] and on_disk(tmp_path) == []
    seen.free += 1
    get(source, tmp_path / "f", seen, limits(spare_bytes=1000))


def test_a_drive_that_fills_up_and_one_that_cannot_be_written_are_told_apart(
    server: FileServer, seen: Seen, tmp_path: Path
) -> None:
    assert isinstance(disk_failure(tmp_path / "f", OSError(errno.ENOSPC, "full")), NoRoom)
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(DownloadFailed, match="cannot be written") as caught:
        get(Source(server.address + "/f"), tmp_path / "a file" / "f", seen)
    assert type(caught.value) is DownloadFailed


def test_a_proxy_setting_that_cannot_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://127.0.0.1:1")
    with pytest.raises(DownloadFailed, match="proxy"):
        open_client(Limits())


CHILD = """
import sys
from pathlib import Path
from server.downloads.answers import Source
from server.downloads.fetch import Doing, Limits, fetch, open_client
address, target, size, sha256 = sys.argv[1:]
limits = Limits(sync_bytes=1024, spare_bytes=0)
with open_client(limits) as client:
    fetch(client, Source(address, int(size), sha256 or None), Path(target), Doing(print), limits)
"""


@pytest.mark.parametrize("sha256", [SHA, ""])
def test_a_download_whose_program_is_killed_goes_on_within_one_step(
    server: FileServer, seen: Seen, tmp_path: Path, sha256: str
) -> None:
    server.files["/f"] = Served(BODY, '"one"')
    target, part = tmp_path / "f", tmp_path / "f.part"
    arguments = [server.address + "/f", str(target), str(len(BODY)), sha256]
    expected: list[int | None] = [None]
    for stop in (50_000, 150_000, len(BODY) - 1):
        server.faults["/f"] = [Fault("hold", stop - (expected[-1] or 0))]
        child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], cwd=ROOT)
        try:
            wait_until(lambda stop=stop: part.exists() and part.stat().st_size == stop)
        finally:
            child.kill()
            child.wait()
        assert on_disk(tmp_path) == ["f.part", "f.part.json"]
        expected.append(stop // STEP * STEP)
    get(Source(server.address + "/f", len(BODY), sha256 or None), target, seen)
    assert server.ranges_of("/f") == expected
    assert target.read_bytes() == BODY and on_disk(tmp_path) == ["f"]


def test_ctrl_c_leaves_the_part_for_next_time(server: FileServer, seen: Seen, tmp_path: Path) -> None:
    server.files["/f"] = Served(BODY)
    source = Source(server.address + "/f", len(BODY), SHA)

    def interrupt(done: int, total: int | None) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_client(limits()) as client:
        fetch(client, source, tmp_path / "f", Doing(seen.said.append, interrupt), limits())
    kept = (tmp_path / "f.part").stat().st_size
    assert kept > 100_000
    get(source, tmp_path / "f", seen)
    assert server.ranges_of("/f")[-1] == min(kept, len(BODY) - 1) // STEP * STEP
    assert (tmp_path / "f").read_bytes() == BODY


# --- progress


def test_speed_and_time_left_are_those_of_the_last_half_minute() -> None:
    meter = Meter()
    assert meter.read(0, 0, 1000) == Progress(0, 1000, None)
    assert meter.read(10, 100, 1000) == Progress(100, 1000, 10.0)
    assert meter.read(40, 100, 1000).per_s == 0.0
    found = meter.read(50, 300, 1000)
    assert (found.per_s, found.left_s) == (20.0, 35.0)
    assert meter.read(51, 0, 1000).per_s is None  # begun again


def test_there_is_at_most_one_line_in_ten_seconds() -> None:
    said: list[str] = []
    now = [0.0]
    lines = ProgressLines(said.append, clock=lambda: now[0])
    for tenths in range(1, 601):
        now[0] = tenths / 10
        lines(tenths * 1_000_000, 4_500_000_000)
    assert len(said) == 5
    assert said[0] == "downloading: 2 % of 4,500 MB, 10.0 MB/s, about 8 min left"


@pytest.mark.parametrize(
    ("progress", "english", "korean"),
    [
        (
            Progress(2_250_000_000, 4_500_000_000, 5e6),
            "downloading: 50 % of 4,500 MB, 5.0 MB/s, about 8 min left",
            "내려받는 중: 4,500 MB 중 50%, 초당 5.0 MB, 약 8분 남음",
        ),
        (
            Progress(4_499_999_999, 4_500_000_000, 5e6),
            "downloading: 99 % of 4,500 MB, 5.0 MB/s, about 1 min left",
            "내려받는 중: 4,500 MB 중 99%, 초당 5.0 MB, 약 1분 남음",
        ),
        (
            Progress(1_000_000, 4_000_000, 0.0),
            "downloading: 25 % of 4.0 MB, 0.0 MB/s",
            "내려받는 중: 4.0 MB 중 25%, 초당 0.0 MB",
        ),
        (
            Progress(25_000_000, None, 2e6),
            "downloading: 25 MB so far, 2.0 MB/s",
            "내려받는 중: 지금까지 25 MB, 초당 2.0 MB",
        ),
    ],
)
def test_a_line_of_progress_in_both_languages(progress: Progress, english: str, korean: str) -> None:
    assert line(progress) == english
    use_language("ko")
    assert line(progress) == korean


# --- the hub


MODEL = "Somebody/Tiny"
FILES = {
    ".gitattributes": b"*.safetensors filter=lfs",
    "config.json": b'{"a": 1}',
    "model.safetensors": BODY,
    "speech_tokenizer/model.safetensors": OTHER_BODY[:50_000],
    "speech_tokenizer/config.json": b"{}",
}
LFS = ("model.safetensors", "speech_tokenizer/model.safetensors")
WANTED = sorted(name for name in FILES if name != ".gitattributes")


@pytest.fixture
def hub(server: FileServer) -> Hub:
    server.put_model(MODEL, FILES, lfs=LFS)
    return Hub(server.address)


def download(hub: Hub, folder: Path, seen: Seen, given: Limits | None = None) -> Record:
    return download_model(hub, MODEL, folder, seen.said.append, given or limits(), seen.doing())


def resolved(name: str) -> str:
    return f"/{MODEL}/resolve/{COMMIT}/{name}"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Hub(HUB)),
        ({"HF_ENDPOINT": "https://hf-mirror.com/"}, Hub("https://hf-mirror.com")),
        ({"HF_ENDPOINT": " hf-mirror.com "}, Hub("https://hf-mirror.com")),
        ({"HF_ENDPOINT": ""}, Hub(HUB)),
        ({"HF_TOKEN": " hf_abc\n"}, Hub(HUB, "hf_abc")),
        ({"HUGGING_FACE_HUB_TOKEN": "hf_old"}, Hub(HUB, "hf_old")),
        ({"HF_HUB_OFFLINE": "1"}, Hub(HUB, offline=True)),
        ({"HF_HUB_OFFLINE": "0"}, Hub(HUB)),
        ({"TRANSFORMERS_OFFLINE": "yes"}, Hub(HUB, offline=True)),
    ],
)
def test_the_hubs_variables_mean_what_they_mean_to_its_own_library(
    environ: dict[str, str], expected: Hub, tmp_path: Path
) -> None:
    assert read_hub({"HF_HOME": str(tmp_path)} | environ) == expected


def test_the_token_of_a_log_in_is_found_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_kept\n")
    found = read_hub({"HF_HOME": str(tmp_path)})
    assert found.token == "hf_kept" and "hf_kept" not in repr(found)
    assert read_hub({"HF_HOME": str(tmp_path), "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}).token is None
    with pytest.raises(DownloadFailed, match="HF_TOKEN"):
        read_hub({"HF_TOKEN": "여기에 토큰"})


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("config.json", True),
        ("speech_tokenizer/model-00001-of-00002.safetensors", True),
        ("목소리 (1).json", True),
        ("../outside", False),
        ("a/../../outside", False),
        ("a//b", False),
        ("/etc/passwd", False),
        ("C:\\windows\\x", False),
        ("C:x", False),
        ("a\\b", False),
        ("a/.", False),
        ("trailing ", False),
        ("trailing.", False),
        ("nul\0byte", False),
        ("", False),
        (RECORD, False),
    ],
)
def test_a_name_from_the_network_stays_in_its_folder(path: str, safe: bool) -> None:
    assert is_safe(path) is safe


def test_a_model_arrives_in_a_plain_folder_with_its_revision_and_hashes(
    server: FileServer, hub: Hub, seen: Seen, tmp_path: Path
) -> None:
    folder = tmp_path / "Somebody--Tiny"
    record = download(hub, folder, seen)
    assert on_disk(folder) == sorted([*(str(Path(name)) for name in WANTED), RECORD])
    for name in WANTED:
        assert (folder / name).read_bytes() == FILES[name]
        assert not (folder / name).is_symlink()
    assert record == read_record(folder)
    assert (record.model, record.revision) == (MODEL, COMMIT)
    assert {name: (note.sha256, note.published) for name, note in record.files.items()} == {
        name: (hashlib.sha256(FILES[name]).hexdigest(), name in LFS) for name in WANTED
    }
    # The smallest first, and every page of the tree from this server, whatever host its links name.
    fetched = [asked.path for asked in server.asked if "/resolve/" in asked.path]
    assert [len(server.files[path].body) for path in fetched] == sorted(len(FILES[name]) for name in WANTED)
    assert seen.told[-1] == (sum(len(FILES[name]) for name in WANTED),) * 2

    server.asked.clear()
    assert download(hub, folder, seen) == record
    assert not [asked for asked in server.asked if "/resolve/" in asked.path]


def test_only_what_is_missing_is_downloaded_and_a_file_put_there_by_hand_is_kept(
    server: FileServer, hub: Hub, seen: Seen, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(BODY)
    download(hub, tmp_path, seen)
    (tmp_path / "config.json").unlink()
    server.asked.clear()
    download(hub, tmp_path, seen)
    assert [asked.path for asked in server.asked if "/resolve/" in asked.path] == [resolved("config.json")]
    assert check_kept(tmp_path, seen.said.append).missing == ()


def test_a_model_whose_download_broke_off_is_finished_at_its_own_revision(
    server: FileServer, hub: Hub, seen: Seen, tmp_path: Path
) -> None:
    weights = resolved("model.safetensors")
    server.faults[weights] = [Fault("cut", 100_000)]
    with pytest.raises(Unreachable):
        download(hub, tmp_path, seen, limits(tries=0))
    assert read_record(tmp_path) is not None
    assert check_kept(tmp_path, seen.said.append).missing == ("model.safetensors",)

    # Meanwhile main has moved on.
    server.put_model(MODEL, FILES | {"config.json": b"{'new'}"}, lfs=LFS, commit="f" * 40)
    record = download(hub, tmp_path, seen)
    assert record.revision == COMMIT and (tmp_path / "config.json").read_bytes() == FILES["config.json"]
    assert server.ranges_of(weights) == [None, 100_000 // STEP * STEP]


def test_a_revision_that_was_taken_back_gives_way_to_the_newest(
    server: FileServer, hub: Hub, seen: Seen, tmp_path: Path
) -> None:
    server.faults[resolved("model.safetensors")] = [Fault("cut", 100_000)]
    with pytest.raises(Unreachable):
        download(hub, tmp_path, seen, limits(tries=0))
    server.put_model(MODEL, FILES | {"config.json": b"{'new'}"}, lfs=LFS, commit="f" * 40)
    del server.files[f"/api/models/{MODEL}/revision/{COMMIT}"]
    record = download(hub, tmp_path, seen)
    assert record.revision == "f" * 40 and (tmp_path / "config.json").read_bytes() == b"{'new'}"
    # The weights are the same by their hash: their part is not thrown away.
    assert server.ranges_of(f"/{MODEL}/resolve/{'f' * 40}/model.safetensors") == [100_000 // STEP * STEP]


def test_a_token_goes_to_the_hub_and_only_there(server: FileServer, hub: Hub, seen: Seen, tmp_path: Path) -> None:
    with file_server() as store:
        store.files["/blob"] = Served(BODY)
        server.faults[resolved("model.safetensors")] = [
            Fault(status=302, headers=(("Location", store.address + "/blob"),))
        ]
        download(Hub(hub.endpoint, "hf_secret"), tmp_path, seen)
        assert [asked.authorization for asked in store.asked] == [None]
    assert {asked.authorization for asked in server.asked} == {"Bearer hf_secret"}
    assert "hf_secret" not in (tmp_path / RECORD).read_text()


def test_offline_means_no_request(server: FileServer, hub: Hub, seen: Seen, tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        download(Hub(hub.endpoint, offline=True), tmp_path / "new", seen)
    assert caught.value.reason == "HF_HUB_OFFLINE is set"
    assert server.asked == [] and on_disk(tmp_path) == []


def test_a_model_that_is_not_there_and_one_that_is_closed(
    server: FileServer, hub: Hub, seen: Seen, tmp_path: Path
) -> None:
    revision = f"/api/models/{MODEL}/revision/main"
    server.faults[revision] = [
        Fault(status=401, headers=(("X-Error-Code", "RepoNotFound"),)),
        Fault(status=401, headers=(("X-Error-Code", "GatedRepo"),)),
        Fault(status=503),
        Fault(status=404),
    ]
    with pytest.raises(NotThere, match=MODEL):
        download(hub, tmp_path, seen)
    with pytest.raises(Refused, match="HF_TOKEN"):
        download(hub, tmp_path, seen)
    with pytest.raises(NotThere):  # after one more try
        download(hub, tmp_path, seen)
    assert seen.waited == [0.5] and on_disk(tmp_path) == []


def test_a_log_in_page_in_place_of_the_hub_is_recognised(
    server: FileServer, hub: Hub, seen: Seen, tmp_path: Path
) -> None:
    server.faults[f"/api/models/{MODEL}/revision/main"] = [Fault(status=200, body=b"<html>Welcome to our Wi-Fi</html>")]
    with pytest.raises(Refused, match="log-in page"):
        download(hub, tmp_path, seen)
    server.trees[f"/api/models/{MODEL}/tree/{COMMIT}"][1]["path"] = "../../outside"
    with pytest.raises(Refused, match="no folder can take"):
        download(hub, tmp_path, seen)
    assert on_disk(tmp_path) == []


def test_the_room_for_all_files_is_asked_for_at_once(server: FileServer, hub: Hub, seen: Seen, tmp_path: Path) -> None:
    seen.free = len(BODY)  # enough for each file alone
    with pytest.raises(NoRoom):
        download(hub, tmp_path, seen)
    assert not [asked for asked in server.asked if "/resolve/" in asked.path]
    assert on_disk(tmp_path) == [RECORD]


def test_a_second_program_waits_for_the_first(server: FileServer, hub: Hub, seen: Seen, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    said = threading.Event()
    seen.said = _Ringing(said)
    with filelock.FileLock(tmp_path / "model.lock"):
        second = threading.Thread(target=lambda: download(hub, folder, seen))
        second.start()
        assert said.wait(seconds(60))
        assert "another program downloads Somebody/Tiny" in seen.said[0] and server.asked == []
    second.join(seconds(60))
    assert not second.is_alive() and read_record(folder) is not None


class _Ringing(list[str]):
    """A list that says when it got its first entry."""

    def __init__(self, rung: threading.Event) -> None:
        super().__init__()
        self.rung = rung

    def append(self, value: str) -> None:
        super().append(value)
        self.rung.set()


def listing(**hashes: str | None) -> Listing:
    return Listing(MODEL, COMMIT, tuple(HubFile(name, 5, sha256) for name, sha256 in hashes.items()))


def test_an_earlier_record_is_believed_only_about_the_same_file() -> None:
    notes = {
        "weights": FileNote(size=5, sha256=SHA, published=True, mtime_ns=1),
        "config": FileNote(size=5, sha256="c" * 64, mtime_ns=2),
        "gone": FileNote(size=5, mtime_ns=3),
    }
    same = Record(model=MODEL, revision=COMMIT, files=notes)
    assert begun_record(listing(weights=SHA, config=None), same).files == {
        name: notes[name] for name in ("weights", "config")
    }
    other = Record(model=MODEL, revision="e" * 40, files=notes)
    assert begun_record(listing(weights=SHA, config=None), other).files == {
        "weights": notes["weights"],
        "config": FileNote(size=5),
    }
    assert begun_record(listing(weights="d" * 64), same).files["weights"] == FileNote(
        size=5, sha256="d" * 64, published=True
    )


def test_the_tree_is_read_page_by_page(server: FileServer, hub: Hub, seen: Seen) -> None:
    with open_client(limits()) as client:
        found = list_files(client, hub, MODEL, "main", seen.doing(), limits())
    assert found.commit == COMMIT
    assert {file.path: (file.size, file.sha256) for file in found.files} == {
        name: (len(FILES[name]), hashlib.sha256(FILES[name]).hexdigest() if name in LFS else None) for name in WANTED
    }
    assert len([asked for asked in server.asked if "/tree/" in asked.path]) == 3


# --- what is kept


NOTED = FileNote(size=10, sha256=SHA, mtime_ns=77)


@pytest.mark.parametrize(
    ("note", "size", "mtime_ns", "expected"),
    [
        (NOTED, None, None, Look.GONE),
        (NOTED, 10, 77, Look.SAME),
        (NOTED, 10, 78, Look.UNSURE),
        (NOTED, 11, 77, Look.OTHER),
        (FileNote(size=10, sha256=SHA, published=True), 10, 77, Look.GONE),  # never finished
    ],
)
def test_size_and_time_decide_which_files_are_hashed(
    note: FileNote, size: int | None, mtime_ns: int | None, expected: Look
) -> None:
    assert look(note, size, mtime_ns) is expected


@pytest.fixture
def kept(hub: Hub, seen: Seen, tmp_path: Path) -> Path:
    download(hub, tmp_path / "model", seen)
    return tmp_path / "model"


def test_files_that_did_not_change_are_not_read(kept: Path, seen: Seen) -> None:
    weights = kept / "model.safetensors"
    time_ns = weights.stat().st_mtime_ns
    weights.write_bytes(OTHER_BODY)  # the same size
    os.utime(weights, ns=(time_ns, time_ns))
    found = check_kept(kept, seen.said.append)
    assert (found.missing, found.damaged, found.changed) == ((), (), ())


def test_a_changed_file_is_told_by_who_published_its_hash(kept: Path, seen: Seen) -> None:
    (kept / "model.safetensors").write_bytes(OTHER_BODY)
    (kept / "speech_tokenizer/model.safetensors").write_bytes(b"short")
    (kept / "config.json").write_bytes(b'{"a": 2}')
    (kept / "speech_tokenizer/config.json").unlink()
    for _ in range(2):  # at each start, not only at the first one after the change
        found = check_kept(kept, seen.said.append)
        assert found.damaged == ("speech_tokenizer/model.safetensors", "model.safetensors")
        assert found.changed == ("config.json",)
        assert found.missing == ("speech_tokenizer/config.json",)


def test_a_file_that_is_only_newer_is_hashed_once(kept: Path, seen: Seen) -> None:
    weights = kept / "model.safetensors"
    os.utime(weights, ns=(1_000_000_000, 1_000_000_000))  # as after a copy to another drive
    found = check_kept(kept, seen.said.append)
    assert (found.missing, found.damaged, found.changed) == ((), (), ())
    record = read_record(kept)
    assert record is not None and record.files["model.safetensors"].mtime_ns == weights.stat().st_mtime_ns


def test_a_changed_file_without_a_published_hash_is_not_downloaded_over(
    server: FileServer, hub: Hub, kept: Path, seen: Seen
) -> None:
    (kept / "config.json").write_bytes(b'{"mine": 1}')
    (kept / "speech_tokenizer/config.json").unlink()
    download(hub, kept, seen)
    assert (kept / "config.json").read_bytes() == b'{"mine": 1}'
    assert check_kept(kept, seen.said.append).changed == ("config.json",)


def test_a_folder_of_somebody_else_says_nothing(tmp_path: Path, seen: Seen) -> None:
    assert check_kept(tmp_path, seen.said.append).record is None
    assert check_kept(tmp_path / "not there", seen.said.append).record is None
    (tmp_path / RECORD).write_text("{half")
    assert check_kept(tmp_path, seen.said.append).record is None


def test_the_client_gives_up_what_stands_still_after_the_limit() -> None:
    with open_client(Limits()) as client:
        assert client.timeout == httpx.Timeout(60.0, connect=20.0)
