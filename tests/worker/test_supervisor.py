"""The worker's life, seen from the parent: workers of a few lines stand for the faults that can't be had."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from clock import seconds

from server.contract.codes import ErrorCode
from server.engines import EngineSettings
from server.errors import NarratorError, Unavailable
from server.takes.line import prepare_line
from server.takes.take import TakeSettings
from server.worker.supervisor import Phase, Supervisor
from server.worker.timing import Timing

LINE = prepare_line("안녕하세요.", "Korean", 1)

FOR_EVER = Timing(settle_s=3600.0, max_held_s=3600.0)
"""Lines are held until they fill all places."""

WORKER = """
import os, sys, time
from pathlib import Path
from server.worker.frames import read_frame, write_frame
requests, replies = sys.stdin.buffer, sys.stdout.buffer
life = Path(sys.argv[1])
born = int(life.read_text() or 0) + 1 if life.exists() else 1
life.write_text(str(born))
FACTS = dict(engine="draft", model="m", voice="v", sample_rate=8000, device="cpu", dtype="x", reason="r", in_flight=2)
read_frame(requests)
def ready():
    write_frame(replies, {"is": "ready", "facts": FACTS})
def done(request):
    write_frame(replies, {"is": "done", "id": request["id"], "seed": request["seed"], "takes": 1,
        "confidence": 1.0, "dummy": "found", "doubtful": False, "memory_bytes": {"cuda:0": 4_000_000_000},
        "generation_seconds": 0.1, "audio_seconds": 0.1, "text_sha256": "x"}, b"by worker %d" % born)
"""


def supervisor(tmp_path: Path, body: str, **settings: object) -> Supervisor:
    file = tmp_path / "worker.py"
    file.write_text(WORKER + textwrap.dedent(body), "utf-8")
    command = (sys.executable, str(file), str(tmp_path / "life"))
    root = str(Path(__file__).parents[2])
    return Supervisor(
        EngineSettings("draft"),
        TakeSettings(),
        command=command,
        environment={"PYTHONPATH": root},
        **settings,  # type: ignore[arg-type]
    )


def during(make: Callable[[], Supervisor], what: Callable[[Supervisor], Awaitable[None]]) -> None:
    async def live() -> None:
        subject = make()
        await subject.start()
        try:
            await asyncio.wait_for(what(subject), seconds(30))
        finally:
            await subject.stop()
            assert subject.worker is None or subject.worker.ended

    asyncio.run(live())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 what is waited for belongs to the program under test
        await asyncio.sleep(0.01)


async def until_ready(subject: Supervisor) -> None:
    await until(lambda: subject.ready)


WHEN_TOLD = """
def wait_for_go():
    while not Path(sys.argv[1]).with_name("go").exists():
        time.sleep(0.01)
ready()
"""
"""A worker that is ready and may wait for the file `go` beside its own."""

HONEST = """
ready()
while True:
    done(read_frame(requests)[0])
"""


def test_lines_are_spoken_in_their_order(tmp_path: Path) -> None:
    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        spoken = await asyncio.gather(*(subject.speak(prepare_line("a", "Korean", seed)) for seed in range(20)))
        assert [each.seed for each in spoken] == list(range(20))
        assert subject.gpu == {"cuda:0": {"memory_bytes": 4_000_000_000}}

    during(lambda: supervisor(tmp_path, HONEST), check)


def test_before_the_first_worker_is_ready_speech_is_refused_with_a_time(tmp_path: Path) -> None:
    async def check(subject: Supervisor) -> None:
        with pytest.raises(Unavailable) as error:
            await subject.speak(LINE)
        assert error.value.code is ErrorCode.ENGINE_LOADING
        assert error.value.retry_after > 0

    during(lambda: supervisor(tmp_path, "time.sleep(30)"), check)


def test_a_worker_that_dies_with_a_line_costs_that_line_one_retry(tmp_path: Path) -> None:
    dies_once = """
    ready()
    while True:
        request = read_frame(requests)[0]
        if born == 1:
            os._exit(42)
        done(request)
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        spoken = await asyncio.gather(*(subject.speak(prepare_line("a", "Korean", seed)) for seed in range(3)))
        assert {each.wav for each in spoken} == {b"by worker 2"}
        assert subject.restarts == 1

    during(lambda: supervisor(tmp_path, dies_once), check)


