from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clock import seconds
from conftest import ReferenceClip

from server.commands.doctor import Machine, Mark, ModelHere, find_model_here, judge, run_probe
from server.downloads.record import Record, write_record
from server.engines import EngineSettings
from server.engines.draft.engine import open_draft
from server.settings import Loaded, validated
from server.takes.calibration import keep_takes

KEY = "k" * 40
MACHINE = Machine("3.12.1", "python", True, draft_installed=True, qwen_installed=True, free_disk_gb=100)
CU126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]


def card(**changes: Any) -> dict[str, Any]:
    return {
        "name": "NVIDIA GeForce GTX 1060 6GB",
        "capability": [6, 1],
        "arch_list": CU126,
        "index": 0,
        "memory_bytes": 6e9,
        "free_bytes": 5.5e9,
        "works": True,
        **changes,
    }


def found(torch: dict[str, Any], clip: ReferenceClip, tiny: Path, **settings: str) -> dict[str, Mark]:
    values = {"api_key": KEY, "ref_audio": str(clip.path), "ref_text": clip.text, "model": str(tiny), **settings}
    loaded = Loaded(validated(values), None)
    return {finding.sentence: finding.mark for finding in judge(loaded, dataclasses.replace(MACHINE, torch=torch))}


def bad(findings: dict[str, Mark]) -> list[str]:
    return [sentence for sentence, mark in findings.items() if mark is Mark.BAD]


def test_a_gtx_1060_with_the_right_torch_is_fine(reference_clip: ReferenceClip, tiny_checkpoint: Path) -> None:
    findings = found({"torch": "2.13.0+cu126", "cuda": "12.6", "cards": [card()]}, reference_clip, tiny_checkpoint)
    assert bad(findings) == []
    assert any("float16" in sentence for sentence in findings)


@pytest.mark.parametrize(
    ("torch", "names"),
    [
        ({"error": "ImportError: libc10"}, "libc10"),
        ({"torch": "2.13.0+cpu", "cuda": None, "cards": []}, "CPU build"),
        ({"torch": "2.13.0+cu126", "cuda": "12.6", "cards": []}, "nvidia-smi"),
        ({"torch": "2.13.0+cu130", "cuda": "13.0", "cards": [card(arch_list=["sm_75", "sm_120"])]}, "cu126"),
        ({"torch": "2.13.0+cu126", "cuda": "12.6", "cards": [card(works=False)]}, "computes wrongly"),
    ],
)
def test_each_fault_of_torch_is_told_with_its_cure(
    torch: dict[str, Any], names: str, reference_clip: ReferenceClip, tiny_checkpoint: Path
) -> None:
    assert any(names in sentence for sentence in bad(found(torch, reference_clip, tiny_checkpoint)))


def test_a_full_card_is_noted(reference_clip: ReferenceClip, tiny_checkpoint: Path) -> None:
    torch = {"torch": "2.13.0+cu126", "cuda": "12.6", "cards": [card(free_bytes=2e9)]}
    findings = found(torch, reference_clip, tiny_checkpoint)
    assert [mark for sentence, mark in findings.items() if "nvidia-smi" in sentence] == [Mark.NOTE]


def test_missing_words_files_and_keys_are_each_told(reference_clip: ReferenceClip, tmp_path: Path) -> None:
    torch = {"torch": "2.13.0+cpu", "cuda": None, "cards": []}
    (tmp_path / "config.json").write_text("{}")
    findings = bad(found(torch, reference_clip, tmp_path, ref_text="", api_key="", device="cpu"))
    assert len(findings) == 3
    assert any("API_KEY" in sentence for sentence in findings)
    assert any("REF_TEXT" in sentence for sentence in findings)
    assert any(str(tmp_path) in sentence for sentence in findings)


