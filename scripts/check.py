"""Looks the code over without running it: python scripts/check.py

ruff's rules, ruff's formatting, mypy --strict on server/ and client/; all three run, whatever the first says.
"""

import subprocess
import sys

import environment
import torch_build

CHECKS = (
    ["-m", "ruff", "check", "."],
    ["-m", "ruff", "format", "--check", "."],
    ["-m", "mypy", "--strict", "server", "client"],
)


def main(argv: "list[str]") -> int:
    # The environment of the tests, torch too: mypy reads the types of the installed packages.
    made = environment.prepare("test", "scripts/check.py", torch_build.install_for_tests)
    failed = []
    for words in CHECKS:
        print("$ python " + " ".join(words), flush=True)
        command = [str(made.program("python")), *words]
        if subprocess.run(command, cwd=str(environment.ROOT), check=False).returncode:
            failed.append(" ".join(words[1:]))
    print("failed: " + ", ".join(failed) if failed else "all checks passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(environment.guarded(main, sys.argv[1:]))
