"""A script becomes a folder: real client, real server, draft speech, real files."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from clock import output_of, seconds, wait_until
from faulty_proxy import Fault, How, faulty_proxy
from narrator import Narrator, is_whole_wav
from servers import RunningServer, free_port, running_server

from client.commands.resume import resumed
from client.run.patience import Patience
from client.run.screen import PlainReport
from client.run.unfinished import UnfinishedRun

KOREAN = """# 인트로
안녕하세요, 여러분. 오늘은 버전 2.0을 살펴보겠습니다.
그는 "정말?"이라고 물었다.

[요약] 짧게 정리하겠습니다.
끝까지 봐 주셔서 감사합니다!
"""
GERMAN = """# Begrüßung

Hallo und willkommen zurück. Heute sehen wir uns Version 2.0 an.
Am 3. Oktober feiern wir, z. B. im Garten. Kommst du mit?
"""
JAPANESE = """# はじめに
こんにちは、みなさん。きょうはあたらしいカメラをしょうかいします。
「ほんとう？」ときいた。
"""
RECORDS = {"project.json", ".project.json.previous", ".recordings", "run.log"}
MIDDLE = "\n".join(f"{number}번 문장입니다." for number in range(1, 21))
LONG = "\n".join(f"{number}번째 문장을 천천히 읽어 보겠습니다." for number in range(1, 41))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def narrator(tmp_path: Path, server: RunningServer) -> Narrator:
    return Narrator(tmp_path, server)


@pytest.mark.parametrize(
    ("text", "name", "language", "files"),
    [
        (
            KOREAN,
            "script.txt",
            "Korean",
            ["001_인트로.wav", "002_", "003_", "004_요약.wav", "005_"],
        ),
        (GERMAN, "script.md", "German", ["001_Begrüßung.wav", "002_", "003_", "004_"]),
        (JAPANESE, "script.txt", "Japanese", ["001_はじめに.wav", "002_", "003_"]),
    ],
)
def test_a_script_becomes_a_folder_of_numbered_wavs(
    narrator: Narrator, text: str, name: str, language: str, files: list[str]
) -> None:
    ended = narrator.run("run", narrator.script(text, name), "--project", "유튜브인트로", "--draft")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder = narrator.project()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_유튜브인트로_draft", unicodedata.normalize("NFC", folder.name))
    assert str(folder) in ended.stdout, "the full path is printed"
    assert "DRAFT" in ended.stdout
    made = sorted(path.name for path in folder.glob("*.wav"))
    assert len(made) == len(files)
    assert all(real.startswith(expected.removesuffix(".wav")) for real, expected in zip(made, files, strict=True))
    assert all(is_whole_wav(path) for path in folder.glob("*.wav"))
    manifest = narrator.manifest()
    assert manifest["script"]["language"] == language
    assert [line["file"] for line in manifest["lines"]] == made
    assert all(line["status"] == "made" and line["duration"] > 0.4 for line in manifest["lines"])
    assert narrator.run("status").returncode == 0


def test_each_file_is_the_take_that_the_manifest_says(narrator: Narrator, server: RunningServer) -> None:
    narrator.run("run", narrator.script(KOREAN), "--draft")
    for line in narrator.manifest()["lines"]:
        direct = server.speak(line["text"], language=line["language"], seed=line["seed"])
        assert direct.content == (narrator.project() / line["file"]).read_bytes(), line["text"]


def test_run_again_makes_nothing_and_changes_nothing(narrator: Narrator) -> None:
    script = narrator.script(KOREAN)
    narrator.run("run", script, "--draft")
    before = {path: path.stat().st_mtime_ns for path in narrator.project().glob("*.wav")}
    again = narrator.run("run", script, "--draft")
    assert again.returncode == 0
    assert "0 made now, 5 kept" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in narrator.project().glob("*.wav")} == before


def test_an_edited_script_makes_only_what_changed(narrator: Narrator) -> None:
    narrator.run("run", narrator.script(KOREAN), "--draft")
    edited = KOREAN.replace("오늘은 버전 2.0을", "오늘은 버전 3.0을").replace(
        "# 인트로\n", "# 인트로\n새 문장입니다.\n"
    )
    again = narrator.run("run", narrator.script(edited), "--draft")
    assert again.returncode == 0
    assert "2 made now, 4 kept" in again.stdout
    assert len(narrator.wavs()) == 6
    assert narrator.manifest()["lines"][0]["text"] == "새 문장입니다."


@contextlib.contextmanager
def held(process: subprocess.Popen[str]) -> Iterator[None]:
    """The process is there and does nothing meanwhile, so that it cannot end before it is met."""
    psutil.Process(process.pid).suspend()
    try:
        yield
    finally:
        psutil.Process(process.pid).resume()


def wait_for_wavs(narrator: Narrator, count: int, limit_s: float = 60) -> None:
    wait_until(lambda: len(list(narrator.output.glob("*/*.wav"))) >= count, limit_s, f"{count} files")


@pytest.mark.parametrize("after", [1, 7, 13])
def test_a_client_killed_in_the_middle_goes_on_with_exactly_the_missing_files(narrator: Narrator, after: int) -> None:
    script = narrator.script(MIDDLE)
    process = narrator.start("run", script, "--draft")
    wait_for_wavs(narrator, after)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert all(is_whole_wav(path) for path in narrator.project().glob("*.wav")), "no broken file at any moment"
    left = narrator.wavs()
    known = {line["file"] for line in narrator.manifest()["lines"] if line["status"] == "made"}
    assert left.keys() <= known, "a file never stands there before the manifest knows it"
    again = narrator.run("run", script, "--draft")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{20 - len(known)} made now, {len(known)} kept" in again.stdout
    folder = narrator.project()
    assert len(narrator.wavs()) == 20
    assert all(is_whole_wav(path) for path in folder.glob("*.wav"))
    assert {name: narrator.wavs()[name] for name in left} == left
    assert {path.name for path in folder.iterdir()} == {*narrator.wavs(), *RECORDS}


def test_ctrl_c_once_finishes_the_lines_in_flight_and_says_how_to_go_on(narrator: Narrator) -> None:
    script = narrator.script(LONG)
    process = narrator.start("run", script, "--draft")
    wait_for_wavs(narrator, 3)
    process.send_signal(signal.SIGINT)
    out = output_of(process, 60)
    assert process.returncode == 130
    assert "Traceback" not in out
    made = len(narrator.wavs())
    assert 3 <= made < 40
    assert f"narrate run {script} --draft" in out
    assert f"{40 - made} left" in out
    states = [line["status"] for line in narrator.manifest()["lines"]]
    assert states.count("made") == made and states.count("failed") == 0
    assert narrator.run("status").returncode == 3
    assert narrator.run("run", script, "--draft").returncode == 0
    assert len(narrator.wavs()) == 40


def test_a_server_that_restarts_in_the_middle_is_waited_for(tmp_path: Path) -> None:
    port = free_port()
    script = LONG
    with running_server(tmp_path / "first", port=port) as first:
        narrator = Narrator(tmp_path / "narrator", first)
        process = narrator.start("run", narrator.script(script), "--draft")
        wait_for_wavs(narrator, 5)
        first.process.kill()
        first.process.wait()
    assert process.stdout is not None
    said = ""
    while "does not answer" not in said:
        said += (line := process.stdout.readline())
        assert line, said
    with running_server(tmp_path / "second", port=port):
        out = said + output_of(process, 120)
    assert process.returncode == 0, out
    assert "does not answer" in out and "going on" in out
    assert len(narrator.wavs()) == 40


def test_a_server_that_is_not_there_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    narrator = Narrator(tmp_path)
    ended = narrator.run(
        "run", narrator.script(KOREAN), "--server", f"127.0.0.1:{free_port()}", "--key", "x", "--wait", "0"
    )
    assert ended.returncode == 4
    assert "does not answer" in ended.stderr
    assert not narrator.output.exists(), "nothing is made before the server has answered"


def test_a_wrong_key_ends_the_run_with_its_own_exit_code(narrator: Narrator) -> None:
    ended = narrator.run("run", narrator.script(KOREAN), "--draft", "--key", "wrong")
    assert ended.returncode == 5
    assert "key" in ended.stderr.lower()
    assert narrator.wavs() == {}


def test_something_else_at_that_address_is_said_to_be_no_voice_server(narrator: Narrator, tmp_path: Path) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>router</html>")

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        ended = narrator.run("run", narrator.script(KOREAN), "--server", f"127.0.0.1:{other.server_port}")
        other.shutdown()
    assert ended.returncode == 4
    assert "not a voice-server" in ended.stderr


def test_a_draft_server_is_refused_unless_draft_is_asked_for(narrator: Narrator) -> None:
    ended = narrator.run("run", narrator.script(KOREAN))
    assert ended.returncode == 6
    assert "--draft" in ended.stderr
    assert not narrator.output.exists()


def test_one_line_that_cannot_be_spoken_does_not_stop_the_rest(narrator: Narrator) -> None:
    """Kanji, which draft speech refuses without the readings (the extra `kanji`, not among the test requirements)."""
    script = narrator.script("こんにちは。\n漢字の文です。\nさようなら。\n")
    ended = narrator.run("run", script, "--draft", "--language", "ja")
    assert ended.returncode == 3
    assert len(narrator.wavs()) == 2
    assert "漢字" in ended.stdout and "kana" in ended.stdout
    assert f"narrate run {script} --draft --language ja" in ended.stdout
    assert [line["status"] for line in narrator.manifest()["lines"]] == ["made", "failed", "made"]
    status = narrator.run("status")
    assert status.returncode == 3 and "漢字" in status.stdout


def test_a_voice_that_changed_stops_the_run_with_the_choices(tmp_path: Path) -> None:
    with running_server(tmp_path / "first") as first:
        narrator = Narrator(tmp_path / "narrator", first)
        script = narrator.script(KOREAN)
        narrator.run("run", script, "--draft")
        manifest = narrator.manifest()
        for line in manifest["lines"][:3]:
            line["voice"] = "another"
        (narrator.project() / "project.json").write_text(json.dumps(manifest), "utf-8")
        before = narrator.wavs()
        stopped = narrator.run("run", script, "--draft")
        assert stopped.returncode == 6
        for choice in ("--revoice", "--mix", "--new"):
            assert choice in stopped.stderr
        assert narrator.wavs() == before
        mixed = narrator.run("run", script, "--draft", "--mix")
        assert mixed.returncode == 0 and "0 made now, 5 kept" in mixed.stdout
        anew = narrator.run("run", script, "--draft", "--revoice")
        assert anew.returncode == 0 and "3 made now, 2 kept" in anew.stdout
        assert len(list((narrator.project() / "old").iterdir())) == 3


def test_new_and_into_choose_the_folder(narrator: Narrator) -> None:
    script = narrator.script(KOREAN)
    narrator.run("run", script, "--draft")
    narrator.run("run", script, "--draft", "--new")
    first, second = narrator.project_folders()
    assert second.name == first.name + "_2"
    other = narrator.script("완전히 다른 글입니다.\n정말 다릅니다.", "other.txt")
    ended = narrator.run("run", other, "--draft", "--into", str(first))
    assert ended.returncode == 0
    assert len(list(first.glob("*.wav"))) == 2
    assert len(list((first / "old").glob("*.wav"))) == 5, "what the other script had is not lost"
    refused = narrator.run("run", script, "--draft", "--into", str(narrator.folder))
    assert refused.returncode == 1 and "project.json" in refused.stderr


def test_two_runs_in_one_folder_do_not_meet(narrator: Narrator) -> None:
    script = narrator.script(LONG)
    process = narrator.start("run", script, "--draft")
    wait_for_wavs(narrator, 1)
    with held(process):
        second = narrator.run("run", script, "--draft")
    assert second.returncode == 1
    assert "Another narrate" in second.stderr
    out = output_of(process, 120)
    assert process.returncode == 0, out


def test_json_is_one_object_a_line(narrator: Narrator) -> None:
    ended = narrator.run("run", narrator.script(KOREAN), "--draft", "--json")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [event["event"] for event in events].count("line_made") == 5
    assert events[-1]["event"] == "end" and events[-1]["made"] == 5 and events[-1]["draft"] is True


def test_split_shows_what_run_would_make_and_asks_no_server(tmp_path: Path) -> None:
    narrator = Narrator(tmp_path)
    script = narrator.script(KOREAN)
    ended = narrator.run("split", script, NARRATE_SERVER="http://127.0.0.1:1")
    assert ended.returncode == 0
    assert "001_인트로.wav" in ended.stdout and '그는 "정말?"이라고 물었다.' in ended.stdout
    assert "5 sentences in Korean" in ended.stdout
    rows = [json.loads(line) for line in narrator.run("split", script, "--json").stdout.splitlines()]
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5]
    assert all(0.3 < row["expected_seconds"] < 10 for row in rows)
    assert not narrator.output.exists()


def test_local_needs_no_second_window_and_leaves_no_process(tmp_path: Path) -> None:
    narrator = Narrator(tmp_path)
    ended = narrator.run("run", narrator.script(KOREAN), "--local", "--draft")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(narrator.wavs()) == 5
    home = os.environ["HOME"]  # this test's own: see conftest.py
    ours = [p for p in psutil.process_iter(["environ"]) if (p.info["environ"] or {}).get("HOME") == home]
    assert [p.cmdline() for p in ours if "server" in " ".join(p.cmdline())] == []


def test_a_local_server_dies_with_a_client_that_is_killed(tmp_path: Path) -> None:
    narrator = Narrator(tmp_path)
    process = narrator.start("run", narrator.script(LONG), "--local", "--draft")
    wait_for_wavs(narrator, 2)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    _, alive = psutil.wait_procs(children, timeout=seconds(15))
    assert not alive
    process.communicate()


def test_say_saves_one_sentence(narrator: Narrator, server: RunningServer) -> None:
    ended = narrator.run("say", "안녕하세요.", "--draft", "--seed", "5", "--out", "a.wav")
    assert ended.returncode == 0, ended.stderr
    assert (narrator.folder / "a.wav").read_bytes() == server.speak("안녕하세요.", language="ko", seed=5).content


def test_a_korean_reader_gets_the_servers_errors_in_korean(narrator: Narrator) -> None:
    ended = narrator.run("run", narrator.script(KOREAN), "--draft", "--key", "wrong", "--lang", "ko")
    assert re.search("[가-힣]", ended.stderr.replace("NARRATE_KEY", ""))
    assert "The key is" not in ended.stderr


def test_a_cp949_console_survives_what_it_cannot_show(narrator: Narrator) -> None:
    script = narrator.script("Café déjà vu is not in cp949. Naïve façade.\n")
    ended = subprocess.run(
        narrator.command("split", script, "--lang", "ko"),
        env={**narrator.environment(), "PYTHONIOENCODING": "cp949", "PYTHONUTF8": "0"},
        cwd=narrator.folder,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0
    shown = ended.stdout.decode("cp949")
    assert "Caf? d?j? vu" in shown and re.search("[가-힣]", shown)


def test_damaged_records_are_put_together_again_and_nothing_is_made_again(narrator: Narrator) -> None:
    script = narrator.script(KOREAN)
    narrator.run("run", script, "--draft")
    folder, before = narrator.project(), narrator.wavs()
    for damage in ("zeros", "half", "deleted with its copy", "copy alone is left"):
        manifest = folder / "project.json"
        content = manifest.read_bytes()
        if damage == "zeros":
            manifest.write_bytes(bytes(len(content)))
        elif damage == "half":
            manifest.write_bytes(content[: len(content) // 2])
        else:
            manifest.unlink()
        if damage == "deleted with its copy":
            (folder / ".project.json.previous").unlink()
        if damage == "copy alone is left":
            (folder / ".recordings").unlink()
        if damage == "half":
            status = narrator.run("status", str(folder))
            assert status.returncode == 0 and "lost or damaged" in status.stdout
        again = narrator.run("run", script, "--draft")
        assert again.returncode == 0 and "0 made now, 5 kept" in again.stdout, damage + again.stdout + again.stderr
        assert "put together again from" in again.stdout
        assert narrator.wavs() == before
        assert {path.name for path in folder.iterdir()} == {*before, *RECORDS}


def test_a_folder_whose_every_record_is_lost_is_the_narrators_decision(narrator: Narrator) -> None:
    script = narrator.script(KOREAN)
    narrator.run("run", script, "--draft")
    folder, before = narrator.project(), narrator.wavs()
    for name in ("project.json", ".project.json.previous", ".recordings"):
        (folder / name).unlink()
    (folder / "002_오늘은_버전_2.0을.wav").write_bytes(bytes(60_000))  # what a power cut leaves
    listing = sorted(path.name for path in folder.iterdir())
    stopped = narrator.run("run", script, "--draft")
    assert stopped.returncode == 1
    assert str(folder) in stopped.stderr and "--adopt" in stopped.stderr and "--new" in stopped.stderr
    assert sorted(path.name for path in folder.iterdir()) == listing
    assert narrator.run("run", script, "--draft", "--into", str(folder)).returncode == 1
    adopted = narrator.run("run", script, "--draft", "--adopt")
    assert adopted.returncode == 0, adopted.stderr
    assert "1 made now, 4 kept" in adopted.stdout
    assert "Listen to these lines" in adopted.stdout and "001, 003, 004, 005" in adopted.stdout
    assert narrator.wavs() == before
    assert len(list((folder / "old").iterdir())) == 1


def test_a_folder_whose_records_are_lost_may_be_left_for_a_new_one(narrator: Narrator) -> None:
    script = narrator.script(KOREAN)
    narrator.run("run", script, "--draft")
    folder = narrator.project()
    for name in ("project.json", ".project.json.previous", ".recordings"):
        (folder / name).unlink()
    assert narrator.run("run", script, "--draft", "--new").returncode == 0
    assert narrator.project().name == folder.name + "_2"
    assert len(list(folder.glob("*.wav"))) == 5


def test_a_network_that_breaks_again_and_again_costs_no_line(narrator: Narrator, server: RunningServer) -> None:
    """T39's network: heads and bodies cut, resets, and a server that seems away, in one run through a real proxy."""
    breaks: list[tuple[int, How]] = [(150_000, "reset"), (5_000, "reset"), (10, "close"), (60_000, "reset")]
    breaks += [(0, "reset"), (40_000, "close"), (0, "close"), (90_000, "reset")]
    faults: list[Fault | None] = [Fault(after_bytes, how) for after_bytes, how in breaks]
    text = "\n".join(f"{number}번째 문장을 읽습니다." for number in range(1, 13))
    with faulty_proxy(server.address, faults) as proxy:
        ended = narrator.run("run", narrator.script(text), "--draft", "--server", proxy.address)
        assert proxy.done >= 6
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(narrator.wavs()) == 12
    for line in narrator.manifest()["lines"]:
        direct = server.speak(line["text"], language=line["language"], seed=line["seed"])
        assert direct.content == (narrator.project() / line["file"]).read_bytes(), line["text"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 70 MB: a run's own demand and a little more."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=70m", "tmpfs", place], capture_output=True)
    if not done or done.returncode != 0:
        pytest.skip(
            "mounting a small disk needs root on Linux; tests/project/test_project.py has the kernel's /dev/full"
        )
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills_up_stops_the_run_with_a_sentence_and_loses_nothing(
    narrator: Narrator, small_disk: Path
) -> None:
    narrator.output = small_disk / "output"
    script = narrator.script(LONG)
    process = narrator.start("run", script, "--draft")
    wait_for_wavs(narrator, 5)
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    out = output_of(process, 60)
    assert process.returncode == 7, out
    assert "The disk is full" in out and "Traceback" not in out
    made = narrator.wavs()
    assert 5 <= len(made) < 40 and all(is_whole_wav(path) for path in narrator.project().glob("*.wav"))
    full = narrator.run("run", script, "--draft")
    assert full.returncode == 7 and ("too little room" in full.stderr or "disk is full" in full.stderr)
    ballast.unlink()
    again = narrator.run("run", script, "--draft")
    assert again.returncode == 0, again.stdout + again.stderr
    assert {name: narrator.wavs()[name] for name in made} == made and len(narrator.wavs()) == 40
    assert {path.name for path in narrator.project().iterdir()} == {*narrator.wavs(), *RECORDS}


def test_resume_finishes_every_unfinished_run_and_no_file_holds_the_key(tmp_path: Path, server: RunningServer) -> None:
    narrator = Narrator(tmp_path, server)
    for name in ("one", "two", "gone"):
        script = narrator.script(MIDDLE, f"{name}.txt")
        process = narrator.start("run", script, "--draft", "--key", server.key)
        wait_until(lambda name=name: list(narrator.output.glob(f"*_{name}_draft/*.wav")), 60)
        process.send_signal(signal.SIGINT)
        output_of(process, 60)
        assert process.returncode == 130
    shutil.rmtree(next(narrator.output.glob("*_gone_draft")))
    written = [path for path in [*tmp_path.rglob("*"), *Path(os.environ["HOME"]).rglob("*")] if path.is_file()]
    assert any(path.name == "run.log" for path in written)
    assert any(path.parent.name == "runs" for path in written)
    assert [path for path in written if server.key.encode() in path.read_bytes()] == []
    listed = narrator.run("resume")
    assert listed.returncode == 3 and "one.txt" in listed.stdout and "two.txt" in listed.stdout
    finished = narrator.run("resume", "--all")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "is gone" in finished.stdout
    assert [len(list(folder.glob("*.wav"))) for folder in narrator.project_folders()] == [20, 20]
    assert "No run of yours" in narrator.run("resume", "--all").stdout


def test_resume_leaves_alone_what_is_being_made_and_goes_on_after_one_that_cannot(
    tmp_path: Path, server: RunningServer
) -> None:
    narrator = Narrator(tmp_path, server)
    script = narrator.script("완전히 다른 글입니다.\n" * 9 + "정말 다릅니다.", "a_lost.txt")
    process = narrator.start("run", script, "--draft")
    wait_for_wavs(narrator, 1)
    process.kill()
    process.communicate()
    (tmp_path / script).unlink()
    process = narrator.start("run", narrator.script(LONG, "busy.txt"), "--draft")
    wait_until(lambda: list(narrator.output.glob("*_busy_draft/*.wav")), 60)
    with held(process):
        meanwhile = narrator.run("resume", "--all")
    assert "There is no file" in meanwhile.stderr and "Another narrate" in meanwhile.stdout
    assert meanwhile.returncode == 1
    out = output_of(process, 60)
    assert process.returncode == 0, out


def test_resume_speaks_no_other_script_into_the_folder_of_an_unfinished_one(narrator: Narrator) -> None:
    """The file was replaced by another script in the meantime; its lines went into the old folder."""
    script = narrator.script(LONG)
    process = narrator.start("run", script, "--draft")
    wait_for_wavs(narrator, 1)
    process.kill()
    process.communicate()
    narrator.script("완전히 다른 글입니다.\n정말 다릅니다.")
    before = narrator.wavs()
    resumed = narrator.run("resume", "--all")
    assert resumed.returncode == 3, resumed.stdout + resumed.stderr
    assert str(narrator.project()) in resumed.stderr and script in resumed.stderr and "--into" in resumed.stderr
    assert narrator.wavs() == before
    assert "No run of yours" in narrator.run("resume", "--all").stdout, "and it is forgotten"


def test_ctrl_c_while_no_server_is_there_ends_as_stopped(tmp_path: Path) -> None:
    """It ended with 4 as if the server were at fault, and promised to finish lines that nobody had begun."""
    narrator = Narrator(tmp_path)
    address = f"127.0.0.1:{free_port()}"
    process = narrator.start("run", narrator.script(KOREAN), "--draft", "--server", address, "--key", "x")
    assert process.stdout is not None
    while "does not answer" not in (line := process.stdout.readline()):
        assert line, "it ended without a word of it"
    process.send_signal(signal.SIGINT)
    out = output_of(process, 30)
    assert process.returncode == 130, out
    assert "Stopped." in out and "in flight" not in out and "Traceback" not in out
    assert not narrator.output.exists()


def test_a_sentence_that_the_server_refuses_is_no_fault_of_the_server(narrator: Narrator) -> None:
    """`say` ended with 4."""
    ended = narrator.run("say", "...", "--draft", "--language", "ko", "--out", "a.wav")
    assert ended.returncode == 1 and "nothing to speak" in ended.stderr


def test_split_says_which_sentences_are_too_long_for_one_request(tmp_path: Path) -> None:
    """The night was the first to say it."""
    narrator = Narrator(tmp_path)
    ended = narrator.run("split", narrator.script("하나.\n" + "가" * 1001 + "\n" + "나" * 1000 + "\n"))
    assert ended.returncode == 0
    assert "at most 1000 characters: 002. Break" in ended.stdout
    assert "Too long" not in narrator.run("split", narrator.script(KOREAN)).stdout


def test_a_resumed_run_waits_for_a_server_that_starts_later_than_the_desktop() -> None:
    """Its address is known to be right, so the two minutes of a first contact do not hold."""
    folder = Path("out")
    run = UnfinishedRun(folder=folder, script=folder, typed_in=folder, output="out", wait_hours=3)
    options, invocation = resumed(run, False, "narrate resume --all")
    assert invocation.server_was_there and options.wait_hours == 3 and options.into == folder
    patience = Patience(PlainReport(), 3 * 3600, asyncio.Event(), reached=invocation.server_was_there)
    assert patience.limit() == 3 * 3600


def test_the_run_log_tells_the_night(narrator: Narrator) -> None:
    narrator.run("run", narrator.script(KOREAN), "--draft")
    log = (narrator.project() / "run.log").read_text("utf-8")
    stamp = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  \S")
    assert all(stamp.match(line) for line in log.splitlines())
    assert "001_인트로.wav" in log and "5 of 5 lines are finished" in log
    assert "stay awake" in log or "kept awake" in log
    narrator.run("run", narrator.script(KOREAN), "--draft", "--server", "127.0.0.1:1", "--wait", "0")
    assert (narrator.project() / "run.log").read_text("utf-8") == log, "no folder is known before the server is"


def test_a_place_that_cannot_be_written_is_said_before_the_night(narrator: Narrator) -> None:
    ended = narrator.run("run", narrator.script(KOREAN), "--draft", "--output", str(narrator.folder / "script.txt"))
    assert ended.returncode == 7
    assert "cannot be made" in ended.stderr and "--output" in ended.stderr
