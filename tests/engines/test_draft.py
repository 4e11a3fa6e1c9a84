"""The draft engine with the real eSpeak NG in child processes, without mocks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from clock import seconds

from server.contract.codes import ErrorCode
from server.engines import EngineSettings, open_engine
from server.engines.draft import child as draft_child
from server.engines.draft import engine as draft
from server.engines.draft.engine import DraftEngine, DraftSpeech, open_draft, true_gap
from server.engines.draft.pauses import stretch_pauses
from server.engines.draft.reading import kana_reader
from server.errors import EngineUnusable, TakeFailed, TextRefused
from server.takes.dummy import dummy_for, join
from server.text.languages import LANGUAGES
from server.text.normalise import normalise

LINES = {
    "ko": ("이 골목에는 오래된 빵집이 하나 있습니다", "기온이 영하 12.5도까지 떨어졌어요!", '그는 물었다, "누구세요?"'),
    "en": (
        "Suddenly the door swung open with a click",
        "It fell to minus 12.5 degrees!",
        "She whispered: it is over now.",
    ),
    "ja": ("このみちに ふるい パンやが あります。", "ほんとうに そうなりますか？", "はい"),
    "zh": ("这条巷子里有一家老面包店。", "2.0版本明年春天发布", "“再等一会儿。”"),
    "de": ("Der Preis hat sich verdoppelt", "„Wer ist da?“", "Das war am 5. März 2024"),
    "fr": ("Soudain la porte s'ouvrit d'un coup sec", "« Qui est-ce ? »", "Ça sent le pain grillé, etc."),
    "ru": ("В этом вся суть!", "Никто не ответил...", "Цена выросла вдвое"),
    "pt": ("Bem-vindos e obrigado pela visita", "Quem é?", "A versão 2.0 sai na primavera."),
    "es": ("Hay una panadería vieja en este callejón", "¿De verdad puede pasar?", "¡Esa es la cuestión!"),
    "it": ("All'improvviso la porta si aprì di scatto", "Chi è?", "Profuma di pane tostato, ecc."),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DraftEngine]:
    opened = open_draft(EngineSettings("draft"), lambda _: None)
    yield opened
    opened.close()


def padded(line: str, language: str) -> tuple[str, int]:
    text = normalise(line, language)
    return join(text, dummy_for(language, text))


def test_the_facts_say_draft_and_fit_into_headers(engine: DraftEngine) -> None:
    facts = engine.facts
    assert (facts.engine, facts.draft, facts.sample_rate, facts.device) == ("draft", True, 22_050, "cpu")
    assert facts.model == "espeak-ng-1.52.0"
    assert facts.in_flight >= 2
    assert int(facts.voice, 16) > 0
    assert all(str(value).isascii() for value in vars(facts).values())


def test_open_engine_opens_it_with_the_same_voice_each_time(engine: DraftEngine) -> None:
    told: list[str] = []
    again = open_engine(EngineSettings("draft"), told.append)
    assert again.facts == engine.facts
    assert told


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_speaks_the_language_and_repeats_itself_to_the_byte(engine: DraftEngine, language: str) -> None:
    line = LINES[language][0]
    first, second = engine.speak(line, LANGUAGES[language], 7), engine.speak(line, language, 7)
    assert first.samples.dtype == np.float32
    assert 0.8 < first.seconds < 6
    assert np.sqrt(np.mean(first.samples**2)) > 0.02
    assert first.samples.tobytes() == second.samples.tobytes()


def test_utterances_spoken_side_by_side_are_those_spoken_alone(engine: DraftEngine) -> None:
    line = LINES["ko"][0]
    alone = [engine.speak(line, "ko", seed).samples.tobytes() for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: engine.speak(line, "ko", seed).samples.tobytes(), range(8)))
    assert together == alone


def test_another_seed_is_another_take_of_about_the_same_length(engine: DraftEngine) -> None:
    takes = [engine.speak("처음에는 어려웠지만, 연습하니까 점점 쉬워졌어요.", "ko", seed) for seed in range(12)]
    assert len({take.samples.tobytes() for take in takes}) == 12
    seconds = [take.seconds for take in takes]
    assert 1.04 < max(seconds) / min(seconds) < 1.4


def test_pauses_pitch_and_rate_all_vary_within_their_bounds() -> None:
    takes = [draft.variation_of("글", "ko", seed) for seed in range(300)]
    rates, pitches = [take.rate_wpm for take in takes], [take.pitch for take in takes]
    pauses = [take.pause_factor for take in takes]
    assert (min(rates), max(rates)) == (152, 178)
    assert (min(pitches), max(pitches)) == (44, 56)
    assert 0.8 <= min(pauses) < 0.85
    assert 1.25 < max(pauses) <= 1.3


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_true_gap_is_where_the_line_ends_when_spoken_without_a_dummy(
    engine: DraftEngine, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With the same variation the line alone has the same samples, and its end is where the gap begins.
    for seed, line in enumerate(LINES[language]):
        text, offset = padded(line, language)
        speech = engine.render(text, language, seed)
        end, start = true_gap(speech, offset)
        variation = draft.variation_of(text, language, seed)
        with monkeypatch.context() as patch:
            patch.setattr(draft, "variation_of", lambda *_, fixed=variation: fixed)
            alone = engine.speak(text[: text.index("…… " if language in ("ja", "zh") else "  ...  ")], language, seed)
        last = int(np.flatnonzero(alone.samples)[-1]) + 1
        assert np.array_equal(speech.audio.samples[:end], alone.samples[:last])
        assert not speech.audio.samples[end:start].any()
        assert speech.audio.samples[start] != 0
        assert 0.1 < (start - end) / speech.audio.sample_rate < 1.5


@pytest.mark.parametrize("line", ["Our plan B.", "Nobody saw Mr.", "The sign said: 5 %.", "Look & see & ."])
def test_espeak_does_not_run_on_into_the_dummy(engine: DraftEngine, line: str) -> None:
    # Without the line break 8 ms lay between an initial or a lone symbol and the dummy.
    text, offset = join(line, dummy_for("en", line))
    end, start = true_gap(engine.render(text, "en", 0), offset)
    assert start - end > 0.1 * draft.SAMPLE_RATE


def test_a_gap_is_not_made_up_where_no_word_begins(engine: DraftEngine) -> None:
    text, offset = padded(LINES["en"][0], "en")
    with pytest.raises(LookupError, match=f"character {offset + 1}"):
        true_gap(engine.render(text, "en", 0), offset + 1)


def test_marks_count_characters_beyond_the_basic_plane_and_skip_controls(engine: DraftEngine) -> None:
    speech = engine.render("𠮷 one\x00two\x07 three", "en", 0)
    offsets = [offset for offset, _ in speech.marks]
    assert {2, 6, 11} <= set(offsets)
    samples = [sample for _, sample in speech.marks]
    assert samples == sorted(samples)


def test_stretching_changes_long_silences_only_and_moves_the_marks() -> None:
    pcm = np.concatenate([np.ones(100), np.zeros(2000), np.ones(50), np.zeros(300), np.ones(10)]).astype(np.int16)
    stretched, moved = stretch_pauses(pcm, 1.5)
    expected = np.concatenate([np.ones(100), np.zeros(3000), np.ones(50), np.zeros(300), np.ones(10)])
    assert np.array_equal(stretched, expected)
    assert [moved(at) for at in (0, 99, 100, 1100, 2100, 2149, 2460)] == [0, 99, 100, 1600, 3100, 3149, 3460]


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_stretching_keeps_every_sound(factor: float) -> None:
    rng = np.random.default_rng(1)
    pcm = np.concatenate([part for _ in range(9) for part in (rng.integers(1, 99, 300), np.zeros(rng.integers(2000)))])
    stretched, moved = stretch_pauses(pcm.astype(np.int16), factor)
    assert np.array_equal(stretched[stretched != 0], pcm[pcm != 0])
    assert moved(len(pcm)) == len(stretched)


def kanji_readings_installed() -> bool:
    return kana_reader() is not None


@pytest.mark.parametrize("line", ["今日は天気がいいです。", "人々", "二〇二四"])
def test_kanji_without_readings_are_refused_and_not_read_as_chinese_letter(engine: DraftEngine, line: str) -> None:
    bare = DraftEngine(engine.facts, engine._library, engine._data_home)
    bare._kana_reader = None
    with pytest.raises(TextRefused) as refused:
        bare.speak(line, "Japanese", 0)
    assert refused.value.code == ErrorCode.KANJI_UNREADABLE
    assert "sudachipy" in refused.value.sentence()


def test_readings_keep_the_offsets_of_the_text_as_written(engine: DraftEngine) -> None:
    reading = DraftEngine(engine.facts, engine._library, engine._data_home)
    words = {"今日": "キョウ", "天気": "テンキ"}
    reading._kana_reader = lambda text: [
        (part, words.get(part, part)) for part in ("今日", "は", "天気", "。", text[6:])
    ]
    text, offset = join("今日は天気。", dummy_for("ja", ""))
    assert reading.speak("今日は天気。", "ja", 0).seconds < 2.5
    end, start = true_gap(reading.render(text, "ja", 0), offset)
    assert start - end > 0.1 * draft.SAMPLE_RATE


@pytest.mark.skipif(not kanji_readings_installed(), reason="needs the extra `kanji`: sudachipy and sudachidict-small")
def test_kanji_are_read_where_the_extra_is_installed(engine: DraftEngine) -> None:
    text, offset = join("今日は天気がいいです", dummy_for("ja", ""))
    end, start = true_gap(engine.render(text, "ja", 0), offset)
    assert 0.8 < end / draft.SAMPLE_RATE < 2.5
    assert start > end


def test_chinese_characters_in_chinese_need_no_readings(engine: DraftEngine) -> None:
    assert engine.speak("今天天气真不错。", "zh", 0).seconds < 4


def test_a_text_that_espeak_has_no_sound_for_is_refused(engine: DraftEngine) -> None:
    with pytest.raises(TextRefused) as refused:
        engine.speak(" ... ", "en", 0)
    assert refused.value.code == ErrorCode.TEXT_UNSPEAKABLE


def test_a_child_that_hangs_is_a_failed_take(engine: DraftEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "TIMEOUT_S", 0.001)
    with pytest.raises(TakeFailed) as failed:
        engine.speak("네.", "ko", 0)
    assert "not done in" in failed.value.reason


@pytest.mark.parametrize(
    ("library", "data_home", "reason"),
    [
        (Path("no-such-library.so"), None, "cannot load no-such-library.so"),
        (None, Path("no-such-folder"), "no-such-folder"),
    ],
)
def test_a_child_that_cannot_work_says_why(
    engine: DraftEngine, library: Path | None, data_home: Path | None, reason: str
) -> None:
    broken = DraftEngine(engine.facts, library or engine._library, data_home or engine._data_home)
    with pytest.raises(TakeFailed) as failed:
        broken.speak("네.", "ko", 0)
    assert reason in failed.value.reason


def test_a_crash_is_named_by_its_status() -> None:
    assert draft._exit_reason(-11, b"") == "eSpeak NG's process ended with -11: no message"


def test_without_the_extra_the_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(EngineUnusable, match=r"scripts/install\.py server"):
        open_draft(EngineSettings("draft"), lambda _: None)


def test_an_installation_that_does_not_run_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = draft._installed()
    monkeypatch.setattr(draft, "_installed", lambda: (tmp_path / "gone.so", data))
    with pytest.raises(EngineUnusable, match=r"gone\.so.*force-reinstall"):
        open_draft(EngineSettings("draft"), lambda _: None)


# --- the data in a folder that eSpeak NG cannot read ------------------------------------------------------------------


@pytest.fixture
def deep_data(tmp_path: Path) -> Path:
    """The voice data below a path of more than 250 bytes."""
    _, data = draft._installed()
    deep = tmp_path.joinpath(*["한글폴더이름" * 4] * 4, draft_child.DATA_FOLDER)
    deep.parent.mkdir(parents=True)
    try:
        deep.symlink_to(data, target_is_directory=True)
    except OSError:
        pytest.skip("this system lets nobody make symbolic links")
    return deep


@pytest.fixture
def short_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


def test_a_deep_folder_is_spoken_from_through_a_short_copy(
    engine: DraftEngine, deep_data: Path, short_base: Path
) -> None:
    direct = DraftEngine(engine.facts, engine._library, deep_data.parent)
    with pytest.raises(TakeFailed):  # the fault that the copy is there for
        direct.speak("네.", "ko", 0)
    home = draft_child.readable_home(deep_data, [Path("x" * 200), short_base])
    assert home.parent == short_base
    copied = DraftEngine(engine.facts, engine._library, home)
    assert copied.speak("네.", "ko", 0).samples.tobytes() == engine.speak("네.", "ko", 0).samples.tobytes()
    assert draft_child.readable_home(deep_data, [short_base]) == home
    assert [path.name for path in short_base.iterdir()] == [home.name]


def test_a_copy_that_lost_files_is_left_and_another_made(deep_data: Path, short_base: Path) -> None:
    home = draft_child.readable_home(deep_data, [short_base])
    (home / draft_child.DATA_FOLDER / "phontab").unlink()
    again = draft_child.readable_home(deep_data, [short_base])
    assert again != home
    assert (again / draft_child.DATA_FOLDER / "phontab").is_file()


def test_processes_that_copy_at_the_same_time_get_the_same_whole_copy(deep_data: Path, short_base: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from server.engines.draft.child import readable_home\n"
        "sys.stdin.readline(); print(readable_home(Path(sys.argv[1]), [Path(sys.argv[2])]))"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-X", "utf8", "-c", code, str(deep_data), str(short_base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=Path(draft.__file__).parents[3],
        )
        for _ in range(4)
    ]
    answers = {racer.communicate("go\n", timeout=seconds(60))[0].strip() for racer in racers}
    assert [racer.returncode for racer in racers] == [0] * 4
    assert len(answers) == 1
    assert [str(path) for path in short_base.iterdir()] == list(answers)


def test_a_korean_user_name_is_no_obstacle_except_on_windows(tmp_path: Path) -> None:
    home = Path("C:/Users/사용자/espeak")
    assert draft_child.path_is_readable(home, windows=False)
    assert not draft_child.path_is_readable(home, windows=True)
    assert not draft_child.path_is_readable(Path("/" + "x" * 140), windows=False)


def test_nowhere_to_copy_to_is_said_with_every_folder_tried(deep_data: Path) -> None:
    with pytest.raises(OSError, match="no-such-base"):
        draft_child.readable_home(deep_data, [Path("no-such-base")])


def test_the_child_runs_without_anything_installed() -> None:
    # The child is started with -I -S: an import from outside the standard library would end every utterance.
    script = "import runpy, sys; runpy.run_path(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, draft_child.__file__], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_request_that_is_not_json_is_refused_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", draft_child.__file__], input=b"{", capture_output=True, check=False
    )
    assert done.returncode == draft_child.EXIT_REQUEST
    assert done.stdout == b""
    assert done.stderr.startswith(b'{"error": "request not understood')
    assert done.stderr.count(b"\n") == 1


def test_speech_knows_its_rate(engine: DraftEngine) -> None:
    speech = engine.render("네.", "ko", 0)
    assert isinstance(speech, DraftSpeech)
    assert speech.audio.sample_rate == engine.facts.sample_rate