def test_a_line_that_kills_two_workers_is_answered_and_the_next_is_spoken(tmp_path: Path) -> None:
    poison = """
    ready()
    while True:
        request = read_frame(requests)[0]
        if request["text"] == "poison":
            os._exit(42)
        done(request)
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        bad = asyncio.create_task(subject.speak(prepare_line("poison", "Korean", 1)))
        good = asyncio.create_task(subject.speak(LINE))
        with pytest.raises(NarratorError) as error:
            await bad
        assert error.value.code is ErrorCode.POISON_INPUT
        assert (await good).wav == b"by worker 3"
        assert subject.counts["poison"] == 1

    during(lambda: supervisor(tmp_path, poison), check)


def test_in_a_batch_the_line_that_kills_is_found_and_the_others_are_spoken(tmp_path: Path) -> None:
    """Four lines at once, one of them deadly: first all die together, then each is spoken alone."""
    poison_in_a_batch = """
    FACTS["rows"] = 4
    ready()
    while True:
        lines = [read_frame(requests)[0]]
        if lines[0]["text"] == "poison":
            os._exit(42)
        if born == 1:
            lines += [read_frame(requests)[0] for _ in range(3)]
        if any(line["text"] == "poison" for line in lines):
            os._exit(42)
        for line in lines:
            done(line)
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        texts = ["가", "poison", "나", "다"]
        answers = await asyncio.gather(
            *(subject.speak(prepare_line(text, "Korean", 1)) for text in texts), return_exceptions=True
        )
        assert [getattr(answer, "code", "spoken") for answer in answers] == [
            "spoken",
            ErrorCode.POISON_INPUT,
            "spoken",
            "spoken",
        ]
        assert subject.restarts == 2

    during(lambda: supervisor(tmp_path, poison_in_a_batch), check)


FOUR_ROWS_OF_EIGHT = """
FACTS["rows"] = 8
ready()
while True:
    lines = [read_frame(requests)[0] for _ in range(4)]
    for line in lines:
        done(line)
"""


def test_lines_that_arrive_a_millisecond_apart_are_handed_over_together(tmp_path: Path) -> None:
    """A hand-over has one time for all its lines; at once, there would be four. The real 8 ms could pass between two
    lines on a machine that stalls.
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        asked = []
        for seed in range(4):
            # Long and short: a line that does not fit the first in length waited half a second more for its place.
            asked.append(asyncio.create_task(subject.speak(replace(LINE, weight=10.0**seed, seed=seed))))
            await asyncio.sleep(0.001)
        jobs = list(subject.jobs.values())
        assert len(jobs) == 4 and subject.running == 0, "none has left alone"
        assert [each.seed for each in await asyncio.gather(*asked)] == list(range(4))
        assert len({job.started for job in jobs}) == 1

    patient = Timing(settle_s=1.0, max_held_s=10.0)
    during(lambda: supervisor(tmp_path, FOUR_ROWS_OF_EIGHT, timing=patient), check)


def test_a_line_that_stays_alone_is_not_held_until_the_next_look_at_the_watch(tmp_path: Path) -> None:
    one_of_eight = 'FACTS["rows"] = 8' + HONEST

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        held = []
        for _ in range(5):
            asked = asyncio.create_task(subject.speak(LINE))
            await asyncio.sleep(0)
            (job,) = subject.jobs.values()
            await asked
            held.append(job.started - job.waiting.arrived)
        assert min(held) < Timing().watch_s / 2, "the shortest of five: a machine that stalls may hold some of them"

    during(lambda: supervisor(tmp_path, one_of_eight), check)


def test_answers_are_taken_while_a_line_is_held(tmp_path: Path) -> None:
    """Three places. The third line is answered once a fourth is held: alone beside two free places, that one waits."""
    third_waits = """
    lines = [read_frame(requests)[0] for _ in range(3)]
    done(lines[0])
    done(lines[1])
    wait_for_go()
    done(lines[2])
    while True:
        done(read_frame(requests)[0])
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        asked = [asyncio.create_task(subject.speak(LINE)) for _ in range(3)]
        await asyncio.gather(*asked[:2])
        held = asyncio.create_task(subject.speak(LINE))
        await until(lambda: subject.queue_depth == 1)
        (tmp_path / "go").touch()
        await asked[2]
        assert subject.queue_depth == 1 and subject.running == 0
        await asyncio.gather(held, subject.speak(LINE), subject.speak(LINE))

    body = 'FACTS["rows"] = 3' + WHEN_TOLD + textwrap.dedent(third_waits)
    during(lambda: supervisor(tmp_path, body, timing=FOR_EVER), check)


