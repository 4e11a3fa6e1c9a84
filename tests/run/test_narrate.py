"""A run against answers that go wrong: nothing false is written, and nothing is given up too early or too late.

T-numbers: the reliability tests of docs/dev/reliability.md, from the client's side.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import odd_server as odd
import pytest
from clock import in_time, seconds
from faulty_proxy import Fault, How, faulty_proxy
from odd_server import Answer, OddServer, audio_of

from client.errors import DiskUnusable, ServerAway, ServerError
from client.project.folder import ProjectFolder, new_project
from client.project.manifest import LineRecord, ScriptRecord
from client.project.plan import PlannedLine, WantedLine
from client.run import narrate
from client.run.narrate import Outcome, Run, voice_of
from client.run.patience import Patience, patiently, ready_server
from client.run.report import Summary
from client.voice_server.api import Speech, VoiceServer
from client.voice_server.transport import WatchedTransport, keepalive_options
from server.contract.codes import ErrorCode

TEXTS = [f"{number}번째 문장입니다." for number in range(1, 9)]


class ReportInMemory:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.waits: list[tuple[str, float, float]] = []
        self.backs = 0
        self.failed: dict[int, str] = {}
        self.on_wait: Callable[[], None] = lambda: None

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def begin(self, lines: int, to_make: int) -> None: ...

    def waiting(self, sentence: str, waited_s: float, limit_s: float) -> None:
        self.waits.append((sentence, waited_s, limit_s))
        self.on_wait()

    def server_back(self) -> None:
        self.backs += 1

    def line_started(self, line: PlannedLine) -> None: ...

    def line_made(self, line: PlannedLine, record: LineRecord, eta_s: float, placed: bool) -> None: ...

    def line_failed(self, line: PlannedLine, sentence: str) -> None:
        self.failed[line.wanted.number] = sentence

    def end(self, summary: Summary) -> None: ...


@pytest.fixture
def server() -> Iterator[OddServer]:
    with odd.odd_server() as running:
        yield running


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.run.patience.PAUSES_S", (0.02,))


class Rehearsal:
    """One run over TEXTS, with a report that remembers."""

    def __init__(self, path: Path) -> None:
        self.report = ReportInMemory()
        script = ScriptRecord(name="s", sha256="0", language="Korean")
        self.folder: ProjectFolder = new_project(path, "p", "p", False, script, "test")
        self.script = script

    def run(
        self,
        server: OddServer,
        texts: list[str] = TEXTS,
        limit_s: float = 20.0,
        address: str = "",
        stall_s: float = 5.0,
    ) -> Outcome:
        wanted = [WantedLine(n, text, "", "", 1, f"{n:03}.wav") for n, text in enumerate(texts, 1)]

        async def run() -> Outcome:
            stop = asyncio.Event()
            patience = Patience(self.report, limit_s, stop)
            async with VoiceServer(address or server.address, "key", WatchedTransport(stall_s)) as voice_server:
                health = await ready_server(voice_server, patience)
                plan = self.folder.plan(wanted, "Korean", voice_of(health), False)
                self.folder.apply(plan, "Korean", self.script)
                job = Run(voice_server, self.folder, "Korean", voice_of(health), False, self.report, patience)
                outcome = await job.make(plan.to_make, health.in_flight)
                self.folder.finish()
                return outcome

        return asyncio.run(run())

    def is_right(self, texts: list[str] = TEXTS, without: tuple[int, ...] = ()) -> None:
        """Each line's own audio under its own name; none for the lines that failed."""
        found = {path.name: path.read_bytes() for path in self.folder.path.glob("*.wav")}
        assert found == {f"{n:03}.wav": audio_of(text) for n, text in enumerate(texts, 1) if n not in without}
        assert not list(self.folder.path.glob("*.part"))


@pytest.fixture
def rehearsal(tmp_path: Path) -> Rehearsal:
    return Rehearsal(tmp_path)


FALSE_ANSWERS = {
    "another text's audio": odd.someone_elses,
    "no word whose audio it is": odd.unlabelled,
    "half a WAV": odd.half_wav,
    "a page": odd.page,
    "no seed": odd.no_seed,
    "a seed that is no number": odd.odd_seed,
    "zero hertz": odd.no_rate,
    "no gzip that says it is": odd.bad_encoding,
}


