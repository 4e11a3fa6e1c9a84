"""The qwen engine on the real qwen-tts package, with a tiny random model on the CPU: the stock loop.

test_loop_engine.py has the loop of our own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from file_server import COMMIT, Fault, FileServer, file_server
from tiny_checkpoint import HIDDEN, build

from server.audio.samples import Audio
from server.contract.codes import ErrorCode
from server.downloads.record import read_record
from server.engines import Engine, EngineSettings, open_engine
from server.engines.qwen.frame_cap import FLOOR_FRAMES, FRAMES_PER_SECOND, frame_cap
from server.engines.qwen.load.checkpoint import ascii_id, find_model, missing_files, model_identity
from server.engines.qwen.load.imports import ONLY_25HZ, import_qwen_tts, placeholders
from server.errors import EngineUnusable, TakeFailed, TextRefused
from server.text.languages import LANGUAGES

if TYPE_CHECKING:
    from conftest import ReferenceClip

TEXT = "그는 천천히 고개를 들었다.  ...  그리고 잠시 쉬어가겠습니다."


@pytest.fixture
def settings(tiny_checkpoint: Path, reference_clip: ReferenceClip, tmp_path: Path) -> EngineSettings:
    return EngineSettings(
        engine="qwen",
        model=str(tiny_checkpoint),
        ref_audio=str(reference_clip.path),
        ref_text=reference_clip.text,
        device="cpu",
        loop="stock",
        prompt_dir=str(tmp_path / "prompts"),
    )


@pytest.fixture(scope="module")
def engine(
    tiny_checkpoint: Path, reference_clip: ReferenceClip, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    opened = open_engine(
        EngineSettings(
            engine="qwen",
            model=str(tiny_checkpoint),
            ref_audio=str(reference_clip.path),
            ref_text=reference_clip.text,
            device="cpu",
            loop="stock",
            prompt_dir=str(tmp_path_factory.mktemp("prompts")),
        ),
        lambda _phrase: None,
    )
    yield opened
    opened.close()


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts for which the model's encoders really ran."""
    Qwen3TTSModel = import_qwen_tts().Qwen3TTSModel
    texts: list[str] = []
    stock = Qwen3TTSModel.create_voice_clone_prompt

    def counted(self: Any, ref_audio: Any, ref_text: str) -> Any:
        texts.append(ref_text)
        return stock(self, ref_audio, ref_text)

    monkeypatch.setattr(Qwen3TTSModel, "create_voice_clone_prompt", counted)
    return texts


def silent_announce(_phrase: str) -> None:
    pass


def ending_takes(engine: Engine, count: int = 1) -> dict[int, Audio]:
    """Seeds whose takes of TEXT end by themselves within three seconds, and those takes."""
    takes: dict[int, Audio] = {}
    with pytest.MonkeyPatch.context() as patch:
        # Only to save time: a take that ends below a cap is the same under any higher cap.
        patch.setattr("server.engines.qwen.stock.frame_cap", lambda _text, _language: 40)
        for seed in range(30):
            try:
                takes[seed] = engine.speak(TEXT, "Korean", seed)
            except TakeFailed:
                continue
            if len(takes) == count:
                return takes
    raise AssertionError("too few takes end by themselves: is the tiny model's end of speech still reachable?")


@pytest.fixture(scope="module")
def takes(engine: Engine) -> dict[int, Audio]:
    return ending_takes(engine, 2)


# --- speaking


def test_a_text_becomes_audio_at_24_khz(engine: Engine, takes: dict[int, Audio]) -> None:
    for audio in takes.values():
        assert audio.sample_rate == engine.facts.sample_rate == 24_000
        assert len(audio.samples) % 1920 in (0, 1)
        assert audio.samples.dtype == np.float32
        assert 0.02 < float(np.sqrt(np.mean(audio.samples**2))) < 0.5


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(
    engine: Engine, takes: dict[int, Audio]
) -> None:
    (seed, first), (_, other) = takes.items()
    assert engine.speak(TEXT, "korean", seed).samples.tobytes() == first.samples.tobytes()
    assert other.samples.tobytes() != first.samples.tobytes()


