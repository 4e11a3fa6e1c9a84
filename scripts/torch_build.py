"""Which build of PyTorch this machine gets, and why. Installs nothing itself.

torch stays out of requirements/: one version has a build per kind of card, each from an index of its own.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from environment import SENTENCES as SETUP_SENTENCES
from environment import Environment, Sentence, say, sentence

VERSION = "2.13.0"
INDEX = "https://download.pytorch.org/whl/"

# The code that each build carries, as compute capabilities (pytorch #172352). A build for 6.0 also runs on 6.1.
CUDA_126 = ((5, 0), (9, 0))
CUDA_130_FROM = (10, 0)
# The oldest drivers that can run each line of CUDA: 525 for 12.x, 580 for 13.x.
MIN_DRIVER = {"cu126": 525, "cu130": 580}

SENTENCES = {
    "cu126": (
        "{card}(연산 능력 {capability})에는 CUDA 12.6용 빌드가 맞습니다. "
        "GTX 1060 같은 이전 카드도 지원하는 마지막 빌드입니다.",
        "{card} (compute capability {capability}) gets the build for CUDA 12.6, "
        "the last one that also serves older cards such as the GTX 1060.",
    ),
    "cu130": (
        "{card}(연산 능력 {capability})에는 CUDA 13.0용 빌드가 필요합니다. CUDA 12.6용에는 이 카드의 코드가 없습니다.",
        "{card} (compute capability {capability}) needs the build for CUDA 13.0; "
        "that for CUDA 12.6 has no code for it.",
    ),
    "unknown_card": (
        "{card}의 연산 능력을 드라이버가 알려 주지 않아 CUDA 12.6용 빌드를 설치합니다(연산 능력 5.0-9.0). "
        "RTX 50 시리즈라면 NVIDIA 드라이버를 업데이트하고 다시 실행하세요.",
        "The driver does not tell the compute capability of {card}, so it gets the build for CUDA 12.6 "
        "(capabilities 5.0 to 9.0). If it is an RTX 50 card, update the NVIDIA driver and run this again.",
    ),
    "too_old": (
        "{card}(연산 능력 {capability})을 지원하는 빌드가 없습니다(5.0 이상 필요). "
        "CPU용을 설치합니다. .env에 DEVICE=cpu가 필요하고 매우 느립니다.",
        "No build supports {card} (compute capability {capability}; 5.0 or more is needed). "
        "The CPU build is installed; put DEVICE=cpu into .env, and expect it to be very slow.",
    ),
    "no_card": (
        "NVIDIA 카드를 찾지 못해(nvidia-smi 응답 없음) CPU용을 설치합니다. .env에 DEVICE=cpu가 필요하고 매우 느립니다. "
        "카드가 있다면 NVIDIA 드라이버를 설치하고 다시 실행하세요.",
        "No NVIDIA card was found (nvidia-smi gave none), so the CPU build is installed; put DEVICE=cpu into .env, "
        "and expect it to be very slow. If there is a card, install the NVIDIA driver and run this again.",
    ),
    "mac": (
        "macOS용 빌드는 하나뿐입니다. .env에 DEVICE=cpu가 필요합니다.",
        "macOS has one build only; put DEVICE=cpu into .env.",
    ),
    "wheel_folder": (
        "PyTorch는 pip 설정의 wheel 폴더에 있는 CPU용을 씁니다.",
        "PyTorch: the CPU build from the wheel folder of pip's settings.",
    ),
    "cpu_index": ("PyTorch는 CPU용을 씁니다.", "PyTorch: the CPU build."),
    "old_driver": (
        "NVIDIA 드라이버 {driver}은 너무 오래되었습니다({needed} 이상 필요). 먼저 드라이버를 업데이트하세요. "
        "GTX 10 시리즈는 580번대가 마지막입니다.",
        "The NVIDIA driver {driver} is too old ({needed} or newer is needed); update it first. "
        "For GTX 10 cards the last line is 580.",
    ),
}


class Card(NamedTuple):
    """One NVIDIA card as nvidia-smi tells it."""

    name: str
    capability: "tuple[int, int] | None"
    driver: str


class TorchChoice(NamedTuple):
    spec: str
    index_url: "str | None"
    """None: the index that pip uses anyway."""
    only_wheel_folders: bool
    with_dependencies: bool
    """CUDA builds for Linux bring NVIDIA's libraries as packages; all else that torch needs is among the pins."""
    reason: Sentence


# What is decided, on plain data


def parse_cards(output: str) -> "list[Card]":
    """The cards in nvidia-smi's answer to compute_cap,name,driver_version as csv,noheader; other lines are skipped.

    Names may hold commas, so the outer fields are taken from the ends. A driver that cannot tell one of them writes
    "[N/A]" or "[Not Supported]" in its place.
    """
    cards = []
    for line in output.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) < 3 or not re.fullmatch(r"\d+\.\d+|\[.*\]", fields[0]):
            continue
        told = re.fullmatch(r"(\d+)\.(\d+)", fields[0])
        capability = (int(told.group(1)), int(told.group(2))) if told else None
        driver = fields[-1] if re.match(r"\d", fields[-1]) else ""
        cards.append(Card(", ".join(fields[1:-1]), capability, driver))
    return cards


