"""Runs the tests, the real qwen-tts on PyTorch's CPU build included: python scripts/test.py [options of pytest]

Makes the virtual environment first (see environment.py). Without options the tests are spread over a few processes.
"""

import os
import sys

import environment
import torch_build

# Each process loads a tiny model of its own and starts its own servers.
MAX_WORKERS = 4


def pytest_words(argv: "list[str]", cores: int) -> "list[str]":
    """What the person gave, else all tests on every core.

    The tests of a file stay together, and so do their servers; files begin in the order of tests/conftest.py.
    """
    return argv or ["-n", str(max(1, min(MAX_WORKERS, cores))), "--dist", "loadfile", "--no-loadscope-reorder"]


def added_variables(environ: "dict[str, str]") -> "dict[str, str]":
    """Tiny models are slower on many threads, and no test may fetch a model; what the person set stays."""
    wanted = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return {name: value for name, value in wanted.items() if name not in environ}


def main(argv: "list[str]") -> int:
    made = environment.prepare("test", "scripts/test.py", torch_build.install_for_tests)
    words = ["-m", "pytest", *pytest_words(argv, os.cpu_count() or 1)]
    return environment.hand_over(made, words, added_variables(dict(os.environ)))


if __name__ == "__main__":
    sys.exit(environment.guarded(main, sys.argv[1:]))
