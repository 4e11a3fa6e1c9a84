"""voice-server doctor: what this machine can do and what is wrong, one line each. Changes nothing.

Gathering (`gather`) touches the machine; judging (`judge`) is pure.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from server.commands.start_checks import check_door, check_tls, choose_engine
from server.cut.dummy_takes import DummyTakes
from server.downloads.record import read_record
from server.engines.draft import draft_installed
from server.engines.qwen.load.checkpoint import cached_snapshot, downloaded_folder, is_folder, missing_files
from server.engines.qwen.load.precision import CudaCard, TorchBuild, card_index, choose_precision
from server.errors import SettingsError
from server.network import bound_socket, is_loopback, own_addresses
from server.places import models_folder
from server.settings import Loaded, Settings, load_settings, take_settings
from server.takes.calibration import kept_takes
from server.terminal.console import say
from server.terminal.exit_codes import ExitCode
from server.terminal.messages import t
from server.terminal.troubleshooting import with_entry
from server.voices.clip import prepare_clip

PROBE_LIMIT_S = 180.0
"""Enough for the first import of torch on a slow disk while a virus scanner reads each file."""
MAX_KEPT = 3
"""Kept calibrations that are shown: the newest, of this and earlier voices."""
GOOD_AGREEMENT = 0.5
ROOM_FOR_MODEL_GB = 10.0
ROOM_ON_CARD_GB = 5.0


class Mark(Enum):
    GOOD = "[ok]"
    BAD = "[!!]"
    NOTE = "[--]"


@dataclass(frozen=True)
class Finding:
    mark: Mark
    sentence: str

    def __str__(self) -> str:
        return f"{self.mark.value} {self.sentence}"


@dataclass(frozen=True)
class Machine:
    """What `gather` found."""

    python: str
    executable: str
    in_venv: bool
    draft_installed: bool
    qwen_installed: bool
    torch: dict[str, Any] = field(default_factory=dict)
    """What server.engines.qwen.load.probe printed; empty where it was not run."""
    port_free: bool = True
    free_disk_gb: float = 0.0
    addresses: tuple[str, ...] = ()
    model: ModelHere | None = None
    """None where MODEL is to be downloaded yet."""


@dataclass(frozen=True)
class ModelHere:
    """The model on this disk."""

    folder: Path
    revision: str
    """The commit on the hub, 40 hex digits; empty for files that this program did not download."""


def report(folder: Path, environ: Mapping[str, str]) -> int:
    """Exit code 0 when the server would start and speak, 1 when something is wrong."""
    try:
        loaded = load_settings(environ, folder)
    except SettingsError as error:
        say(str(Finding(Mark.BAD, with_entry(error))))
        return ExitCode.ERROR
    findings = judge(loaded, gather(loaded.settings, folder))
    for finding in findings:
        say(str(finding))
    bad = sum(finding.mark is Mark.BAD for finding in findings)
    if bad:
        say(t("To be put right before 'voice-server serve' can work: {count}, see [!!] above.", count=bad))
        return ExitCode.ERROR
    say(t("Nothing is wrong. 'voice-server serve' starts the server."))
    return ExitCode.OK


def gather(settings: Settings, folder: Path) -> Machine:
    qwen_installed = importlib.util.find_spec("qwen_tts") is not None and importlib.util.find_spec("torch") is not None
    return Machine(
        python=platform.python_version(),
        executable=sys.executable,
        in_venv=sys.prefix != sys.base_prefix,
        draft_installed=draft_installed(),
        qwen_installed=qwen_installed,
        torch=run_probe() if qwen_installed else {},
        port_free=is_port_free(settings.host, settings.port),
        free_disk_gb=shutil.disk_usage(folder).free / 1e9,
        addresses=tuple(own_addresses()),
        model=find_model_here(settings, qwen_installed),
    )


def find_model_here(settings: Settings, qwen_installed: bool) -> ModelHere | None:
    """Without the network, and in the order in which `serve` looks."""
    if is_folder(settings.model):
        return _model_in(Path(settings.model).expanduser())
    if qwen_installed and (cached := cached_snapshot(settings.model)):
        return ModelHere(cached, cached.name)
    folder = downloaded_folder(settings.model, models_folder(settings.prompt_dir))
    return None if missing_files(folder) else _model_in(folder)


def _model_in(folder: Path) -> ModelHere:
    record = read_record(folder)
    return ModelHere(folder, record.revision if record else "")


def run_probe() -> dict[str, Any]:
    """What torch sees, or {"error": ...} where the probe gave no answer."""
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "server.engines.qwen.load.probe"],
            capture_output=True,
            timeout=PROBE_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {PROBE_LIMIT_S:.0f} s"}
    lines = ended.stdout.decode("utf-8", "replace").splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        last = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        return {"error": f"exit code {ended.returncode} {' '.join(last)}"}
    return dict(found)


def is_port_free(host: str, port: int) -> bool:
    try:
        bound_socket(host, port).close()
    except OSError:
        return False
    return True


def judge(loaded: Loaded, machine: Machine) -> list[Finding]:
    settings = loaded.settings
    findings = [Finding(Mark.GOOD, t("Python {version} at {file}", version=machine.python, file=machine.executable))]
    if not machine.in_venv:
        findings.append(
            Finding(
                Mark.NOTE,
                t(
                    "This Python is not in a virtual environment; packages of other programs may be in the way. "
                    "'python scripts/install.py server' makes one."
                ),
            )
        )
    findings += _settings_findings(loaded)
    for check in (check_tls, take_settings):
        try:
            check(settings)
        except SettingsError as error:
            findings.append(Finding(Mark.BAD, with_entry(error)))
    findings += _door_findings(settings, machine)
    try:
        choice = choose_engine(settings, machine.draft_installed)
    except SettingsError as error:
        return [*findings, Finding(Mark.BAD, with_entry(error))]
    findings.append(Finding(Mark.GOOD, t("Engine: {engine} ({reason}).", engine=choice.engine, reason=choice.reason)))
    if choice.engine == "qwen":
        findings += _qwen_findings(settings, machine)
        findings += [_takes_finding(takes) for _, takes in kept_takes(Path(settings.prompt_dir))[:MAX_KEPT]]
    elif not machine.draft_installed:
        findings.append(Finding(Mark.BAD, t("Draft speech is not installed: python scripts/install.py server")))
    return findings


def _settings_findings(loaded: Loaded) -> list[Finding]:
    if loaded.env_file is None:
        return [Finding(Mark.NOTE, t("There is no .env; 'voice-server init' writes one."))]
    return [
        Finding(Mark.GOOD, t("Settings: {file}", file=loaded.env_file)),
        *(Finding(Mark.NOTE, warning) for warning in loaded.warnings),
    ]


def _door_findings(settings: Settings, machine: Machine) -> list[Finding]:
    findings = []
    try:
        check_door(settings)
        findings.append(Finding(Mark.GOOD, t("The key is set.")))
    except SettingsError as error:
        findings.append(Finding(Mark.BAD, with_entry(error)))
    if is_loopback(settings.host):
        findings.append(
            Finding(
                Mark.NOTE,
                t("Only this PC can connect (HOST={host}). For another PC set HOST=0.0.0.0.", host=settings.host),
            )
        )
    elif machine.addresses:
        scheme = "https" if settings.tls_cert else "http"
        url = f"{scheme}://{machine.addresses[0]}:{settings.port}"
        findings.append(
            Finding(Mark.GOOD, t("Other PCs reach this server at {url}, if the firewall lets them in.", url=url))
        )
    if machine.port_free:
        findings.append(Finding(Mark.GOOD, t("Port {port} is free.", port=settings.port)))
    else:
        findings.append(
            Finding(
                Mark.BAD,
                t(
                    "Port {port} is in use, perhaps by a voice-server that runs already. Stop it, or set another PORT.",
                    port=settings.port,
                ),
            )
        )
    return findings


def _qwen_findings(settings: Settings, machine: Machine) -> list[Finding]:
    findings = [_clip_finding(settings)]
    if not settings.ref_text.strip():
        findings.append(Finding(Mark.BAD, t("REF_TEXT is empty: write the exact words of the voice recording.")))
    findings.append(_model_finding(settings, machine))
    if not machine.qwen_installed:
        return [
            *findings,
            Finding(
                Mark.BAD,
                t("The packages of the cloned voice are not installed: 'python scripts/install.py server' does it."),
            ),
        ]
    return findings + _torch_findings(settings, machine.torch)


def _takes_finding(takes: DummyTakes) -> Finding:
    """How well the takes of the dummy sentence match each other: the cut depends on it."""
    lengths = ", ".join(f"{seconds:.1f}" for seconds in takes.seconds)
    percent = round(100 * takes.agreement)
    if takes.agreement < GOOD_AGREEMENT:
        return Finding(
            Mark.NOTE,
            t(
                "The takes of the appended sentence last {lengths} s and match each other only {percent} %: more lines "
                "will be spoken again. A cleaner voice recording helps.",
                lengths=lengths,
                percent=percent,
            ),
        )
    return Finding(
        Mark.GOOD,
        t(
            "The takes of the appended sentence last {lengths} s and match each other {percent} %.",
            lengths=lengths,
            percent=percent,
        ),
    )


def _clip_finding(settings: Settings) -> Finding:
    try:
        clip = prepare_clip(settings.ref_audio)
    except SettingsError as error:
        return Finding(Mark.BAD, with_entry(error))
    return Finding(
        Mark.GOOD,
        t("Voice recording: {file}, {seconds} s", file=settings.ref_audio, seconds=f"{clip.seconds - 0.5:.1f}"),
    )


def _model_finding(settings: Settings, machine: Machine) -> Finding:
    if is_folder(settings.model):
        missing = missing_files(Path(settings.model))
        if missing:
            return Finding(
                Mark.BAD,
                t("The model folder {folder} lacks: {files}", folder=settings.model, files=", ".join(missing)),
            )
        return Finding(Mark.GOOD, _with_revision(t("Model: {model}", model=settings.model), machine.model))
    if machine.model:
        sentence = t(
            "Model: {model}, already downloaded to {folder}", model=settings.model, folder=str(machine.model.folder)
        )
        return Finding(Mark.GOOD, _with_revision(sentence, machine.model))
    if machine.free_disk_gb < ROOM_FOR_MODEL_GB:
        return Finding(
            Mark.NOTE,
            t(
                "Model: {model}. It is not downloaded yet and needs about {needed} GB; this disk has {free} GB free.",
                model=settings.model,
                needed=round(ROOM_FOR_MODEL_GB),
                free=f"{machine.free_disk_gb:.1f}",
            ),
        )
    return Finding(Mark.GOOD, t("Model: {model} (it is downloaded at the first start)", model=settings.model))


def _with_revision(sentence: str, model: ModelHere | None) -> str:
    if model is None or not model.revision:
        return sentence
    return f"{sentence} " + t("(revision {revision})", revision=model.revision)


def _torch_findings(settings: Settings, found: dict[str, Any]) -> list[Finding]:
    if "error" in found:
        return [Finding(Mark.BAD, t("torch cannot be used: {error}", error=found["error"]))]
    build = TorchBuild(found["torch"], found["cuda"])
    cards = [
        CudaCard(c["name"], tuple(c["capability"]), tuple(c["arch_list"]), c["index"], c["memory_bytes"])
        for c in found["cards"]
    ]
    findings = [Finding(Mark.GOOD, t("torch {version}", version=build.version))]
    try:
        wanted = next((card for card in cards if card.index == card_index(settings.device)), None)
        precision = choose_precision(settings.device, settings.dtype, wanted, build)
    except SettingsError as error:
        return [*findings, Finding(Mark.BAD, with_entry(error))]
    findings.append(
        Finding(
            Mark.GOOD,
            t(
                "Device: {device}, {dtype}. {reason}",
                device=precision.device,
                dtype=precision.label,
                reason=precision.reason,
            ),
        )
    )
    if precision.device != "cpu":
        findings += _card_findings(next(c for c in found["cards"] if c["index"] == card_index(settings.device)))
    return findings


def _card_findings(card: dict[str, Any]) -> list[Finding]:
    findings = []
    if not card["works"]:
        findings.append(
            Finding(Mark.BAD, t("The card {name} computes wrongly; update its driver and restart.", name=card["name"]))
        )
    free_gb = card["free_bytes"] / 1e9
    if free_gb < ROOM_ON_CARD_GB:
        findings.append(
            Finding(
                Mark.NOTE,
                t(
                    "{name} has {free} GB of memory free; the 1.7B model wants about {needed} GB. Close games, "
                    "browsers and editors that use the card ('nvidia-smi' lists them).",
                    name=card["name"],
                    free=f"{free_gb:.1f}",
                    needed=round(ROOM_ON_CARD_GB),
                ),
            )
        )
    return findings