def parse_names(output: str) -> "list[Card]":
    """The cards in the older question `--query-gpu=name,driver_version`, for drivers that know no compute_cap."""
    pairs = [line.rsplit(",", 1) for line in output.splitlines() if re.search(r",\s*\d+(\.\d+)+\s*$", line)]
    return [Card(name.strip(), None, driver.strip()) for name, driver in pairs]


def pick_card(cards: "list[Card]") -> "Card | None":
    """The most capable one: CUDA counts the fastest card as cuda:0, which is the one that the server takes."""
    return max(cards, key=lambda card: card.capability or (0, 0)) if cards else None


def choose_cpu(system: str, in_wheel_folders: bool, reason: "Sentence | None" = None) -> TorchChoice:
    """The build without CUDA."""
    if in_wheel_folders:
        why = reason or sentence(SENTENCES, "wheel_folder")
        return TorchChoice(f"torch=={VERSION}+cpu", None, True, False, why)
    why = reason or sentence(SENTENCES, "cpu_index")
    if system == "linux":
        # The default index's build for Linux is the CUDA one: gigabytes.
        return TorchChoice(f"torch=={VERSION}+cpu", INDEX + "cpu", False, False, why)
    # For Windows and macOS the default index has the CPU build.
    return TorchChoice("torch==" + VERSION, None, False, False, why)


def choose_torch(system: str, card: "Card | None", in_wheel_folders: bool = False) -> TorchChoice:
    """The build for a machine that is to speak with this card, or without one."""
    if system == "darwin":
        return choose_cpu(system, in_wheel_folders, sentence(SENTENCES, "mac"))
    if card is None:
        return choose_cpu(system, in_wheel_folders, sentence(SENTENCES, "no_card"))
    if card.capability is None:
        return _cuda("cu126", sentence(SENTENCES, "unknown_card", card=card.name))
    shown = "{}.{}".format(*card.capability)
    if card.capability < CUDA_126[0]:
        reason = sentence(SENTENCES, "too_old", card=card.name, capability=shown)
        return choose_cpu(system, in_wheel_folders, reason)
    build = "cu130" if card.capability >= CUDA_130_FROM else "cu126"
    return _cuda(build, sentence(SENTENCES, build, card=card.name, capability=shown))


def _cuda(build: str, reason: Sentence) -> TorchChoice:
    return TorchChoice(f"torch=={VERSION}+{build}", INDEX + build, False, True, reason)


def driver_problem(choice: TorchChoice, driver: str) -> "Sentence | None":
    """What to say of a driver that is too old for the chosen build."""
    needed = MIN_DRIVER.get(choice.spec.partition("+")[2])
    major = driver.split(".")[0]
    if needed is None or not major.isdigit() or int(major) >= needed:
        return None
    return sentence(SENTENCES, "old_driver", driver=driver, needed=needed)


def pip_words(choice: TorchChoice) -> "list[str]":
    words = [choice.spec, "--only-binary", ":all:"]
    if choice.only_wheel_folders:
        words.append("--no-index")
    if choice.index_url:
        words += ["--index-url", choice.index_url]
    if not choice.with_dependencies:
        words.append("--no-deps")
    return words


def satisfies(installed: "str | None", spec: str) -> bool:
    """A spec with a build (+cu126) wants that one; a spec without takes any build, as pip does."""
    wanted = spec.partition("==")[2]
    return installed is not None and (installed if "+" in wanted else installed.partition("+")[0]) == wanted


# What is done


def installed_version(packages: Path) -> "str | None":
    """torch's version by the name of its metadata folder: importing it takes seconds."""
    found = sorted(packages.glob("torch-*.dist-info"))
    return found[0].name[len("torch-") : -len(".dist-info")] if found else None


def find_cards() -> "list[Card]":
    """Every NVIDIA card; none where nvidia-smi is missing or fails."""
    cards = parse_cards(_ask_nvidia_smi("compute_cap,name,driver_version"))
    return cards or parse_names(_ask_nvidia_smi("name,driver_version"))


def _ask_nvidia_smi(fields: str) -> str:
    # Old Windows drivers keep it where PATH does not look.
    old_place = Path(os.environ.get("PROGRAMFILES", "")) / "NVIDIA Corporation" / "NVSMI" / "nvidia-smi.exe"
    program = shutil.which("nvidia-smi") or str(old_place)
    command = [program, "--query-gpu=" + fields, "--format=csv,noheader"]
    try:
        # A driver in a bad state can make it hang.
        answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.decode("utf-8", "replace") if answer.returncode == 0 else ""


def in_wheel_folders(environment: Environment) -> bool:
    """Whether a folder of wheels in pip's own settings (find-links) holds the CPU build for this Python."""
    return environment.pip_would_find(["--no-index", "--no-deps", f"torch=={VERSION}+cpu"])


def install(environment: Environment, choice: TorchChoice, quiet: bool) -> None:
    if satisfies(installed_version(environment.packages()), choice.spec):
        return
    say(sentence(SETUP_SENTENCES, "installing_torch", spec=choice.spec))
    with environment.busy():
        environment.pip([*(["--quiet"] if quiet else []), *pip_words(choice)], choice.spec)


def install_for_tests(environment: Environment) -> None:
    # Any build serves: a GPU PC's own CUDA build must not be replaced because somebody ran the tests.
    if not satisfies(installed_version(environment.packages()), "torch==" + VERSION):
        choice = choose_cpu(sys.platform, in_wheel_folders(environment))
        say(choice.reason)
        install(environment, choice, quiet=not sys.stdout.isatty())
