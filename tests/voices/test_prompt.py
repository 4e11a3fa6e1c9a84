from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_checkpoint import reference_samples

from server import whole_files
from server.errors import EngineUnusable
from server.voices.clip import clean_ref_text, prepare_clip
from server.voices.prompt import (
    PromptShape,
    VoicePrompt,
    find_flaw,
    fingerprint,
    keep_or_make,
    prompt_file,
    prompt_key,
    read_prompt,
    write_prompt,
)

SHAPE = PromptShape(code_groups=16, codebook_size=32, speaker_size=8)
KEY = prompt_key(b"clip", "text", "model", "0.1.1")


def good_prompt() -> VoicePrompt:
    rng = np.random.default_rng(1)
    return VoicePrompt(
        rng.integers(0, 32, (44, 16), np.int64), rng.standard_normal(8, np.float32), "나는 오늘도 걷는다."
    )


class Maker:
    """Stands for the model's encoders, which are slow, and counts how often they ran."""

    def __init__(self, prompt: VoicePrompt | None = None) -> None:
        self.prompt, self.made, self.announced = prompt or good_prompt(), 0, list[str]()

    def __call__(self) -> VoicePrompt:
        self.made += 1
        return self.prompt

    def open(self, folder: Path | None, key: str = KEY, shape: PromptShape = SHAPE) -> VoicePrompt:
        return keep_or_make(folder, key, shape, "tiny", self, self.announced.append)


def same(one: VoicePrompt, other: VoicePrompt) -> bool:
    return (
        np.array_equal(one.codes, other.codes)
        and np.array_equal(one.speaker, other.speaker)
        and one.ref_text == other.ref_text
    )


# --- the clip


def write(path: Path, samples: np.ndarray, sample_rate: int = 24_000, **how: str) -> str:
    soundfile.write(path, samples, sample_rate, **how)
    return str(path)


@pytest.mark.parametrize(
    ("name", "sample_rate", "channels"),
    [
        ("a.wav", 24_000, 1),
        ("b.wav", 44_100, 2),
        ("c.flac", 48_000, 2),
        ("d.ogg", 16_000, 1),
        ("한글 이름.mp3", 48_000, 2),
    ],
)
def test_a_clip_of_any_kind_becomes_mono_24_khz_with_half_a_second_of_silence(
    tmp_path: Path, name: str, sample_rate: int, channels: int
) -> None:
    one = reference_samples(2.0, sample_rate)
    clip = prepare_clip(write(tmp_path / name, np.stack([one] * channels, axis=1), sample_rate))
    assert clip.sample_rate == 24_000
    # MP3 adds up to some 0.1 s of padding.
    assert clip.seconds == pytest.approx(2.5, abs=0.1)
    assert not clip.samples[-12_000:].any()
    assert clip.samples.dtype == np.float32
    assert np.abs(clip.samples).max() == pytest.approx(np.abs(one).max(), rel=0.1)


