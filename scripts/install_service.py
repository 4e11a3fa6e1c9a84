"""Starts the server with the PC: python scripts/install_service.py install | remove | show   [--at boot | logon]

Windows: a task of the Task Scheduler, at logon (or at boot, which needs an administrator). Linux: a unit of systemd, at
boot. `show` prints what would be installed. What goes into it is decided by pure functions here; service_windows.ps1
and systemctl only carry it out.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path, PurePath
from typing import NamedTuple
from xml.etree import ElementTree

import environment
from environment import ROOT, SetupProblem, say, sentence

NAME = "overnight-narrator"
UNIT_TEMPLATE = ROOT / "scripts" / (NAME + ".service")
UNIT_FOLDER = Path("/etc/systemd/system")
WINDOWS_SCRIPT = ROOT / "scripts" / "service_windows.ps1"
TASK_SCHEMA = "http://schemas.microsoft.com/windows/2004/02/mit/task"

SENTENCES = {
    "usage": (
        "이렇게 입력하세요: python scripts/install_service.py install (또는 remove, show). 입력한 것: {seen}",
        "Type: python scripts/install_service.py install (or remove, or show). You typed: {seen}",
    ),
    "no_server": (
        "{program} 파일이 없습니다. 먼저 서버를 설치하세요: python scripts/install.py server",
        "There is no {program}. Install the server first: python scripts/install.py server",
    ),
    "no_settings": (
        "{file} 파일이 없습니다. 먼저 만드세요: {command}",
        "There is no {file}. Make it first: {command}",
    ),
    "no_manager": (
        "이 시스템({system})에서는 자동 시작을 설치할 수 없습니다. 이 명령을 시작 프로그램에 직접 넣으세요: {command}",
        "On this system ({system}) nothing can be installed that starts the server. Put this command into whatever "
        "starts your programs: {command}",
    ),
    "needs_root": (
        "관리자 권한이 필요합니다. 이렇게 입력하세요: {command}",
        "This needs the administrator's rights. Type: {command}",
    ),
    "failed": (
        "설치하지 못했습니다 (종료 코드 {code}, 이유는 위에 있습니다). "
        "부팅 때 시작하게 하려면 관리자 창에서 다시 해 보세요.",
        "It could not be done (exit code {code}; the reason is above). To start at boot, try again in a window of the "
        "administrator.",
    ),
    "installed": (
        "설치했습니다. 이제 서버는 PC와 함께 시작됩니다. 없애려면: {remove}",
        "Installed: the server now starts with the PC. To remove it: {remove}",
    ),
    "removed": ("없앴습니다.", "Removed."),
}


class Service(NamedTuple):
    """What is to run, as whom and where."""

    program: PurePath
    """voice-server of the virtual environment, by its absolute path: nothing has to be activated"""
    folder: PurePath
    """Where .env lies"""
    user: str
    at_boot: bool


# What is decided, on plain data


def task_xml(service: Service) -> str:
    """The task for Windows' Task Scheduler, without the limits that a new task has by default.

    By these limits Windows ends a task after three days, on battery, or when the PC is no longer idle. RestartOnFailure
    alone is not enough: to the scheduler a program that ends with an error has still ended. So the task is also begun
    every five minutes, and that start is ignored while the task runs.
    """
    task = ElementTree.Element("Task", {"version": "1.2", "xmlns": TASK_SCHEMA})
    _add(task, "RegistrationInfo", {"Description": "overnight-narrator: speech in a cloned voice"})
    triggers = _add(task, "Triggers", {})
    again = _add(triggers, "TimeTrigger", {"Enabled": "true", "StartBoundary": "2024-01-01T00:00:00"})
    _add(again, "Repetition", {"Interval": "PT5M", "StopAtDurationEnd": "false"})
    if service.at_boot:
        _add(triggers, "BootTrigger", {"Enabled": "true"})
    else:
        _add(triggers, "LogonTrigger", {"Enabled": "true", "UserId": service.user})
    principal = _add(_add(task, "Principals", {}), "Principal", {"UserId": service.user})
    principal.set("id", "Author")
    # S4U: as this user, with nobody logged on and no password kept.
    _add(principal, "LogonType", "S4U" if service.at_boot else "InteractiveToken")
    _add(principal, "RunLevel", "LeastPrivilege")
    settings = _add(
        task,
        "Settings",
        {
            "MultipleInstancesPolicy": "IgnoreNew",
            "DisallowStartIfOnBatteries": "false",
            "StopIfGoingOnBatteries": "false",
            "AllowHardTerminate": "true",
            "StartWhenAvailable": "true",
            "RunOnlyIfNetworkAvailable": "false",
            "AllowStartOnDemand": "true",
            "Enabled": "true",
            "Hidden": "false",
            "RunOnlyIfIdle": "false",
            "WakeToRun": "false",
            "ExecutionTimeLimit": "PT0S",  # none
            "Priority": "5",  # 7, the default, is below normal, and its disk access too
        },
    )
    _add(settings, "IdleSettings", {"StopOnIdleEnd": "false", "RestartOnIdle": "false"})
    _add(settings, "RestartOnFailure", {"Interval": "PT1M", "Count": "10"})
    actions = _add(task, "Actions", {})
    actions.set("Context", "Author")
    command = {"Command": str(service.program), "Arguments": "serve", "WorkingDirectory": str(service.folder)}
    _add(actions, "Exec", command)
    return '<?xml version="1.0" encoding="UTF-16"?>\n' + ElementTree.tostring(task, encoding="unicode")


def _add(parent: ElementTree.Element, name: str, content: "str | dict[str, str]") -> ElementTree.Element:
    """A child with a text, or with children that have one."""
    child = ElementTree.SubElement(parent, name)
    if isinstance(content, str):
        child.text = content
    else:
        for key, text in content.items():
            _add(child, key, text)
    return child


def windows_command(action: str, xml: str) -> "list[str]":
    """The words that start service_windows.ps1, whatever scripts this user may otherwise run."""
    words = ["powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass"]
    words += ["-File", str(WINDOWS_SCRIPT), "-Action", action, "-Name", NAME]
    return words + (["-Xml", xml] if xml else [])


def unit_text(template: str, service: Service) -> str:
    """The unit for systemd."""
    places = {
        "@user@": service.user,
        "@folder@": unit_path(service.folder),
        "@program@": unit_word(str(service.program)),
    }
    for place, value in places.items():
        template = template.replace(place, value)
    return template


def unit_path(folder: PurePath) -> str:
    """A path as the whole value of a setting: spaces are allowed, and quotes would be taken for a part of the path."""
    return str(folder).replace("%", "%%")


def unit_word(word: str) -> str:
    """The program of a command line in a unit. systemd itself refuses quotation marks in its path."""
    return '"' + word.replace("%", "%%") + '"'


def parse_words(argv: "list[str]") -> "tuple[str, bool] | None":
    """(action, at boot), or None for words that mean nothing here."""
    if not argv or argv[0] not in ("install", "remove", "show"):
        return None
    rest = argv[1:]
    if rest in ([], ["--at", "logon"], ["--at", "boot"]):
        return argv[0], rest[-1:] == ["boot"]
    return None


def user_of(environ: "dict[str, str]", system: str) -> str:
    """Who the server runs as: the person who types, also behind sudo."""
    if system == "win32":
        domain, name = environ.get("USERDOMAIN", ""), environ.get("USERNAME", "")
        return domain + "\\" + name if domain else name
    return environ.get("SUDO_USER") or environ.get("USER") or environ.get("LOGNAME") or "root"


# What is done


def install_task(action: str, service: Service) -> int:
    with tempfile.TemporaryDirectory() as name:
        xml = Path(name) / "task.xml"
        if action == "install":
            xml.write_text(task_xml(service), encoding="utf-16")
        command = windows_command(action, str(xml) if action == "install" else "")
        return subprocess.run(command, check=False).returncode


def install_unit(action: str, service: Service) -> int:
    unit = UNIT_FOLDER / (NAME + ".service")
    if action == "install":
        unit.write_text(unit_text(UNIT_TEMPLATE.read_text(encoding="utf-8"), service), encoding="utf-8")
        commands = [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", unit.name]]
    else:
        commands = [["systemctl", "disable", "--now", unit.name]]
    for command in commands:
        code = subprocess.run(command, check=False).returncode
        if code:
            return code
    if action == "remove":
        unit.unlink()
        return subprocess.run(["systemctl", "daemon-reload"], check=False).returncode
    return 0


def main(argv: "list[str]") -> int:
    parsed = parse_words(argv)
    if parsed is None:
        raise SetupProblem(sentence(SENTENCES, "usage", seen=" ".join(argv) or "-"), environment.CANNOT_START)
    action, at_boot = parsed
    folder = environment.environment_folder()
    program = Path(environment.program_path(folder, "voice-server", sys.platform))
    service = Service(program, ROOT, user_of(dict(os.environ), sys.platform), at_boot)
    windows = sys.platform == "win32"
    if action == "show":
        print(task_xml(service) if windows else unit_text(UNIT_TEMPLATE.read_text(encoding="utf-8"), service))
        return 0
    serve = environment.command_line(program, ["serve"], sys.platform)
    if not windows and not (sys.platform.startswith("linux") and Path("/run/systemd/system").is_dir()):
        raise SetupProblem(sentence(SENTENCES, "no_manager", system=sys.platform, command=serve), environment.FAILED)
    if action == "install":
        _require_a_server(program)
    if not windows and os.geteuid() != 0:
        command = " ".join(["sudo", "python3", "scripts/install_service.py", *argv])
        raise SetupProblem(sentence(SENTENCES, "needs_root", command=command), environment.FAILED)
    code = install_task(action, service) if windows else install_unit(action, service)
    if code:
        raise SetupProblem(sentence(SENTENCES, "failed", code=code), environment.FAILED)
    if action == "install":
        say(sentence(SENTENCES, "installed", remove="python scripts/install_service.py remove"))
    else:
        say(sentence(SENTENCES, "removed"))
    return 0


def _require_a_server(program: Path) -> None:
    if not program.is_file():
        raise SetupProblem(sentence(SENTENCES, "no_server", program=program), environment.FAILED)
    if not (ROOT / ".env").is_file():
        init = environment.command_line(program, ["init"], sys.platform)
        raise SetupProblem(sentence(SENTENCES, "no_settings", file=ROOT / ".env", command=init), environment.FAILED)


if __name__ == "__main__":
    sys.exit(environment.guarded(main, sys.argv[1:]))
