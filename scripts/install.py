"""Installs what one PC needs: python scripts/install.py server (the PC with the card) | client (the narrator's PC)

Makes the virtual environment first (see environment.py) and says at the end what to type next, in full, so that nobody
has to activate anything.
"""

import sys
from pathlib import PurePath

import environment
import torch_build
from environment import Sentence, SetupProblem, say, sentence

SENTENCES = {
    "usage": (
        "무엇을 설치할지 적어 주세요: {server} (그래픽 카드가 있는 PC) 또는 {client} (대본을 쓰는 PC). "
        "입력한 것: {seen}",
        "Say what to install: {server} (the PC with the card) or {client} (the PC with the scripts). You typed: {seen}",
    ),
    "size": (
        "PyTorch까지 몇 GB를 내려받습니다. 디스크에 10 GB쯤 비워 두세요. 중간에 멈추면 같은 명령을 다시 입력하세요.",
        "With PyTorch this downloads a few GB; keep about 10 GB of the disk free. "
        "If it stops midway, type the same command again.",
    ),
    "next_server": (
        "설치를 마쳤습니다. 다음 명령을 입력하세요 (키와 내 목소리 설정): {init}\n"
        "그다음 점검: {doctor}\n그다음 서버 시작: {serve}",
        "Installed. Type this next (it makes the key and asks for your voice): {init}\n"
        "Then, to see what this PC can do: {doctor}\nThen, to start the server: {serve}",
    ),
    "next_client": (
        "설치를 마쳤습니다. 서버 주소와 키를 .env에 적은 뒤 이렇게 입력하세요: {run}",
        "Installed. Put the server's address and key into .env, then type: {run}",
    ),
}


def next_steps(profile: str, folder: PurePath, system: str) -> Sentence:
    """What to type after installing, with full paths."""

    def typed(name: str, *words: str) -> str:
        program = environment.program_path(folder, name, system)
        return environment.command_line(program, list(words), system)

    if profile == "server":
        places = {word: typed("voice-server", word) for word in ("init", "doctor", "serve")}
        return sentence(SENTENCES, "next_server", **places)
    return sentence(SENTENCES, "next_client", run=typed("narrate", "run", "script.txt", "--project", "NAME"))


def install_torch(made: environment.Environment) -> None:
    card = torch_build.pick_card(torch_build.find_cards())
    choice = torch_build.choose_torch(sys.platform, card)
    if not choice.with_dependencies and torch_build.in_wheel_folders(made):
        choice = torch_build.choose_torch(sys.platform, card, in_wheel_folders=True)
    say(choice.reason)
    driver = torch_build.driver_problem(choice, card.driver if card else "")
    if driver:
        say(driver)
    torch_build.install(made, choice, quiet=False)


def main(argv: "list[str]") -> int:
    if len(argv) != 1 or argv[0] not in ("server", "client"):
        usage = sentence(
            SENTENCES,
            "usage",
            server="python scripts/install.py server",
            client="python scripts/install.py client",
            seen=" ".join(argv) or "-",
        )
        raise SetupProblem(usage, environment.CANNOT_START)
    profile = argv[0]
    if profile == "server":
        say(sentence(SENTENCES, "size"))
    made = environment.prepare(profile, "scripts/install.py " + profile, install_torch if profile == "server" else None)
    say(next_steps(profile, made.folder, sys.platform))
    return 0


if __name__ == "__main__":
    sys.exit(environment.guarded(main, sys.argv[1:]))
