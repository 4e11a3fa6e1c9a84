from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from client.settings import load_client_settings, server_address
from server.commands.start_checks import check_door, check_tls, choose_engine
from server.errors import SettingsError
from server.http.app import create_app
from server.network import is_loopback
from server.settings import (
    MAX_SHOWN_CHARS,
    NAMES,
    Settings,
    engine_settings,
    load_settings,
    may_be,
    take_settings,
    unknown_key_warnings,
    validated,
)
from server.terminal.envfile import read_env_file
from server.terminal.messages import READER_LANGUAGES, use_language
from server.worker.supervisor import Supervisor

LONG_KEY = "k" * 32


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=7000\nHOST=127.0.0.2\n", "utf-8")
    loaded = load_settings({"PORT": "7001"}, tmp_path)
    assert (loaded.settings.port, loaded.settings.host, loaded.settings.engine) == (7001, "127.0.0.2", "auto")


def test_an_empty_value_means_not_set(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=\nTTS_LANGUAGE=\nDEVICE=''\n", "utf-8")
    assert load_settings({"HOST": ""}, tmp_path).settings == Settings(prompt_dir=str(tmp_path / "voices"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_the_file_is_read_in_the_encodings_that_notepad_writes(tmp_path: Path, encoding: str) -> None:
    (tmp_path / ".env").write_bytes("REF_TEXT='안녕하세요, 제 목소리입니다.'\r\n".encode(encoding))
    assert read_env_file(tmp_path / ".env") == {"REF_TEXT": "안녕하세요, 제 목소리입니다."}


def test_a_dollar_sign_and_a_windows_path_are_taken_literally(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_KEY=a$b${HOME}c\nREF_AUDIO='C:\\new\\table.wav'\n", "utf-8")
    assert read_env_file(tmp_path / ".env") == {"API_KEY": "a$b${HOME}c", "REF_AUDIO": "C:\\new\\table.wav"}


def test_relative_paths_in_the_file_start_from_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REF_AUDIO=voices/me.wav\nMODEL=./models/base\n", "utf-8")
    settings = load_settings({}, tmp_path).settings
    assert Path(settings.ref_audio) == tmp_path / "voices/me.wav"
    assert Path(settings.model) == tmp_path / "models/base"


def test_a_hub_name_stays_a_hub_name(tmp_path: Path) -> None:
    assert load_settings({"MODEL": "Qwen/Qwen3-TTS-12Hz-0.6B-Base"}, tmp_path).settings.model == (
        "Qwen/Qwen3-TTS-12Hz-0.6B-Base"
    )


@pytest.mark.parametrize(
    ("name", "value", "may_be"),
    [
        ("port", "seventy", "1-65535"),
        ("port", "0", "1-65535"),
        ("engine", "xtts", "auto, qwen, draft"),
        ("tts_language", "Klingon", "Korean, English"),
        ("dtype", "fp16", "float32, float16, bfloat16"),
        ("max_takes", "0", "whole number from 1"),
        ("engine_rows", "-1", "0-128"),
        ("engine_rows", "129", "0-128"),
        ("engine_rows", "many", "0-128"),
        ("codec_context", "none", "state, whole"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_may_be(name: str, value: str, may_be: str) -> None:
    with pytest.raises(SettingsError) as error:
        validated({name: value})
    assert f"{name.upper()}={value}" in str(error.value)
    assert may_be in str(error.value)


# Every field, by its own metadata: a new setting is tried without a line here.

FIELDS = Settings.model_fields
NUMBERS = {name: field for name, field in FIELDS.items() if field.annotation in (int, float)}
CHOICES = {name: get_args(field.annotation) for name, field in FIELDS.items() if get_args(field.annotation)}
CHECKED = {"tts_language": "Klingon", "allowed_hosts": "http://pc/"}
"""Fields with a check of their own, and a value that it refuses"""

NO_NUMBERS = ["nonsense", "nan", "NaN", "inf", "-inf", "Infinity", "1e400", "9" * 5000, "１２", "٣", "½", "0x10"]
NO_NUMBERS += ["1,5", "true", "True", "예", "네", "ja", "no", "1 2", "--1", "1__0", "5%", "\u200b5", "", " ", "\u3000"]
STRANGE = [*NO_NUMBERS, "9" * 400, "~nobody-of-this-name/x", "a/" * 3000, "x" * 300, "..", "C:\\a\\b", "{x}"]


def bounds(name: str) -> tuple[float | None, float | None]:
    found = NUMBERS[name].metadata
    return tuple(next((getattr(each, kind) for each in found if hasattr(each, kind)), None) for kind in ("ge", "le"))  # type: ignore[return-value]


def outside(name: str) -> list[str]:
    """Values just beyond the bounds."""
    least, most = bounds(name)
    step = 1 if NUMBERS[name].annotation is int else 0.001
    beyond = [] if least is None else [least - step]
    beyond += [] if most is None else [most + step]
    return [str(value) for value in beyond]


WRONG = [
    *((name, value) for name in NUMBERS for value in (*NO_NUMBERS, *outside(name))),
    *((name, value) for name in CHOICES for value in (*NO_NUMBERS, "-1", CHOICES[name][0] + "x")),
    *CHECKED.items(),
]


def test_every_number_has_a_least_value() -> None:
    assert {name for name in NUMBERS if bounds(name)[0] is None} == set()
    assert len(NUMBERS) >= 8 and len(CHOICES) >= 7, "the tables below are not empty"


@pytest.mark.parametrize("language", READER_LANGUAGES)
def test_every_wrong_value_is_answered_with_one_sentence_that_says_what_may_be(language: str) -> None:
    use_language(language)
    for name, value in WRONG:
        with pytest.raises(SettingsError) as error:
            validated({name: value})
        shown = value if len(value) <= MAX_SHOWN_CHARS else value[:MAX_SHOWN_CHARS]
        sentence = str(error.value)
        assert sentence.startswith(f"{name.upper()}={shown}"), sentence
        assert may_be(FIELDS[name]) in sentence
        assert len(sentence) < 400 and "{" not in sentence and "Traceback" not in sentence


@pytest.mark.parametrize(
    ("name", "english", "korean"),
    [
        ("port", "1-65535", "1-65535"),
        ("engine", "auto, qwen, draft", "auto, qwen, draft"),
        ("dtype", "auto, float32, float16, bfloat16", "auto, float32, float16, bfloat16"),
        ("engine_rows", "0-128", "0-128"),
        ("cut_confidence", "0-1", "0-1"),
        ("head_ms", "0-1000", "0-1000"),
        ("rate_limit", "0-1000000000", "0-1000000000"),
        ("queue_limit", "a whole number from 1", "1 이상의 정수"),
        ("max_takes", "a whole number from 1", "1 이상의 정수"),
        ("idle_minutes", "a number from 0", "0 이상의 수"),
        (
            "allowed_hosts",
            "names and addresses between commas, without http:// and without a path",
            "쉼표로 나눈 이름이나",
        ),
        ("ref_text", "text", "텍스트"),
    ],
)
def test_what_a_setting_may_be_is_said_from_its_own_bounds(name: str, english: str, korean: str) -> None:
    assert may_be(FIELDS[name]) == english
    use_language("ko")
    assert may_be(FIELDS[name]).startswith(korean)


@pytest.mark.parametrize("name", NUMBERS)
def test_the_bounds_themselves_are_allowed_and_negative_zero_is_zero(name: str) -> None:
    least, most = bounds(name)
    for value in (bound for bound in (least, most) if bound is not None):
        assert getattr(validated({name: str(value)}), name) == value
    if least == 0:
        assert getattr(validated({name: "-0"}), name) == 0


@pytest.mark.parametrize("name", NAMES)
def test_no_value_of_a_setting_stops_the_start_otherwise_than_with_a_sentence(tmp_path: Path, name: str) -> None:
    """All that is decided before a socket is opened or an engine is started."""
    for value in STRANGE:
        try:
            settings = load_settings({"API_KEY": LONG_KEY, "ENGINE": "draft", name: value}, tmp_path).settings
            check_door(settings)
            check_tls(settings)
            choose_engine(settings, draft_installed=True)
            supervisor = Supervisor(engine_settings(settings, "draft"), take_settings(settings))
            if name in ("API_KEY", "ALLOWED_HOSTS", "RATE_LIMIT"):  # the settings that the app itself reads
                create_app(settings, supervisor).build_middleware_stack()
        except SettingsError as error:
            assert name in str(error), value


def test_a_home_that_the_system_does_not_know_is_a_folder_s_name(tmp_path: Path) -> None:
    settings = load_settings({"REF_AUDIO": "~nobody-of-this-name/me.wav"}, tmp_path).settings
    assert Path(settings.ref_audio) == tmp_path / "~nobody-of-this-name/me.wav"


def test_rows_and_the_codecs_context_reach_the_engine() -> None:
    default, asked = (
        engine_settings(validated(values), "qwen") for values in ({}, {"engine_rows": "128", "codec_context": "whole"})
    )
    assert (default.rows, default.codec_context) == (0, "state")
    assert (asked.rows, asked.codec_context) == (128, "whole")


def test_the_language_is_known_by_code_too() -> None:
    assert validated({"tts_language": "ja"}).tts_language == "Japanese"


def test_unknown_keys_are_warned_about_with_the_nearest_known_one() -> None:
    found = unknown_key_warnings({"REF_AUDO": "x", "HF_ENDPOINT": "y", "NARRATE_KEY": "z", "PORT": "1"}, Path(".env"))
    assert len(found) == 1
    assert "REF_AUDO" in found[0]
    assert "REF_AUDIO" in found[0].split("Did you mean")[1]


def test_settings_of_the_libraries_are_passed_on_to_the_worker(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HF_ENDPOINT=https://mirror.example\nOTHER=1\n", "utf-8")
    assert load_settings({}, tmp_path).passed_on == {"HF_ENDPOINT": "https://mirror.example"}


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False)]
    + [("192.168.0.2", False), ("my-pc", False)],
)
def test_loopback_is_what_no_other_machine_can_reach(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("host", "key", "fits"),
    [
        ("127.0.0.1", "", False),
        ("127.0.0.1", "short", True),
        ("0.0.0.0", "k" * 31, False),
        ("0.0.0.0", LONG_KEY, True),
        ("127.0.0.1", "비밀번호", False),
        ("127.0.0.1", "two words", False),
        ("127.0.0.1", "line\nbreak", False),
    ],
)
def test_the_key_must_suit_the_address(host: str, key: str, fits: bool) -> None:
    settings = validated({"host": host, "api_key": key})
    if fits:
        check_door(settings)
    else:
        with pytest.raises(SettingsError) as error:
            check_door(settings)
        assert "API_KEY" in str(error.value)
        assert not key or key not in str(error.value), "the key itself must not be printed"


@pytest.mark.parametrize(
    ("engine", "ref_audio", "draft_installed", "chosen"),
    [
        ("auto", "me.wav", True, "qwen"),
        ("auto", "me.wav", False, "qwen"),
        ("auto", "", True, "draft"),
        ("auto", "", False, None),
        ("qwen", "me.wav", True, "qwen"),
        ("qwen", "", True, None),
        ("draft", "me.wav", True, "draft"),
    ],
)
def test_a_reference_clip_means_the_cloned_voice_and_nothing_else(
    engine: str, ref_audio: str, draft_installed: bool, chosen: str | None
) -> None:
    settings = validated({"engine": engine, "ref_audio": ref_audio})
    if chosen:
        assert choose_engine(settings, draft_installed).engine == chosen
    else:
        with pytest.raises(SettingsError) as error:
            choose_engine(settings, draft_installed)
        assert "REF_AUDIO" in str(error.value)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("192.168.0.2", "http://192.168.0.2:7860"),
        ("http://192.168.0.2:7860/", "http://192.168.0.2:7860"),
        ("http://gpu-pc:9000", "http://gpu-pc:9000"),
        ("https://tts.example", "https://tts.example"),
    ],
)
def test_the_servers_address_may_be_written_short(given: str, address: str) -> None:
    assert server_address(given) == address


@pytest.mark.parametrize("given", ["", "http://", "ftp://x", "http://x:port"])
def test_what_is_no_address_is_said_to_be_none(given: str) -> None:
    with pytest.raises(Exception, match="is not one"):
        server_address(given)


def test_flags_win_over_the_clients_environment_and_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NARRATE_KEY=file\nNARRATE_SERVER=file:1\nNARRATE_OUTPUT=wavs\n", "utf-8")
    from_file = load_client_settings({}, tmp_path)
    assert (from_file.server, from_file.key, from_file.output) == ("http://file:1", "file", tmp_path / "wavs")
    from_environment = load_client_settings({"NARRATE_KEY": "env"}, tmp_path)
    assert from_environment.key == "env"
    assert load_client_settings({"NARRATE_KEY": "env"}, tmp_path, key="flag").key == "flag"
