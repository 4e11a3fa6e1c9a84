"""Speaks the two sample scripts with the draft engine: python scripts/demo.py [options of client.demo]

Makes the virtual environment first (see environment.py); PyTorch and a graphics card are not needed.
"""

import sys

import environment


def main(argv: "list[str]") -> int:
    made = environment.prepare("demo", "scripts/demo.py")
    return environment.hand_over(made, ["-m", "client.demo", *argv], {})


if __name__ == "__main__":
    sys.exit(environment.guarded(main, sys.argv[1:]))
