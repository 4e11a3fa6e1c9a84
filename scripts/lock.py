"""Makes the pins in requirements/ from pyproject.toml: python scripts/lock.py [--upgrade]

Without --upgrade a pin stays as long as pyproject.toml allows it. One file serves Linux, Windows and macOS on every
Python that we promise; it names no index and no address, so it installs from a mirror as well.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import environment
from environment import ROOT

UV = "uv==0.13.8"

# The widest profile first: the others take its versions, so that one environment can hold several profiles.
EXTRAS = {
    "test": ("server", "draft", "qwen", "test", "check"),
    "server": ("server", "draft", "qwen"),
    "demo": ("server", "draft"),
    "client": (),
}

# Packages that the pins leave out although something asks for them; `--no-deps` installs the rest without them.
KEPT_OUT = {
    "torch": "has a build per kind of card, each from its own index: scripts/torch_build.py chooses",
    "gradio": "only qwen-tts's own demonstration page imports it",
    "torchaudio": "only qwen-tts's 25 Hz tokenizer uses it, and on Linux its wheel needs CUDA's libraries",
    "sox": "only the 25 Hz tokenizer uses it, and it asks for the SoX program",
    "onnxruntime": "only the 25 Hz tokenizer uses it",
}

# What torch 2.13.0 asks for on every system: torch itself is installed without its dependencies.
TORCH_NEEDS = (
    "filelock",
    "fsspec>=0.8.5",
    "jinja2",
    "networkx>=2.5.1",
    "setuptools>=77.0.3",
    "sympy>=1.13.3",
    "typing-extensions>=4.10.0",
)

PLATFORMS = ("x86_64-pc-windows-msvc", "x86_64-unknown-linux-gnu", "aarch64-apple-darwin")


def extra_inputs(profile: str, build_requires: "list[str]") -> "list[str]":
    """Requirements beside pyproject.toml's: what builds the project itself, and what torch needs."""
    needs = TORCH_NEEDS if "qwen" in EXTRAS[profile] else ()
    return [*build_requires, *needs]


def compile_words(profile: str, inputs: Path, overrides: Path, upgrade: bool) -> "list[str]":
    """The words after `uv` that make one file."""
    words = ["pip", "compile", "pyproject.toml", str(inputs)]
    for extra in EXTRAS[profile]:
        words += ["--extra", extra]
    words += ["--universal", "--python-version", ".".join(map(str, environment.OLDEST)), "--generate-hashes"]
    words += ["--override", str(overrides), "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    for name in KEPT_OUT:
        words += ["--no-emit-package", name]
    if profile != "test":
        words += ["--constraint", "requirements/test.txt"]
    if upgrade:
        words.append("--upgrade")
    words += ["--custom-compile-command", "python scripts/lock.py", "--quiet"]
    return [*words, "--output-file", f"requirements/{profile}.txt"]


def wheel_check_words(profile: str, platform: str, python: str) -> "list[str]":
    """The words after `uv` that fail where a pin has no wheel for this system and Python."""
    words = ["pip", "compile", f"requirements/{profile}.txt", "--no-deps", "--only-binary", ":all:"]
    return [*words, "--python-platform", platform, "--python-version", python, "--quiet", "--no-header"]


def uv_environ(environ: "dict[str, str]") -> "dict[str, str]":
    """uv reads none of pip's settings; its certificates and indexes are carried over.

    Wheel folders are not: a pin must be a file that everybody can fetch.
    """
    pairs = {"PIP_CERT": "SSL_CERT_FILE", "PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX"}
    carried = {uv: environ[pip] for pip, uv in pairs.items() if environ.get(pip)}
    return {**carried, **{name: value for name, value in environ.items() if name != "UV_FIND_LINKS"}}


def main(argv: "list[str]") -> int:
    made = environment.prepare_bare("scripts/lock.py")
    import tomllib  # Python 3.11, which is sure by now

    made.pip(["--quiet", "--only-binary", ":all:", UV], UV)
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        overrides = Path(name) / "overrides.txt"
        overrides.write_text("".join(p + " ; sys_platform == 'never'\n" for p in KEPT_OUT), encoding="ascii")
        for profile in EXTRAS:
            inputs = Path(name) / (profile + ".in")
            inputs.write_text("\n".join(extra_inputs(profile, described["build-system"]["requires"])), encoding="ascii")
            _uv(made, compile_words(profile, inputs, overrides, "--upgrade" in argv))
            print(f"requirements/{profile}.txt", flush=True)
    for profile in EXTRAS:
        for platform in PLATFORMS:
            for minor in range(environment.OLDEST[1], environment.NEWEST[1] + 1):
                _uv(made, wheel_check_words(profile, platform, f"3.{minor}"))
    print("every pin has a wheel for " + ", ".join(PLATFORMS), flush=True)
    return 0


def _uv(made: environment.Environment, words: "list[str]") -> None:
    command = [str(made.program("uv")), *words]
    # What a compile without --output-file prints is the same pins again.
    done = subprocess.run(
        command, cwd=str(ROOT), env=uv_environ(dict(os.environ)), stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        print("failed: uv " + " ".join(words), file=sys.stderr)
        raise SystemExit(environment.FAILED)


if __name__ == "__main__":
    sys.exit(environment.guarded(main, sys.argv[1:]))
