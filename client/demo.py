"""The demo: draft speech from a server on this PC, two sample scripts to two folders. Called by scripts/demo.py."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from client.cli import KNOWN_ERRORS
from client.commands.run import run_script
from client.run.night import Invocation
from client.run.options import RunOptions
from client.settings import ClientSettings, load_client_settings
from client.voice_server.local import died_sentence, local_server, wait_until_listening
from server.places import PROJECT_ROOT
from server.terminal.console import complain, prepare, say
from server.terminal.exit_codes import ExitCode
from server.terminal.messages import t

SAMPLES = (("sample_ko.txt", "데모_한국어"), ("sample_en.md", "demo_english"))


def main() -> int:
    """Exit code of the first sample that failed, else 0."""
    argv = sys.argv[1:]
    prepare(argv)
    settings = load_client_settings(os.environ, PROJECT_ROOT)
    say(t("This demo speaks DRAFT: a robot voice without a model, to show how everything works together."))
    with tempfile.TemporaryDirectory() as logs:
        log = Path(logs) / "server.log"
        with local_server(log, engine="draft") as server:
            wait_until_listening(server, log)
            say(t("A server with a fresh key has been started on this PC: {address}", address=server.address))
            own = ClientSettings(server.address, server.key, settings.output)
            for name, project in SAMPLES:
                say("\n" + t("Narrating the sample {script}", script=name))
                code = run_script(
                    own,
                    RunOptions(script=PROJECT_ROOT / "samples" / name, project=project, draft=True, wait_hours=1 / 60),
                    Invocation("python scripts/demo.py"),
                    lambda: died_sentence(server, log),
                )
                if code != ExitCode.OK:
                    return code
    say("\n" + t("The server has been stopped. Listen to the WAV files, or drag a folder into your video editor."))
    say_next()
    return ExitCode.OK


def say_next() -> None:
    program = Path(sys.executable).with_name("narrate")
    say(t("Your own script in this draft voice:"))
    say(f"  {program} run SCRIPT.txt --local --draft")
    say(t("Your own voice needs a PC with an NVIDIA card. There:"))
    say("  python scripts/install.py server")
    say(
        t(
            "Then 'voice-server init', 'voice-server doctor' and 'voice-server serve'; docs/en/your-voice.md has every "
            "step."
        )
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KNOWN_ERRORS as error:
        complain(str(error))
        sys.exit(1)