def test_lines_that_are_held_do_not_fill_the_queue(tmp_path: Path) -> None:
    """They have their places: with a short queue and many rows they would be refused while the engine has nothing."""

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        # Eight for the engine, where the last of them ends the wait, and two for the queue.
        asked = [asyncio.create_task(subject.speak(LINE)) for _ in range(7)]
        await until(lambda: subject.queue_depth == 7)
        asked += [asyncio.create_task(subject.speak(LINE)) for _ in range(3)]
        await until(lambda: subject.running == 8)
        assert subject.queue_depth == 2
        with pytest.raises(Unavailable) as error:
            await subject.speak(LINE)
        assert error.value.code is ErrorCode.QUEUE_FULL
        for each in asked:
            each.cancel()

    stuck = 'FACTS["rows"] = 8\nready()\ntime.sleep(30)'
    during(lambda: supervisor(tmp_path, stuck, queue_limit=2, timing=FOR_EVER), check)


def test_seconds_that_were_spoken_are_counted_beside_those_that_were_delivered(tmp_path: Path) -> None:
    """The dummy and every retake are spoken and not delivered; a worker that does not tell adds nothing."""
    tells = """
    tell = write_frame
    def write_frame(stream, header, body=b""):
        if header.get("seed") == 1:
            header["spoken_seconds"] = 2.5
        tell(stream, header, body)
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        for seed in (1, 1, 2):
            await subject.speak(prepare_line("a", "Korean", seed))
        assert subject.seconds_spoken == pytest.approx(5.0)
        assert subject.seconds_delivered == pytest.approx(0.3)

    during(lambda: supervisor(tmp_path, textwrap.dedent(tells) + HONEST), check)


def test_workers_killed_from_outside_are_not_held_against_a_line(tmp_path: Path) -> None:
    killed = """
    ready()
    while True:
        request = read_frame(requests)[0]
        if born < 3:
            os.kill(os.getpid(), 9)
        done(request)
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        with pytest.raises(Unavailable) as error:
            await subject.speak(LINE)
        assert error.value.code is ErrorCode.WORKER_DIED, "the client may ask again"
        assert (await subject.speak(LINE)).wav == b"by worker 3"
        assert subject.counts["poison"] == 0

    during(lambda: supervisor(tmp_path, killed), check)


def test_workers_that_die_again_and_again_open_the_breaker(tmp_path: Path) -> None:
    told: list[str] = []

    async def check(subject: Supervisor) -> None:
        await until(lambda: told)
        assert subject.broken and subject.phase is Phase.UNUSABLE
        assert "5 times" in told[0]
        assert (tmp_path / "life").read_text() == "5"

    at_once = Timing(restart_delays_s=(0.0,))
    during(lambda: supervisor(tmp_path, "os._exit(41)", on_unusable=told.append, timing=at_once), check)


HANGS = """
ready()
while True:
    request = read_frame(requests)[0]
    if request["text"] == "hang":
        time.sleep(60)
    done(request)
"""


def test_a_line_over_its_budget_is_answered_and_its_worker_replaced(tmp_path: Path) -> None:
    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        await subject.speak(LINE)  # measured now: the generous first budget is over
        with pytest.raises(NarratorError) as error:
            await subject.speak(prepare_line("hang", "Korean", 1))
        assert error.value.code is ErrorCode.DEADLINE
        assert (await subject.speak(LINE)).wav == b"by worker 2"
        assert subject.counts["hung"] == 1 and subject.counts["poison"] == 0

    during(lambda: supervisor(tmp_path, HANGS, timing=Timing(budget_floor_s=seconds(0.5))), check)