@pytest.mark.parametrize("name", FALSE_ANSWERS)
def test_a_false_answer_is_never_written_and_the_line_asked_again(
    server: OddServer, rehearsal: Rehearsal, name: str
) -> None:
    """T1 and T2 from this side: 200 with what is not this request's whole WAV."""
    server.answers[TEXTS[2]] = [FALSE_ANSWERS[name]]
    outcome = rehearsal.run(server)
    assert outcome.ended_by is None and not outcome.failed
    assert server.asked.count(TEXTS[2]) == 2
    rehearsal.is_right()


@pytest.mark.parametrize("name", FALSE_ANSWERS)
def test_a_line_that_gets_only_false_answers_fails_alone(server: OddServer, rehearsal: Rehearsal, name: str) -> None:
    server.answers[TEXTS[2]] = [FALSE_ANSWERS[name]] * 10
    outcome = rehearsal.run(server)
    assert [record.number for record in outcome.failed] == [3]
    assert server.asked.count(TEXTS[2]) == narrate.TAKES_PER_LINE
    assert rehearsal.report.failed[3]
    rehearsal.is_right(without=(3,))
    server.answers.clear()
    assert not rehearsal.run(server).failed, "and the next run makes it"
    rehearsal.is_right()


def test_a_body_that_ends_too_early_is_asked_for_again(server: OddServer, rehearsal: Rehearsal) -> None:
    server.answers[TEXTS[0]] = [odd.cut_off, odd.cut_off]
    assert rehearsal.run(server).ended_by is None
    rehearsal.is_right()
    assert rehearsal.report.backs >= 1


# A stall before the body may be a long sentence: for that one TCP keep-alive watches.
BREAKS = [(after, how) for how in ("reset", "close") for after in (0, 20, 300, 5_000)] + [(5_000, "stall")]


@pytest.mark.parametrize(("after_bytes", "how"), BREAKS)
def test_connections_that_break_anywhere_cost_no_line(
    server: OddServer, rehearsal: Rehearsal, after_bytes: int, how: How
) -> None:
    """Before the answer, in its head, in its body. A stall is a broken connection that says nothing."""
    faults = [None, Fault(after_bytes, how), None, Fault(after_bytes, how)]
    server.in_flight = 4
    with faulty_proxy(server.address, faults) as proxy:
        outcome = rehearsal.run(server, address=proxy.address, stall_s=0.3)
        assert proxy.done == 2
    assert outcome.ended_by is None and not outcome.failed
    rehearsal.is_right()