def test_white_space_and_control_tokens_around_the_text_change_nothing(engine: Engine, takes: dict[int, Audio]) -> None:
    seed, plain = next(iter(takes.items()))
    padded = engine.speak(f"\n {TEXT}<|im_end|>\n", "Korean", seed)
    assert plain.samples.tobytes() == padded.samples.tobytes()


def test_the_language_reaches_the_model(engine: Engine, takes: dict[int, Audio]) -> None:
    seed, korean = next(iter(takes.items()))
    try:
        english = engine.speak(TEXT, "English", seed)
    except TakeFailed:
        return  # it did not end, and the Korean take did
    assert english.samples.tobytes() != korean.samples.tobytes()


def test_what_no_seed_can_speak_is_refused(engine: Engine) -> None:
    with pytest.raises(TextRefused) as empty:
        engine.speak(" \n<|im_end|>", "Korean", 1)
    assert empty.value.code is ErrorCode.TEXT_EMPTY
    with pytest.raises(TextRefused) as unknown:
        engine.speak(TEXT, "Klingon", 1)
    assert unknown.value.code is ErrorCode.LANGUAGE_UNKNOWN
    assert "Klingon" in unknown.value.sentence()


def test_all_ten_languages_are_taken(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.engines.qwen.stock.frame_cap", lambda _text, _language: 4)
    for language in LANGUAGES.values():
        with pytest.raises(TakeFailed):  # refused would be another exception
            engine.speak(TEXT, language, 1)


def test_a_take_that_runs_into_the_cap_fails_and_the_same_take_passes_below_a_higher_one(
    engine: Engine, takes: dict[int, Audio], monkeypatch: pytest.MonkeyPatch
) -> None:
    seed, take = next(iter(takes.items()))
    frames = round(len(take.samples) / 1920)

    # A cap just above what the take needs (the end of speech is a token too) lets it pass unchanged ...
    monkeypatch.setattr("server.engines.qwen.stock.frame_cap", lambda _text, _language: frames + 2)
    assert engine.speak(TEXT, "Korean", seed).samples.tobytes() == take.samples.tobytes()
    # ... and a cap of one frame less is reached, which cannot be told from a runaway.
    for cap in (frames + 1, frames, max(2, frames // 2)):
        monkeypatch.setattr("server.engines.qwen.stock.frame_cap", lambda _text, _language, cap=cap: cap)
        with pytest.raises(TakeFailed, match="take_failed") as failed:
            engine.speak(TEXT, "Korean", seed)
        assert failed.value.reason == f"frame cap of {cap} reached"


def test_the_cap_comes_from_the_text_and_not_from_the_model(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    model = engine.model  # type: ignore[attr-defined]
    stock = model.generate_voice_clone

    def noted(**asked_for: Any) -> Any:
        asked.append(asked_for["max_new_tokens"])
        assert asked_for["non_streaming_mode"] is True and asked_for["language"] == "Korean"
        return stock(**asked_for | {"max_new_tokens": 5})

    monkeypatch.setattr(model, "generate_voice_clone", noted)
    engine.speak(TEXT, "Korean", 1)
    assert asked == [frame_cap(TEXT, "Korean")] and asked[0] < 8192


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0), "no audio"),
        (np.zeros(1920 * 5), "silent audio"),
        (np.full(1920 * 5, 5e-4), "silent audio"),
        (np.full(1920 * 5, np.nan), "audio that is not finite"),
        (np.append(np.ones(1920 * 5 - 1), np.inf), "audio that is not finite"),
        (np.ones(1920 * 9), "frame cap of 10 reached"),
        (np.ones(1920 * 9 + 1), "frame cap of 10 reached"),  # one sample out, as float rounding makes it
        (np.ones(1920 * 9 - 1), "frame cap of 10 reached"),
    ],
)
def test_takes_that_must_not_be_delivered_fail(samples: np.ndarray, reason: str) -> None:
    import_qwen_tts()
    from server.engines.qwen.stock import refuse_bad_take

    with pytest.raises(TakeFailed) as failed:
        refuse_bad_take(samples.astype(np.float32), 10, 1920)
    assert failed.value.reason == reason


def test_a_good_take_passes() -> None:
    import_qwen_tts()
    from server.engines.qwen.stock import refuse_bad_take

    refuse_bad_take(np.full(1920 * 8 + 1, 0.1, np.float32), 10, 1920)