def test_a_line_whose_caller_has_gone_never_reaches_the_engine(tmp_path: Path) -> None:
    when_told = """
    spoken = Path(sys.argv[1]).with_name("spoken")
    while True:
        request = read_frame(requests)[0]
        if request["do"] != "speak":
            continue
        with spoken.open("a") as file:
            file.write(request["text"])
        wait_for_go()
        done(request)
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        first = asyncio.create_task(subject.speak(prepare_line("가", "Korean", 1)))
        await until(lambda: subject.running)
        gone = asyncio.create_task(subject.speak(prepare_line("나", "Korean", 1)))
        last = asyncio.create_task(subject.speak(prepare_line("다", "Korean", 1)))
        await until(lambda: subject.queue_depth == 2)
        gone.cancel()
        await until(lambda: subject.queue_depth == 1)
        (tmp_path / "go").touch()
        await asyncio.gather(first, last)
        assert (tmp_path / "spoken").read_text() == "가다"
        assert subject.queue_depth == subject.running == 0

    during(lambda: supervisor(tmp_path, WHEN_TOLD + textwrap.dedent(when_told)), check)


def test_a_line_that_waited_too_long_is_not_begun(tmp_path: Path) -> None:
    """The budget is a million times the expected time: the first line may run for 28 hours, and the one behind it,
    which has no weight, must begin within 0.3 s.
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        subject.speed.learn(weight=1.0, seconds=0.001)
        running = asyncio.create_task(subject.speak(replace(LINE, weight=100.0)))
        await until(lambda: subject.running)
        with pytest.raises(Unavailable) as error:
            await subject.speak(replace(LINE, weight=0.0))
        assert error.value.code is ErrorCode.TOO_LATE
        running.cancel()

    timing = Timing(budget_floor_s=0.0, budget_factor=1e6)
    during(lambda: supervisor(tmp_path, "ready()\ntime.sleep(60)", timing=timing), check)


def test_draining_delivers_what_runs_and_refuses_the_rest(tmp_path: Path) -> None:
    when_told = """
    while True:
        request = read_frame(requests)[0]
        wait_for_go()
        done(request)
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        running = asyncio.create_task(subject.speak(LINE))
        await until(lambda: subject.running)
        waiting = asyncio.create_task(subject.speak(LINE))
        await until(lambda: subject.queue_depth)
        subject.drain()
        assert not subject.ready
        for refused in (waiting, asyncio.create_task(subject.speak(LINE))):
            with pytest.raises(Unavailable) as error:
                await refused
            assert error.value.code is ErrorCode.SHUTTING_DOWN
        (tmp_path / "go").touch()
        assert (await running).wav == b"by worker 1"

    during(lambda: supervisor(tmp_path, WHEN_TOLD + textwrap.dedent(when_told)), check)


def test_an_idle_worker_gives_its_memory_back_and_the_next_line_wakes_a_new_one(tmp_path: Path) -> None:
    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        first = subject.worker
        await until(lambda: subject.phase is Phase.ASLEEP)
        assert first is not None and first.ended
        assert subject.ready
        assert (await subject.speak(LINE)).wav == b"by worker 2"
        assert subject.restarts == 0

    during(lambda: supervisor(tmp_path, HONEST, idle_minutes=0.01), check)


def test_a_stuck_worker_that_reads_nothing_does_not_stop_the_parent(tmp_path: Path) -> None:
    """A frame larger than the pipe's buffer to a stopped worker blocked the loop, and with it the watchdog."""

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        await subject.speak(LINE)
        assert subject.worker is not None
        subject.worker.popen.send_signal(signal.SIGSTOP)
        large = asyncio.create_task(subject.speak(replace(LINE, text="가" * 100_000)))
        ticks = 0
        while not large.done():
            await asyncio.sleep(0.05)
            ticks += 1
        with pytest.raises(NarratorError) as error:
            await large
        assert error.value.code is ErrorCode.DEADLINE
        assert ticks > 5, "the loop went on"
        assert (await subject.speak(LINE)).wav == b"by worker 2"

    during(lambda: supervisor(tmp_path, HONEST, timing=Timing(budget_floor_s=seconds(1.0))), check)