def test_a_line_at_which_the_connection_always_breaks_is_left_out_and_the_others_go_on(
    server: OddServer, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be what kills the server; without an end to it the night would never finish."""
    monkeypatch.setattr(narrate, "OUTAGES_PER_LINE", 4)
    server.answers[TEXTS[1]] = [odd.cut_off] * 50
    outcome = rehearsal.run(server)
    assert [record.number for record in outcome.failed] == [2]
    assert server.asked.count(TEXTS[1]) == 4
    rehearsal.is_right(without=(2,))


def test_a_full_queue_is_waited_for_as_long_as_it_says(server: OddServer, rehearsal: Rehearsal) -> None:
    """T4, T7: 503 with Retry-After."""
    full = odd.problem(ErrorCode.QUEUE_FULL, retry_after=1, waiting=9)
    server.answers[TEXTS[0]] = [full, full]
    began = time.monotonic()
    outcome = rehearsal.run(server, TEXTS[:2])
    taken_s = time.monotonic() - began
    assert taken_s >= 2.0 and in_time(taken_s, 8.0)
    assert not outcome.failed and server.asked.count(TEXTS[0]) == 3
    rehearsal.is_right(TEXTS[:2])


def test_a_line_that_the_server_refuses_for_good_is_asked_once_and_stops_no_other(
    server: OddServer, rehearsal: Rehearsal
) -> None:
    """T14: 422, as for a sentence that killed a worker twice."""
    server.answers[TEXTS[3]] = [odd.problem(ErrorCode.TEXT_UNSPEAKABLE)] * 5
    outcome = rehearsal.run(server)
    assert [record.number for record in outcome.failed] == [4]
    assert server.asked.count(TEXTS[3]) == 1
    rehearsal.is_right(without=(4,))


def test_three_lines_that_fail_alike_at_the_start_end_the_run_with_a_sentence(
    server: OddServer, rehearsal: Rehearsal
) -> None:
    server.in_flight = 1
    server.otherwise = odd.problem(ErrorCode.INTERNAL, request_id="r77")
    outcome = rehearsal.run(server)
    assert isinstance(outcome.ended_by, ServerError)
    assert "first 3 lines" in str(outcome.ended_by) and "r77" in str(outcome.ended_by)
    assert len(outcome.failed) == 3
    assert set(server.asked) == set(TEXTS[:3]), "the others are not even tried"


@pytest.mark.parametrize(
    "answer", [odd.problem(ErrorCode.TAKE_FAILED, takes=3, reason="frame cap"), odd.half_wav, odd.someone_elses]
)
def test_three_hard_sentences_at_the_top_of_a_script_cost_nobody_else_the_night(
    server: OddServer, rehearsal: Rehearsal, answer: Callable[[str], Answer]
) -> None:
    """They ended the run, every night anew, as if the server were broken."""
    server.in_flight = 1
    for text in TEXTS[:3]:
        server.answers[text] = [answer] * 3
    outcome = rehearsal.run(server)
    assert outcome.ended_by is None
    assert [record.number for record in outcome.failed] == [1, 2, 3]
    rehearsal.is_right(without=(1, 2, 3))


@pytest.mark.parametrize(
    ("code", "servers"),
    [
        (ErrorCode.INTERNAL, True),
        ("http_500", True),
        (ErrorCode.TAKE_FAILED, False),
        (ErrorCode.DEADLINE, False),
        ("broken_wav", False),
    ],
)
def test_only_what_says_nothing_of_the_line_is_the_servers_own_fault(code: str, servers: bool) -> None:
    assert narrate.is_servers_own(code) is servers


def test_the_same_sentence_twice_is_asked_for_with_two_seeds(
    server: OddServer, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lines had the very same take: a "yes" that is heard twice sounded like a copy."""
    seeds: list[int | None] = []
    speak = VoiceServer.speak

    async def with_its_seed_noted(self: VoiceServer, text: str, language: str, seed: int | None = None) -> Speech:
        seeds.append(seed)
        return await speak(self, text, language, seed)

    monkeypatch.setattr(VoiceServer, "speak", with_its_seed_noted)
    rehearsal.run(server, ["네.", "네."])
    assert len(seeds) == 2 and len(set(seeds)) == 2


def test_who_stops_while_the_server_is_away_waits_for_no_further_attempt(
    server: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more attempt may hang for as long as a connection takes."""

    async def asked() -> int:
        stop, report, attempts = asyncio.Event(), ReportInMemory(), 0
        report.on_wait = stop.set

        async def ask() -> None:
            nonlocal attempts
            attempts += 1
            raise ServerAway("away")

        with pytest.raises(ServerAway):
            await patiently(ask, Patience(report, 60.0, stop))
        return attempts

    assert asyncio.run(asked()) == 1


def test_once_a_line_is_made_failures_are_the_lines_own(server: OddServer, rehearsal: Rehearsal) -> None:
    server.in_flight = 1
    for text in TEXTS[1:6]:
        server.answers[text] = [odd.problem(ErrorCode.TAKE_FAILED, takes=3, reason="frame cap")] * 3
    outcome = rehearsal.run(server)
    assert outcome.ended_by is None
    assert len(outcome.failed) == 5 and len(outcome.made) == 3
    rehearsal.is_right(without=(2, 3, 4, 5, 6))


def test_a_router_that_answers_for_the_server_in_the_night_is_waited_out(
    server: OddServer, rehearsal: Rehearsal
) -> None:
    server.in_flight = 1
    server.answers[TEXTS[4]] = [odd.page]

    def router(text: str) -> Answer:
        server.health_is_a_page = 3
        return odd.page(text)

    server.answers[TEXTS[4]] = [router]
    outcome = rehearsal.run(server)
    assert outcome.ended_by is None and not outcome.failed
    assert any("Something else answers" in sentence for sentence, _, _ in rehearsal.report.waits)
    rehearsal.is_right()


def test_waiting_tells_how_long_and_how_long_at_most_and_ends_then(server: OddServer, rehearsal: Rehearsal) -> None:
    server.in_flight = 1

    def gone(text: str) -> Answer:
        server.health_is_a_page = 10_000
        return odd.cut_off(text)

    server.answers[TEXTS[1]] = [gone]
    limit_s = seconds(0.5)
    outcome = rehearsal.run(server, limit_s=limit_s)
    assert isinstance(outcome.ended_by, ServerError)
    assert {limit for _, _, limit in rehearsal.report.waits[1:]} == {limit_s}
    waited = [waited_s for _, waited_s, _ in rehearsal.report.waits]
    assert waited == sorted(waited) and waited[-1] < 2 * limit_s
    assert len(outcome.made) == 1 and not outcome.failed
    rehearsal.is_right(without=tuple(range(2, 9)))


def test_the_pcs_clock_does_not_shorten_or_lengthen_the_waiting(
    server: OddServer, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put back by a day in the middle of an outage, it neither ends the wait nor shows a wrong time."""
    real, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])

    def put_back() -> None:
        offset[0] -= 86_400.0

    rehearsal.report.on_wait = put_back
    server.answers[TEXTS[0]] = [odd.cut_off] * 3
    assert rehearsal.run(server).ended_by is None
    assert all(0 <= waited < 10 for _, waited, _ in rehearsal.report.waits)
    rehearsal.is_right()