def test_the_channels_are_averaged(tmp_path: Path) -> None:
    left = reference_samples(2.0)
    clip = prepare_clip(write(tmp_path / "a.wav", np.stack([left, 0 * left], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(clip.samples[: len(left)], left / 2, atol=1e-6)


def test_a_float_file_above_full_scale_is_brought_down(tmp_path: Path) -> None:
    clip = prepare_clip(write(tmp_path / "a.wav", reference_samples(2.0) * 20, subtype="FLOAT"))
    assert np.abs(clip.samples).max() == pytest.approx(1.0)


def refused_clip(path: str) -> str:
    with pytest.raises(EngineUnusable) as caught:
        prepare_clip(path)
    return str(caught.value)


def test_clips_that_cannot_be_cloned_from_are_refused_with_a_sentence(tmp_path: Path) -> None:
    voice = reference_samples(2.0)
    not_audio = tmp_path / "notes.wav"
    not_audio.write_text("no audio at all")
    broken = voice.copy()
    broken[1000] = np.nan
    assert "REF_AUDIO" in refused_clip(" ")
    assert "does not exist" in refused_clip(str(tmp_path / "nothing.wav"))
    assert "does not exist" in refused_clip(str(tmp_path))
    assert "cannot be read" in refused_clip(str(not_audio))
    assert "0.9 s long" in refused_clip(write(tmp_path / "short.wav", reference_samples(0.9)))
    assert "5 to 15 s" in refused_clip(write(tmp_path / "long.wav", reference_samples(30.2)))
    assert "silent" in refused_clip(write(tmp_path / "silent.wav", 0 * voice))
    assert "silent" in refused_clip(write(tmp_path / "cancel.wav", np.stack([voice, -voice], axis=1)))
    assert "not numbers" in refused_clip(write(tmp_path / "nan.wav", broken, subtype="FLOAT"))
    assert "0.0 s long" in refused_clip(write(tmp_path / "empty.wav", voice[:0]))


def test_the_longest_and_shortest_clips_are_taken(tmp_path: Path) -> None:
    assert prepare_clip(write(tmp_path / "short.wav", reference_samples(1.0))).seconds == 1.5
    assert prepare_clip(write(tmp_path / "long.wav", reference_samples(30.0))).seconds == 30.5


def test_the_text_is_folded_to_one_line_and_must_exist() -> None:
    assert clean_ref_text("  나는\n오늘도\r\n\t걷는다. ") == "나는 오늘도 걷는다."
    with pytest.raises(EngineUnusable, match="REF_TEXT is empty"):
        clean_ref_text(" \n ")


# --- the key


def test_every_part_changes_the_key_and_the_parts_do_not_run_into_each_other() -> None:
    keys = {
        KEY,
        prompt_key(b"clip2", "text", "model", "0.1.1"),
        prompt_key(b"clip", "text2", "model", "0.1.1"),
        prompt_key(b"clip", "text", "model2", "0.1.1"),
        prompt_key(b"clip", "text", "model", "0.1.2"),
        prompt_key(b"clipt", "ext", "model", "0.1.1"),
    }
    assert len(keys) == 6
    assert prompt_key(b"clip", "text", "model", "0.1.1") == KEY
    assert len(fingerprint(KEY)) == 16 and int(fingerprint(KEY), 16)


# --- the file


def test_a_prompt_is_made_once_and_read_at_the_next_start(tmp_path: Path) -> None:
    first, second = Maker(), Maker()
    made = first.open(tmp_path / "new" / "prompts")
    kept = second.open(tmp_path / "new" / "prompts")
    assert (first.made, second.made) == (1, 0)
    assert same(made, kept)
    assert first.announced == ["preparing the voice"]
    assert second.announced == ["reading the prepared voice"]
    assert [file.name for file in (tmp_path / "new" / "prompts").iterdir()] == [f"{fingerprint(KEY)}.safetensors"]


def test_without_a_folder_nothing_is_kept() -> None:
    maker = Maker()
    maker.open(None)
    maker.open(None)
    assert maker.made == 2


def test_the_file_tells_where_it_comes_from(tmp_path: Path) -> None:
    from safetensors import safe_open

    Maker().open(tmp_path)
    with safe_open(prompt_file(tmp_path, KEY), framework="numpy") as stored:
        metadata = stored.metadata()
    assert metadata["model"] == "tiny"
    assert metadata["ref_text"] == "나는 오늘도 걷는다."
    assert metadata["fingerprint"] == fingerprint(KEY)


def damage_cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def damage_empty(file: Path) -> None:
    file.write_bytes(b"")


def damage_one_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    # The last tensor's first byte: still a well-formed file, with a number in range that nobody wrote.
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def damage_foreign_key(file: Path) -> None:
    write_prompt(file, good_prompt(), prompt_key(b"other", "text", "model", "0.1.1"), "tiny")


def damage_other_program(file: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3, np.float32)}, file)


def damage_wrong_types(file: Path) -> None:
    prompt = good_prompt()
    write_prompt(file, replace(prompt, codes=prompt.codes.astype(np.int32)), KEY, "tiny")  # type: ignore[arg-type]


def damage_pickle(file: Path) -> None:
    import pickle

    file.write_bytes(pickle.dumps({"codes": [1], "speaker": [2]}))


@pytest.mark.parametrize(
    "damage",
    [
        damage_cut_short,
        damage_empty,
        damage_one_byte,
        damage_foreign_key,
        damage_other_program,
        damage_wrong_types,
        damage_pickle,
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_or_foreign_file_is_made_anew(tmp_path: Path, damage: object) -> None:
    Maker().open(tmp_path)
    damage(prompt_file(tmp_path, KEY))  # type: ignore[operator]
    second, third = Maker(), Maker()
    assert same(second.open(tmp_path), good_prompt())
    assert second.made == 1
    assert any("cannot be used" in phrase for phrase in second.announced)
    third.open(tmp_path)
    assert third.made == 0


def test_a_prompt_of_a_model_with_another_shape_is_not_read(tmp_path: Path) -> None:
    Maker().open(tmp_path)
    with pytest.raises(ValueError, match="speaker vector"):
        read_prompt(prompt_file(tmp_path, KEY), KEY, replace(SHAPE, speaker_size=9))


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    in_the_way = tmp_path / "prompts"
    in_the_way.write_text("a file where the folder should be")
    maker = Maker()
    assert same(maker.open(in_the_way), good_prompt())
    assert any("could not keep" in phrase for phrase in maker.announced)


def test_a_write_that_breaks_off_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_files.os, "fsync", full)
    maker = Maker()
    maker.open(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert any("No space left" in phrase for phrase in maker.announced)


@pytest.mark.parametrize(
    ("changed", "flaw"),
    [
        ({"codes": np.zeros((44, 15), np.int64)}, "codes of shape"),
        ({"codes": np.zeros(44, np.int64)}, "codes of shape"),
        ({"codes": np.zeros((0, 16), np.int64)}, "0 frames"),
        ({"codes": np.zeros((400, 16), np.int64)}, "400 frames"),
        ({"codes": np.full((44, 16), 32)}, "codes outside"),
        ({"codes": np.full((44, 16), -1)}, "codes outside"),
        ({"speaker": np.zeros(9, np.float32)}, "speaker vector of shape"),
        ({"speaker": np.full(8, np.nan, np.float32)}, "not finite"),
    ],
)
def test_flaws_are_named_and_a_flawed_voice_is_not_kept(tmp_path: Path, changed: dict, flaw: str) -> None:
    flawed = replace(good_prompt(), **changed)
    assert flaw in str(find_flaw(flawed, SHAPE))
    with pytest.raises(EngineUnusable, match="Try another one"):
        Maker(flawed).open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_good_prompt_has_no_flaw() -> None:
    assert find_flaw(good_prompt(), SHAPE) is None


def test_importing_the_module_brings_in_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, server.voices.prompt; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