def test_the_takes_of_the_dummy_are_shown_with_their_match(
    reference_clip: ReferenceClip, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    engine = open_draft(EngineSettings("draft"), lambda step: None)
    spoken = [engine.speak("그리고 잠시 쉬어가겠습니다.", "Korean", seed).samples for seed in range(3)]
    noise = [np.random.default_rng(seed).normal(0, 0.1, 40_000).astype(np.float32) for seed in range(3)]
    torch = {"torch": "2.13.0+cpu", "cuda": None, "cards": []}
    for name, takes, mark in (("good", spoken, Mark.GOOD), ("bad", noise, Mark.NOTE)):
        folder = tmp_path / name
        keep_takes(folder / "voice.dummy-key.npz", takes, 22_050)
        shown = found(torch, reference_clip, tiny_checkpoint, device="cpu", prompt_dir=str(folder))
        assert [m for sentence, m in shown.items() if "takes of the appended sentence" in sentence] == [mark], shown


COMMIT = "fd4b254389122332181a7c3db7f27e918eec64e3"


def test_a_downloaded_model_is_found_and_shown_with_its_revision(
    reference_clip: ReferenceClip, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    values = {"api_key": KEY, "ref_audio": str(reference_clip.path), "ref_text": reference_clip.text, "device": "cpu"}
    settings = validated({**values, "model": "Somebody/Tiny", "prompt_dir": str(tmp_path / "voices")})
    torch = {"torch": "2.13.0+cpu", "cuda": None, "cards": []}

    def shown() -> str:
        here = find_model_here(settings, qwen_installed=True)
        findings = judge(Loaded(settings, None), dataclasses.replace(MACHINE, torch=torch, model=here))
        (sentence,) = (finding.sentence for finding in findings if finding.sentence.startswith("Model: "))
        return sentence

    assert shown() == "Model: Somebody/Tiny (it is downloaded at the first start)"
    folder = tmp_path / "models" / "Somebody--Tiny"
    shutil.copytree(tiny_checkpoint, folder)
    assert shown() == f"Model: Somebody/Tiny, already downloaded to {folder}"
    write_record(folder, Record(model="Somebody/Tiny", revision=COMMIT, files={}))
    assert shown() == f"Model: Somebody/Tiny, already downloaded to {folder} (revision {COMMIT})"
    (folder / "config.json").unlink()
    assert shown() == "Model: Somebody/Tiny (it is downloaded at the first start)"


def test_a_model_folder_that_was_downloaded_shows_its_revision_too(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_checkpoint, folder)
    settings = validated({"model": str(folder)})
    assert find_model_here(settings, qwen_installed=True) == ModelHere(folder, "")
    write_record(folder, Record(model="Somebody/Tiny", revision=COMMIT, files={}))
    assert find_model_here(settings, qwen_installed=True) == ModelHere(folder, COMMIT)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"tls_cert": "/nope.pem", "tls_key": "/nope.key"}, "nope.pem"), ({"dummy_suffix": "..."}, "DUMMY_SUFFIX")],
)
def test_what_serve_would_refuse_doctor_names(
    settings: dict[str, str], named: str, reference_clip: ReferenceClip, tiny_checkpoint: Path
) -> None:
    torch = {"torch": "2.13.0+cpu", "cuda": None, "cards": []}
    shown = bad(found(torch, reference_clip, tiny_checkpoint, device="cpu", **settings))
    assert len(shown) == 1 and named in shown[0]


def test_the_card_that_is_asked_for_is_the_one_judged(reference_clip: ReferenceClip, tiny_checkpoint: Path) -> None:
    old = card(name="GTX 750", capability=[5, 0])
    torch = {"torch": "2.13.0+cu126", "cuda": "12.6", "cards": [old, card(index=1)]}
    assert bad(found(torch, reference_clip, tiny_checkpoint, device="cuda:1")) == []
    assert len(bad(found(torch, reference_clip, tiny_checkpoint, device="cuda:0"))) == 1


def test_the_probe_tells_what_torch_sees_here() -> None:
    probed = run_probe()
    assert probed["torch"].startswith("2.")
    assert isinstance(probed["cards"], list)


def test_doctor_runs_as_a_program_and_its_exit_code_tells(tmp_path: Path) -> None:
    def doctor(**settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "server", "doctor"],
            env={**os.environ, **settings},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=seconds(60),
            check=False,
        )

    well = doctor(API_KEY=KEY, ENGINE="draft")
    assert well.returncode == 0, well.stdout + well.stderr
    ill = doctor(ENGINE="draft")
    assert ill.returncode == 1
    assert "[!!]" in ill.stdout