def test_a_full_disk_stops_everything_at_once(
    server: OddServer, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what another line is just waiting for, which could not be saved either."""
    server.in_flight = 2

    def slow(text: str) -> Answer:
        answer = odd.good(text)
        answer.pause_s = 30.0
        return answer

    server.answers[TEXTS[1]] = [slow]
    real = ProjectFolder.save_line

    def full_at_third(self: ProjectFolder, number: int, *rest: object) -> LineRecord:
        if number == 3:
            raise DiskUnusable("The disk is full.")
        return real(self, number, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ProjectFolder, "save_line", full_at_third)
    began = time.monotonic()
    outcome = rehearsal.run(server)
    assert in_time(time.monotonic() - began, 10)
    assert isinstance(outcome.ended_by, DiskUnusable) and outcome.ended_by.exit_code == 7
    assert [record.number for record in outcome.made] == [1]
    rehearsal.is_right(without=tuple(range(2, 9)))


def test_the_first_line_that_is_made_says_that_everything_works(server: OddServer, rehearsal: Rehearsal) -> None:
    rehearsal.run(server)
    assert [note for note in rehearsal.report.notes if "server, voice and disk work" in note] == rehearsal.report.notes


def test_answers_belong_to_their_requests_however_many_are_in_flight(server: OddServer, tmp_path: Path) -> None:
    """T1: forty lines, sixteen at a time."""
    texts = [f"{number}번 문장." for number in range(40)]
    server.in_flight = 16
    rehearsal = Rehearsal(tmp_path)
    assert not rehearsal.run(server, texts).failed
    rehearsal.is_right(texts)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in rehearsal.folder.path.glob("*.wav")}
    assert len(digests) == 40


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_the_system_is_asked_to_watch_silent_connections(platform: str) -> None:
    options = keepalive_options(platform)
    assert options[0][2] == 1
    assert all(isinstance(value, int) for option in options for value in option)


def test_the_connection_really_has_keep_alive_on(server: OddServer) -> None:
    import socket

    import httpx

    async def ask() -> int:
        async with httpx.AsyncClient(transport=WatchedTransport()) as client, client.stream("GET", server.address) as r:
            network = r.extensions["network_stream"].get_extra_info("socket")
            return int(network.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    assert asyncio.run(ask()) != 0


def test_as_many_lines_are_under_way_as_a_large_card_wants() -> None:
    """More than the 100 connections that httpx opens by itself: nobody is answered before all are there."""
    wanted = 120

    async def all_at_once() -> list[int]:
        there, everybody = 0, asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal there
            await reader.readuntil(b"\r\n\r\n")
            there += 1
            if there == wanted:
                everybody.set()
            await everybody.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, httpx.AsyncClient(transport=WatchedTransport(), timeout=seconds(20)) as client:
            answers = await asyncio.gather(*(client.get(address) for _ in range(wanted)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(all_at_once()) == [200] * wanted
