"""Which device and which number format, each with its reason. Pure decisions on plain data: knows no torch.

    card                     talker    code predictor  codec
    Ampere and newer (8.0+)  bfloat16  bfloat16        float32
    Pascal, Volta, Turing    float16   float32         float32
    no card, DEVICE=cpu      float32   float32         float32

The code predictor overflows float16: inf in its attention scores and MLP, then a CUDA assert in the sampler
(QwenLM/Qwen3-TTS #43, vllm-omni #3250 and its fix, PR 3253). The codec's snake activations break in 16 bits
(vllm-omni #1663), and it is small: always float32.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.errors import EngineUnusable, NoGpu, NoGpuCode
from server.terminal.messages import t

MIN_CAPABILITY = (6, 0)
"""Pascal. Older cards have 16-bit storage too, but are untried."""
BF16_CAPABILITY = (8, 0)
"""Ampere, the first generation with bfloat16 in hardware"""
CU126_ONLY_BELOW = (7, 5)
"""Builds for CUDA 12.8 and later dropped what is older than Turing (pytorch #172352)."""
DTYPES = ("auto", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class TorchBuild:
    version: str
    """such as `2.13.0+cu126`"""
    cuda: str | None
    """CUDA version that it was compiled with; None for the CPU build"""


@dataclass(frozen=True)
class CudaCard:
    name: str
    capability: tuple[int, int]
    """(major, minor), (6, 1) for a GTX 1060"""
    arch_list: tuple[str, ...]
    """Architectures that this torch build has kernels for: sm_60, sm_75, compute_90, ..."""
    index: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Precision:
    device: str
    """`cpu`, `cuda:0`, ..."""
    talker: str
    predictor: str
    codec: str
    reason: str
    """In the reader's language: why this device and these formats, with a warning where the user's wish is risky."""

    @property
    def label(self) -> str:
        """`float16 (code predictor and codec float32)`"""
        if self.talker == self.codec:
            return self.talker
        if self.predictor == self.codec:
            return f"{self.talker} (code predictor and codec {self.codec})"
        return f"{self.talker} (codec {self.codec})"


def choose_precision(
    device_wanted: str, dtype_wanted: str, cuda: CudaCard | None, torch_build: TorchBuild | None = None
) -> Precision:
    """device_wanted, dtype_wanted: the settings DEVICE and DTYPE. cuda: the card that DEVICE names, None without one.

    Raises EngineUnusable where the settings do not work on this machine.
    """
    device = device_wanted.strip().casefold() or "auto"
    dtype = dtype_wanted.strip().casefold() or "auto"
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise EngineUnusable(
            t("DEVICE={value} is not known. Choose auto, cpu, cuda or cuda:0.", value=device_wanted),
        )
    if dtype not in DTYPES:
        raise EngineUnusable(
            t("DTYPE={value} is not known. Choose one of: {choices}.", value=dtype_wanted, choices=", ".join(DTYPES)),
        )
    if device == "cpu":
        return _on_cpu(dtype)
    if cuda is None:
        raise NoGpu(_no_card(torch_build))
    _refuse_unsupported(cuda)
    return _on_card(dtype, cuda)


def card_index(device_wanted: str) -> int:
    """`cuda:1` to 1; 0 where no number is given."""
    match = re.fullmatch(r"cuda:(\d+)", device_wanted.strip().casefold())
    return int(match.group(1)) if match else 0


def kernels_run_on(arch_list: tuple[str, ...], capability: tuple[int, int]) -> bool:
    """Whether a torch build compiled for these architectures has code that runs on a card of this capability.

    Machine code (sm_) runs on cards of the same major version and the same or a later minor version. PTX (compute_)
    runs on the same and all later cards. A letter at the end (sm_90a) restricts the code to exactly that capability.
    """
    for arch in arch_list:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
        if not match:
            continue
        kind, major, minor, exact = match.group(1), int(match.group(2)), int(match.group(3)), match.group(4)
        if (major, minor) == capability:
            return True
        if exact:
            continue
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:
            return True
    return False


def _on_cpu(dtype: str) -> Precision:
    if dtype in ("auto", "float32"):
        return Precision("cpu", "float32", "float32", "float32", t("DEVICE=cpu: float32, far slower than real time."))
    predictor = "float32" if dtype == "float16" else dtype
    return Precision(
        "cpu",
        dtype,
        predictor,
        "float32",
        t("DTYPE={dtype} as asked; warning: slower than float32 on most CPUs.", dtype=dtype),
    )


def _on_card(dtype: str, card: CudaCard) -> Precision:
    device, has_bf16 = f"cuda:{card.index}", card.capability >= BF16_CAPABILITY
    where = f"{_ascii(card.name)} (compute capability {_dotted(card.capability)})"
    if dtype == "bfloat16" and not has_bf16:
        raise EngineUnusable(
            t(
                "DTYPE=bfloat16 does not work on {card}: bfloat16 needs compute capability 8.0 (RTX 30 series) or "
                "newer. Set DTYPE=auto, which takes float16 here.",
                card=where,
            )
        )
    if dtype == "float32":
        return Precision(
            device,
            "float32",
            "float32",
            "float32",
            t("{card}: DTYPE=float32 as asked; warning: twice the GPU memory.", card=where),
        )
    if dtype == "float16" and has_bf16:
        return Precision(
            device,
            "float16",
            "float32",
            "float32",
            t(
                "{card}: DTYPE=float16 as asked; warning: bfloat16 is faster here and cannot overflow, and the code "
                "predictor runs in float32 because it overflows float16.",
                card=where,
            ),
        )
    if has_bf16:
        return Precision(
            device,
            "bfloat16",
            "bfloat16",
            "float32",
            t("{card} has bfloat16; the codec breaks in 16 bits, so it runs in float32.", card=where),
        )
    return Precision(
        device,
        "float16",
        "float32",
        "float32",
        t(
            "{card} has no bfloat16; the code predictor overflows float16 and the codec breaks in 16 bits, so both "
            "run in float32.",
            card=where,
        ),
    )


def _no_card(build: TorchBuild | None) -> str:
    if build is not None and build.cuda is None:
        return t(
            "No GPU can be used: torch {version} on this machine is the CPU build (Torch not compiled with CUDA "
            "enabled). 'python scripts/install.py server' installs the CUDA build (docs/en/your-voice.md, step 4). "
            "DEVICE=cpu speaks slowly on the CPU.",
            version=build.version,
        )
    return t(
        "No GPU was found by torch {version}. See whether nvidia-smi lists the card and update its driver, or set "
        "DEVICE=cpu to speak slowly on the CPU.",
        version=build.version if build is not None else "?",
    )


def _refuse_unsupported(card: CudaCard) -> None:
    name, capability = _ascii(card.name), _dotted(card.capability)
    if card.capability < MIN_CAPABILITY:
        raise EngineUnusable(
            t(
                "The GPU {card} (compute capability {capability}) is too old: this server needs 6.0 (GTX 10 series) or "
                "newer, also with the cu126 build of torch, the last one for old cards. Set DEVICE=cpu to speak "
                "slowly on the CPU.",
                card=name,
                capability=capability,
            )
        )
    if kernels_run_on(card.arch_list, card.capability):
        return
    if card.capability < CU126_ONLY_BELOW:
        raise NoGpuCode(
            t(
                "This build of torch has no code for the GPU {card} (compute capability {capability}); it has {archs}. "
                "Only the cu126 build of torch below 2.15 runs on it: 'python scripts/install.py server' installs it "
                "(docs/en/your-voice.md, step 4).",
                card=name,
                capability=capability,
                archs=", ".join(card.arch_list),
            )
        )
    raise NoGpuCode(
        t(
            "This build of torch has no code for the GPU {card} (compute capability {capability}); it has {archs}. The "
            "card is newer than the build (cu126 ends at 9.0): 'python scripts/install.py server' installs the cu130 "
            "build (docs/en/your-voice.md, step 4).",
            card=name,
            capability=capability,
            archs=", ".join(card.arch_list),
        )
    )


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _ascii(name: str) -> str:
    return name.encode("ascii", "replace").decode()