def test_a_text_with_which_workers_are_killed_for_ever_is_refused_in_the_end(tmp_path: Path) -> None:
    """The system kills for memory with signal 9: a client that asks again must not do so all night. Without a window,
    so that the breaker does not open after the fifth.
    """
    killed = """
    ready()
    while True:
        request = read_frame(requests)[0]
        if request["text"] == "huge":
            os.kill(os.getpid(), 9)
        done(request)
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        codes = []
        for _ in range(3):
            with pytest.raises(NarratorError) as error:
                await subject.speak(prepare_line("huge", "Korean", 1))
            codes.append(error.value.code)
        assert codes == [ErrorCode.WORKER_DIED, ErrorCode.WORKER_DIED, ErrorCode.POISON_INPUT]
        assert (await subject.speak(LINE)).wav == b"by worker 7"

    during(lambda: supervisor(tmp_path, killed, timing=Timing(deaths_within_s=0.0)), check)


def test_a_load_that_says_nothing_is_ended(tmp_path: Path) -> None:
    """A busy machine may need longer than two seconds to start the second worker too: then it is a later one."""

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        assert (await subject.speak(LINE)).wav != b"by worker 1"
        assert subject.counts["death_hung"] == subject.restarts >= 1

    impatient = Timing(load_silence_s=2.0, restart_delays_s=(0.0,))
    during(lambda: supervisor(tmp_path, "if born == 1: time.sleep(60)" + HONEST, timing=impatient), check)


def test_an_answer_to_another_request_is_never_delivered(tmp_path: Path) -> None:
    confused_once = """
    ready()
    while True:
        request = read_frame(requests)[0]
        if born == 1:
            request["id"] += 1
        done(request)
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        assert (await subject.speak(LINE)).wav == b"by worker 2", "a confused worker is replaced"

    during(lambda: supervisor(tmp_path, confused_once), check)


def test_what_the_worker_refuses_arrives_as_its_code(tmp_path: Path) -> None:
    refusing = """
    ready()
    request = read_frame(requests)[0]
    write_frame(replies, {"is": "failed", "id": request["id"], "code": "take_failed",
                          "params": {"takes": 3, "reason": "cap"}})
    time.sleep(30)
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        with pytest.raises(NarratorError) as error:
            await subject.speak(LINE)
        assert error.value.code is ErrorCode.TAKE_FAILED and error.value.params["reason"] == "cap"

    during(lambda: supervisor(tmp_path, refusing), check)


def test_a_full_queue_says_so(tmp_path: Path) -> None:
    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        waiting = [asyncio.create_task(subject.speak(LINE))]
        await until(lambda: subject.running)
        waiting += [asyncio.create_task(subject.speak(LINE)) for _ in range(2)]
        await until(lambda: subject.queue_depth == 2)
        with pytest.raises(Unavailable) as error:
            await subject.speak(LINE)
        assert error.value.code is ErrorCode.QUEUE_FULL
        await subject.stop()
        for each in waiting:
            with pytest.raises(Unavailable) as ending:
                await each
            assert ending.value.code is ErrorCode.SHUTTING_DOWN

    during(lambda: supervisor(tmp_path, "ready()\ntime.sleep(30)", queue_limit=2), check)


def test_an_engine_that_cannot_work_here_is_told_once_and_not_started_again(tmp_path: Path) -> None:
    unusable = 'write_frame(replies, {"is": "unusable", "sentence": "No card."})'
    told: list[str] = []

    async def check(subject: Supervisor) -> None:
        await until(lambda: told)
        await asyncio.sleep(0.5)
        assert told == ["No card."]
        assert subject.phase is Phase.UNUSABLE
        assert (tmp_path / "life").read_text() == "1"

    during(lambda: supervisor(tmp_path, unusable, on_unusable=told.append), check)


def test_a_worker_that_fills_its_standard_error_is_not_stopped_by_it(tmp_path: Path) -> None:
    noisy = """
    sys.stderr.write("x" * 2_000_000)
    ready()
    while True:
        request = read_frame(requests)[0]
        sys.stderr.write("y" * 2_000_000)
        done(request)
    """

    async def check(subject: Supervisor) -> None:
        await until_ready(subject)
        assert (await subject.speak(LINE)).wav == b"by worker 1"

    during(lambda: supervisor(tmp_path, noisy), check)


def test_a_worker_that_does_not_end_when_asked_is_killed(tmp_path: Path) -> None:
    async def check(subject: Supervisor) -> None:
        await until_ready(subject)

    impatient = Timing(stop_patience_s=0.3)
    during(lambda: supervisor(tmp_path, "ready()\nwhile True: time.sleep(30)", timing=impatient), check)