def test_an_error_of_the_card_is_passed_on_as_it_is(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for error in (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: device-side assert")):

        def fail(*_args: object, error: Exception = error, **_kwargs: object) -> None:
            raise error

        monkeypatch.setattr(engine.model.model.talker.code_predictor, "generate", fail)  # type: ignore[attr-defined]
        with pytest.raises(type(error)) as caught:
            engine.speak(TEXT, "Korean", 1)
        assert caught.value is error


# --- the cap


@pytest.mark.parametrize(
    ("text", "language", "slow_seconds"),
    [
        # The frames of a slow reader: 2.5 syllables a second, and a second at each pause.
        ("네.  ...  그리고 잠시 쉬어가겠습니다.", "Korean", 13 / 2.5 + 2),
        ("2024년 11월 20일, 기온은 -3.5도였다.", "Korean", 26 / 2.5 + 2),
        ("HTTP와 USB, 그리고 100%!", "Korean", 22 / 2.5 + 2),
        ("The quick brown fox jumps over the lazy dog.", "English", 11 / 2.5 + 1),
        ("In 1985 it cost $7.50.", "English", 15 / 2.5 + 1),
        ("В 1985 году он уехал.", "Russian", 17 / 2.5 + 1),
        ("承知致しました。東京都庁", "Japanese", 16 / 2.5 + 1),
        ("他慢慢地抬起了头。", "Chinese", 8 / 2.5 + 1),
        ("L'università è antichissima.", "Italian", 12 / 2.5 + 1),
    ],
)
def test_the_cap_lies_above_slow_speech_and_below_three_times_as_much(
    text: str, language: str, slow_seconds: float
) -> None:
    cap_seconds = frame_cap(text, language) / FRAMES_PER_SECOND
    assert slow_seconds < cap_seconds
    assert cap_seconds < max(3 * slow_seconds, FLOOR_FRAMES / FRAMES_PER_SECOND + 0.1)


def test_the_cap_grows_with_the_text_and_has_a_floor() -> None:
    assert frame_cap("", "Korean") == frame_cap("네.", "Korean") == FLOOR_FRAMES
    assert frame_cap(TEXT * 2, "Korean") > frame_cap(TEXT, "Korean") > FLOOR_FRAMES
    assert frame_cap("가" * 1000, "Korean") == 6000


def test_the_cap_does_not_depend_on_how_hangul_is_composed() -> None:
    import unicodedata

    assert frame_cap(unicodedata.normalize("NFD", TEXT), "Korean") == frame_cap(TEXT, "Korean")


def test_a_run_of_punctuation_is_one_pause() -> None:
    word = "가" * 20
    assert frame_cap(f"{word}.", "Korean") == frame_cap(f"{word}  ...  ", "Korean") == frame_cap(f"{word}?! ", "Korean")
    assert frame_cap(f"{word}, {word}.", "Korean") > frame_cap(f"{word} {word}.", "Korean")


# --- opening


def test_the_facts_are_ascii_and_tell_what_makes_the_sound(engine: Engine, tiny_checkpoint: Path) -> None:
    facts = engine.facts
    assert (facts.engine, facts.device, facts.dtype, facts.in_flight, facts.draft) == (
        "qwen",
        "cpu",
        "float32",
        2,
        False,
    )
    assert facts.model == tiny_checkpoint.name
    assert len(facts.voice) == 16 and int(facts.voice, 16)
    assert facts.sound == "qwen-tts 0.1.1; T=0.9 k=50 p=1.0 r=1.05, codes T=0.9 k=50 p=1.0; float32; sdpa"
    assert all(str(value).isascii() for value in vars(facts).values())


def test_opening_announces_each_step_and_keeps_off_the_network(
    settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    said: list[str] = []
    open_engine(settings, said.append)
    assert said == [
        "importing torch and qwen-tts",
        "DEVICE=cpu: float32, far slower than real time.",
        "loading the model",
        "preparing the voice",
    ]
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_the_prompt_is_made_once_and_a_reopened_engine_sounds_the_same(
    settings: EngineSettings, encoded: list[str]
) -> None:
    first = open_engine(settings, silent_announce)
    assert encoded == [settings.ref_text]
    seed, take = next(iter(ending_takes(first).items()))
    assert encoded == [settings.ref_text]
    said: list[str] = []
    second = open_engine(settings, said.append)
    assert encoded == [settings.ref_text]
    assert "reading the prepared voice" in said
    assert second.facts == first.facts
    assert second.speak(TEXT, "Korean", seed).samples.tobytes() == take.samples.tobytes()


def test_a_changed_clip_or_text_or_a_damaged_file_makes_the_prompt_anew(
    settings: EngineSettings, encoded: list[str], tmp_path: Path
) -> None:
    import soundfile

    first = open_engine(settings, silent_announce)
    other_text = open_engine(replace(settings, ref_text="다른 문장이다."), silent_announce)
    assert encoded == [settings.ref_text, "다른 문장이다."]

    samples, rate = soundfile.read(settings.ref_audio)
    soundfile.write(tmp_path / "other.wav", samples[:-2400], rate)
    other_clip = open_engine(replace(settings, ref_audio=str(tmp_path / "other.wav")), silent_announce)
    assert len(encoded) == 3
    assert len({opened.facts.voice for opened in (first, other_text, other_clip)}) == 3

    # The same clip under another name, and the same text with other line breaks, are the same voice.
    shutil.copy(settings.ref_audio, tmp_path / "copy.wav")
    copied = open_engine(
        replace(settings, ref_audio=str(tmp_path / "copy.wav"), ref_text=f" {settings.ref_text}\n"), silent_announce
    )
    assert len(encoded) == 3 and copied.facts.voice == first.facts.voice

    kept = Path(settings.prompt_dir) / f"{first.facts.voice}.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1])
    open_engine(settings, silent_announce)
    assert len(encoded) == 4


def test_another_model_is_another_voice(settings: EngineSettings, tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "내 모델")
    assert model_identity(tmp_path / "내 모델") == model_identity(tiny_checkpoint)
    weights = tmp_path / "내 모델" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # as a fine-tuned model: the same sizes, other numbers
    weights.write_bytes(content)
    assert model_identity(tmp_path / "내 모델") != model_identity(tiny_checkpoint)
    assert ascii_id(str(tmp_path / "내 모델")) == "____"
    assert ascii_id("Qwen/Qwen3-TTS-12Hz-1.7B-Base") == "Qwen/Qwen3-TTS-12Hz-1.7B-Base"


def test_a_model_from_the_hubs_cache_opens_without_network_and_is_the_same_voice(
    settings: EngineSettings, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "hub" / "models--Somebody--Tiny"
    shutil.copytree(tiny_checkpoint, cached / "snapshots" / "0123abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    said: list[str] = []
    opened = open_engine(replace(settings, model="Somebody/Tiny"), said.append)
    assert opened.facts.model == "Somebody/Tiny"
    assert not any("download" in phrase for phrase in said)
    assert opened.facts.voice == open_engine(settings, silent_announce).facts.voice

    # Half a download is not a model.
    (cached / "snapshots" / "0123abc" / "model.safetensors").unlink()
    assert "hf download Somebody/Tiny" in refusal(replace(settings, model="Somebody/Tiny"))


def as_hub_model(folder: Path) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Its files, and which of them are large files to the hub."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return files, tuple(name for name in files if name.endswith(".safetensors"))


@pytest.fixture
def tiny_hub(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A hub that has the tiny model as Somebody/Tiny; nothing is in the cache of huggingface_hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with file_server() as server:
        files, large = as_hub_model(tiny_checkpoint)
        server.put_model("Somebody/Tiny", files, lfs=large)
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


def test_a_model_is_downloaded_once_beside_the_voices_and_is_the_same_voice(
    settings: EngineSettings, tiny_hub: FileServer
) -> None:
    said: list[str] = []
    opened = open_engine(replace(settings, model="Somebody/Tiny"), said.append)
    assert "downloading the model Somebody/Tiny" in said
    folder = Path(settings.prompt_dir).parent / "models" / "Somebody--Tiny"
    record = read_record(folder)
    assert record is not None and record.revision == COMMIT
    assert missing_files(folder) == []
    assert opened.facts.model == "Somebody/Tiny"
    assert opened.facts.voice == open_engine(settings, silent_announce).facts.voice

    tiny_hub.asked.clear()
    said.clear()
    again = open_engine(replace(settings, model="Somebody/Tiny"), said.append)
    assert again.facts == opened.facts
    assert tiny_hub.asked == [] and not any("download" in phrase for phrase in said)


def test_a_download_that_broke_off_goes_on_and_one_that_changed_is_told(
    settings: EngineSettings, tiny_hub: FileServer, tmp_path: Path
) -> None:
    models, said = tmp_path / "models", list[str]()
    tiny_hub.faults["/api/models/Somebody/Tiny/revision/main"] = [Fault(status=403)]
    with pytest.raises(EngineUnusable, match="HF_TOKEN"):
        find_model("Somebody/Tiny", said.append, models)

    weights = f"/Somebody/Tiny/resolve/{COMMIT}/model.safetensors"
    tiny_hub.faults[weights] = [Fault(status=404)]
    with pytest.raises(EngineUnusable, match=r"model\.safetensors"):
        find_model("Somebody/Tiny", said.append, models)
    asked = len(tiny_hub.asked)
    folder = find_model("Somebody/Tiny", said.append, models)
    assert [each.path for each in tiny_hub.asked[asked:] if "/resolve/" in each.path] == [weights]

    said.clear()
    (folder / "generation_config.json").write_text("{}")
    assert find_model("Somebody/Tiny", said.append, models) == folder
    assert said == [f"changed since the download, used as they are now: generation_config.json in {folder}"]
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(EngineUnusable, match=r"not the published files any more: model\.safetensors"):
        find_model("Somebody/Tiny", said.append, models)
    (folder / "model.safetensors").unlink()
    assert find_model("Somebody/Tiny", said.append, models) == folder


def test_a_model_put_into_the_models_folder_by_hand_is_used(
    settings: EngineSettings, tiny_checkpoint: Path, tiny_hub: FileServer, tmp_path: Path
) -> None:
    copy_of(tiny_checkpoint, tmp_path / "models" / "Somebody--Tiny")
    found = find_model("Somebody/Tiny", silent_announce, tmp_path / "models")
    assert found == tmp_path / "models" / "Somebody--Tiny" and tiny_hub.asked == []


def refusal(settings: EngineSettings) -> str:
    with pytest.raises(EngineUnusable) as caught:
        open_engine(settings, silent_announce)
    return str(caught.value)


def test_a_model_that_is_nowhere_is_refused_with_the_way_to_get_it(settings: EngineSettings, tmp_path: Path) -> None:
    import_qwen_tts()
    sentence = refusal(replace(settings, model="Qwen/No-Such-Model"))
    assert "hf download Qwen/No-Such-Model --local-dir models/No-Such-Model" in sentence
    assert "HF_ENDPOINT" in sentence
    for gone in (str(tmp_path / "gone"), "C:\\models\\gone", "gone", ""):
        assert "does not exist" in refusal(replace(settings, model=gone))


def copy_of(tiny_checkpoint: Path, folder: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, folder))


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut_short(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1000])


def with_config(**changed: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | changed
        (folder / "config.json").write_text(json.dumps(config))

    return change


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (without("model.safetensors"), "it lacks: model.safetensors."),
        (without("generation_config.json"), "it lacks: generation_config.json."),
        (without("merges.txt"), "it lacks: merges.txt."),
        (without("speech_tokenizer/model.safetensors"), "it lacks: speech_tokenizer/model.safetensors."),
        (cut_short("model.safetensors"), "cannot be loaded"),
        (cut_short("speech_tokenizer/model.safetensors"), "cannot be loaded"),
        (cut_short("config.json"), "is damaged"),
        (with_config(tts_model_type="custom_voice"), "cannot clone a voice (its kind is custom_voice)"),
        (with_config(tokenizer_type="qwen3_tts_tokenizer_25hz"), "only 12 Hz models"),
    ],
)
def test_a_damaged_or_unfit_model_folder_is_refused_with_a_sentence(
    settings: EngineSettings, tiny_checkpoint: Path, tmp_path: Path, harm: Callable[[Path], None], told: str
) -> None:
    folder = copy_of(tiny_checkpoint, tmp_path / "model")
    harm(folder)
    assert told in refusal(replace(settings, model=str(folder)))


def test_weights_in_several_files_are_found_by_their_index(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny_checkpoint, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert missing_files(folder) == ["model-00002-of-00002.safetensors"]
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"x")
    assert missing_files(folder) == []
    assert find_model(str(folder), silent_announce, tmp_path / "models") == folder
    assert len(model_identity(folder)) == 64


def test_settings_that_cannot_work_are_refused_before_the_model_is_loaded(settings: EngineSettings) -> None:
    assert "REF_TEXT is empty" in refusal(replace(settings, ref_text=""))
    assert "REF_AUDIO" in refusal(replace(settings, ref_audio=""))
    assert "flash_attention_2 needs bfloat16" in refusal(replace(settings, attention="flash_attention_2"))
    assert "sdpa, eager" in refusal(replace(settings, attention="fast"))
    assert "DTYPE=int4" in refusal(replace(settings, dtype="int4"))


def test_without_a_gpu_the_engine_does_not_fall_back_to_the_cpu(settings: EngineSettings) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for device in ("auto", "cuda", "cuda:0"):
        assert "DEVICE=cpu" in refusal(replace(settings, device=device))


def test_eager_attention_speaks_too(settings: EngineSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_engine(replace(settings, attention="eager"), silent_announce)
    assert opened.facts.sound.endswith("; eager")
    assert opened.model.model.talker.model.config._attn_implementation == "eager"  # type: ignore[attr-defined]
    monkeypatch.setattr("server.engines.qwen.stock.frame_cap", lambda _text, _language: 4)
    with pytest.raises(TakeFailed) as failed:
        opened.speak(TEXT, "Korean", 1)
    assert failed.value.reason == "frame cap of 4 reached"


@pytest.mark.gpu
def test_the_engine_speaks_on_the_gpu_in_the_formats_chosen_for_it(settings: EngineSettings) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA card and a CUDA build of torch")
    opened = open_engine(replace(settings, device="auto"), silent_announce)
    assert opened.facts.device == "cuda:0"
    codec = opened.model.model.speech_tokenizer.model  # type: ignore[attr-defined]
    assert (codec.device.type, codec.dtype) == ("cuda", torch.float32)
    assert ending_takes(opened)


# --- two number formats in one model


def load_stock(folder: Path, dtype: str) -> Any:
    import torch

    return import_qwen_tts().Qwen3TTSModel.from_pretrained(
        str(folder), device_map="cpu", dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )


def stock_speech(model: Any, clip: ReferenceClip, seed: int = 3) -> np.ndarray:
    import torch

    from server.engines.qwen.stock import make_prompt, to_item
    from server.voices.clip import prepare_clip

    item = to_item(make_prompt(model, prepare_clip(str(clip.path)), clip.text), "cpu")
    torch.manual_seed(seed)
    takes, _rate = model.generate_voice_clone(
        text=TEXT, language="Korean", voice_clone_prompt=[item], non_streaming_mode=True, max_new_tokens=12
    )
    return takes[0]


def test_casts_change_nothing_where_all_is_float32(tiny_checkpoint: Path, reference_clip: ReferenceClip) -> None:
    stock = load_stock(tiny_checkpoint, "float32")
    codes: list[Any] = []
    decode = stock.model.speech_tokenizer.decode

    def keep_codes(encoded: Any) -> Any:
        codes.append(encoded[0]["audio_codes"].clone())
        return decode(encoded)

    stock.model.speech_tokenizer.decode = keep_codes
    plain = stock_speech(stock, reference_clip)

    import torch

    from server.engines.qwen.load.mixed_precision import split_precision

    split_precision(stock.model, torch.float32)
    cast = stock_speech(stock, reference_clip)
    assert len(codes) == 2 and torch.equal(codes[0], codes[1])
    assert plain.tobytes() == cast.tobytes()


@pytest.mark.parametrize("talker", ["float16", "bfloat16"])
def test_without_the_casts_a_wider_code_predictor_breaks_generation(
    tiny_checkpoint: Path, reference_clip: ReferenceClip, talker: str
) -> None:
    model = load_stock(tiny_checkpoint, talker)
    model.model.speech_tokenizer.model.float()
    stock_speech(model, reference_clip)  # one format: speaks
    model.model.talker.code_predictor.float()
    with pytest.raises(RuntimeError, match=r"same dtype|but got|expected"):
        stock_speech(model, reference_clip)


@pytest.fixture(scope="module")
def as_wide_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Talker and code predictor of the same width, as in the 0.6B model."""
    return build(tmp_path_factory.mktemp("wide") / "model", predictor_hidden=HIDDEN)


@pytest.mark.parametrize("checkpoint", ["tiny_checkpoint", "as_wide_checkpoint"])
@pytest.mark.parametrize("talker", ["float16", "bfloat16"])
def test_a_16_bit_talker_speaks_with_code_predictor_and_codec_in_float32(
    request: pytest.FixtureRequest, reference_clip: ReferenceClip, checkpoint: str, talker: str
) -> None:
    import torch

    import_qwen_tts()
    from server.engines.qwen.load.precision import Precision
    from server.engines.qwen.stock import load_model

    folder = request.getfixturevalue(checkpoint)
    model = load_model("tiny", folder, Precision("cpu", talker, "float32", "float32", ""), "sdpa")
    talker_module = model.model.talker
    computed: dict[str, set[torch.dtype]] = {"talker": set(), "predictor": set(), "codec": set()}
    inner = {
        "talker": talker_module.model.layers[-1].mlp.down_proj,
        "predictor": talker_module.code_predictor.model.layers[-1].mlp.down_proj,
        "codec": model.model.speech_tokenizer.model.decoder.decoder[-1].conv,
    }
    for name, module in inner.items():
        module.register_forward_hook(lambda _m, _i, out, name=name: computed[name].add(out.dtype))
    audio = stock_speech(model, reference_clip)
    assert computed == {
        "talker": {getattr(torch, talker)},
        "predictor": {torch.float32},
        "codec": {torch.float32},
    }
    assert np.isfinite(audio).all() and float(np.sqrt(np.mean(audio**2))) > 0.02
    # All but the predictor and the speaker encoder is in the talker's format: nothing was loaded in float32.
    wide = {
        name.split(".")[1]
        for name, p in model.model.named_parameters()
        if p.dtype == torch.float32 and "talker" in name
    }
    assert wide == {"code_predictor"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_engine_speaks_in_16_bits_with_the_voice_of_the_float32_one(
    settings: EngineSettings, encoded: list[str], tmp_path: Path, dtype: str
) -> None:
    from safetensors.numpy import load_file

    narrow = open_engine(replace(settings, dtype=dtype, prompt_dir=str(tmp_path / "narrow")), silent_announce)
    assert ending_takes(narrow)
    wide = open_engine(replace(settings, prompt_dir=str(tmp_path / "wide")), silent_announce)
    assert narrow.facts.voice == wide.facts.voice and narrow.facts.sound != wide.facts.sound
    assert len(encoded) == 2
    one, other = (next((tmp_path / name).iterdir()) for name in ("narrow", "wide"))
    # Codec and speaker encoder are float32 in both; only the mel spectrogram is rounded to the talker's format.
    np.testing.assert_array_equal(load_file(one)["codes"], load_file(other)["codes"])
    difference = load_file(one)["speaker"] - load_file(other)["speaker"]
    assert np.linalg.norm(difference) < 0.01 * np.linalg.norm(load_file(other)["speaker"])


def test_the_codecs_weights_are_not_rounded(tiny_checkpoint: Path) -> None:
    """Loading in 16 bits and widening afterwards would keep the rounding; the file holds float32."""
    import torch
    from safetensors.torch import load_file

    import_qwen_tts()
    from server.engines.qwen.load.precision import Precision
    from server.engines.qwen.stock import load_model

    published = load_file(tiny_checkpoint / "speech_tokenizer" / "model.safetensors")
    model = load_model("tiny", tiny_checkpoint, Precision("cpu", "float16", "float32", "float32", ""), "sdpa")
    loaded = model.model.speech_tokenizer.model.state_dict()
    assert loaded.keys() == published.keys()
    assert all(torch.equal(loaded[name], published[name]) for name in published)
    assert any(not torch.equal(weight, weight.half().float()) for weight in published.values())


# --- imports


def test_qwen_tts_imports_beside_packages_that_are_broken(tmp_path: Path) -> None:
    """The published torchaudio raises OSError when imported beside a CPU torch; sox and onnxruntime may fail too."""
    for name, error in (("torchaudio", "OSError"), ("sox", "RuntimeError"), ("onnxruntime", "ImportError")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise {error}('libc10_cuda.so: cannot open shared object file')")
    code = (
        "import sys\n"
        "from server.engines.qwen.load.imports import import_qwen_tts\n"
        "print(import_qwen_tts().Qwen3TTSModel.__name__)\n"
        "print([name for name in ('torchaudio', 'sox', 'onnxruntime') if name in sys.modules])\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    # Only our own two lines: no flash-attn banner, and no warning about SoX.
    assert done.stdout.splitlines() == ["Qwen3TTSModel", "[]"]
    assert "SoX" not in done.stderr


def test_placeholders_leave_no_trace_and_say_what_they_are() -> None:
    before = {name: sys.modules.get(name) for name in ONLY_25HZ}
    with placeholders():
        import torchaudio.compliance.kaldi as kaldi

        if before["torchaudio.compliance.kaldi"] is None:
            with pytest.raises(ImportError, match="25 Hz"):
                kaldi.fbank()
            assert not hasattr(kaldi, "__wrapped__")
    assert {name: sys.modules.get(name) for name in ONLY_25HZ} == before


def test_a_missing_package_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "transformers.py").write_text("raise ImportError('cannot import name check_model_inputs')")
    code = (
        "from server.engines import EngineSettings, open_engine\n"
        "from server.errors import EngineUnusable\n"
        "try:\n    open_engine(EngineSettings('qwen'), print)\n"
        "except EngineUnusable as error:\n    print(error)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert "check_model_inputs" in done.stdout and "scripts/install.py server" in done.stdout, done.stderr


def test_importing_the_package_brings_in_no_torch() -> None:
    modules = (
        "server.engines.qwen, server.engines.qwen.load.precision, server.engines.qwen.load.checkpoint, "
        "server.engines.qwen.frame_cap"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print('torch' in sys.modules, 'transformers' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.split() == ["False", "False"]


def test_the_text_embedding_can_stay_in_memory_when_the_model_goes_to_its_device(tiny_checkpoint: Path) -> None:
    """`meta` stands for a card: a tensor that was moved there has no data any more."""
    from server.engines.qwen.load.precision import Precision
    from server.engines.qwen.stock import load_model, place

    model = load_model("tiny", tiny_checkpoint, Precision("cpu", "float32", "float32", "float32", ""), "sdpa", False)
    embedding = model.model.talker.model.text_embedding
    place(model, "meta", text_on_device=False)
    kinds = {name: weight.device.type for name, weight in model.model.named_parameters()}
    assert [name for name, kind in kinds.items() if kind != "meta"] == ["talker.model.text_embedding.weight"]
    assert model.model.talker.model.text_embedding is embedding and str(model.device) == "meta"
    place(model, "meta")
    assert embedding.weight.device.type == "meta"


def test_positions_are_not_rounded_where_formats_meet() -> None:
    """Stock counts positions in floating point; in bfloat16 the positions 301 and 302 would be the same number."""
    from server.engines.qwen.load.mixed_precision import cast_at_borders

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
            self.seen: dict[str, Any] = {}

        def forward(self, **given: Any) -> None:
            self.seen = given

    model = SimpleNamespace(
        talker=SimpleNamespace(code_predictor=Module(), model=Module()),
        speaker_encoder=Module(),
    )
    cast_at_borders(model)
    positions = torch.tensor([[301.0, 302.0, 303.0]])
    model.talker.model(position_ids=positions, inputs_embeds=torch.ones(1, 3), cache_position=torch.tensor([301]))
    seen = model.talker.model.seen
    assert torch.equal(seen["position_ids"], positions) and seen["position_ids"].dtype == torch.float32
    assert seen["inputs_embeds"].dtype == torch.bfloat16 and seen["cache_position"].dtype == torch.int64
