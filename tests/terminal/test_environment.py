"""The set-up scripts: what they decide, what the pins hold, and one real environment made in a broken folder."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import os
import re
import string
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import ModuleType
from typing import Any

import psutil
import pytest
from clock import output_of, wait_until
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
PROFILES = ("client", "demo", "server", "test")
PYTHONS = ((3, 11), (3, 12), (3, 13))


def load_script(name: str) -> ModuleType:
    """By its path: scripts/test.py must not become the module `test` for everybody else."""
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(SCRIPTS))
environment = importlib.import_module("environment")
torch_build = importlib.import_module("torch_build")
install, lock, run_tests = load_script("install"), load_script("lock"), load_script("test")
sys.path.remove(str(SCRIPTS))


# Any Python gets as far as its sentence


STARTED_BY_PEOPLE = ("environment", "torch_build", "demo", "test", "check", "install", "lock")


@pytest.mark.parametrize("name", STARTED_BY_PEOPLE)
def test_a_script_that_makes_the_environment_is_readable_by_python_3_6(name: str) -> None:
    source = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.ImportFrom) or node.module != "__future__", "3.6 has no annotations there"
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        # `list[str]` and `int | None` are evaluated where they stand, and fail before 3.9 and 3.10.
        assert not isinstance(annotation, ast.Subscript | ast.BinOp), f"line {node.lineno}: quote this annotation"


@pytest.mark.parametrize("version", [(3, 6, 15), (3, 10, 13), (3, 14, 0), (4, 0, 0)])
def test_another_python_gets_one_sentence_with_its_own_number_and_what_to_type(version: tuple[int, int, int]) -> None:
    said = environment.python_problem(version, True, "/usr/bin/python", "linux", "scripts/demo.py")
    for text in said:
        assert ".".join(map(str, version)) in text
        assert "3.11, 3.12" in text
        assert text.endswith("python3.12 scripts/demo.py")


@pytest.mark.parametrize("minor", [11, 12, 13])
def test_the_promised_pythons_are_accepted(minor: int) -> None:
    assert environment.python_problem((3, minor, 0), True, "python", "linux", "scripts/demo.py") is None


def test_on_windows_the_sentence_names_the_launcher() -> None:
    said = environment.python_problem((3, 10, 0), True, "python.exe", "win32", "scripts/demo.py")
    assert said.korean.endswith("py -3.12 scripts/demo.py")


def test_a_32_bit_python_is_told_apart() -> None:
    assert "64-bit" in environment.python_problem((3, 12, 0), False, "python.exe", "win32", "scripts/demo.py").english


def test_the_scripts_accept_what_the_project_promises() -> None:
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    accepted = Requirement("x" + described["project"]["requires-python"]).specifier
    for minor in range(6, 20):
        within = environment.OLDEST <= (3, minor) <= environment.NEWEST
        assert (f"3.{minor}.5" in accepted) == within


# What is said


@pytest.mark.parametrize("table", [environment.SENTENCES, torch_build.SENTENCES, install.SENTENCES])
def test_each_sentence_has_the_same_places_in_both_languages_and_shows_on_a_cp949_console(
    table: dict[str, tuple[str, str]],
) -> None:
    for korean, english in table.values():
        places = [{place for _, place, _, _ in string.Formatter().parse(text) if place} for text in (korean, english)]
        assert places[0] == places[1]
        assert re.search("[가-힣]", korean) and not re.search("[가-힣]", english)
        (korean + english).encode("cp949")


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", ["폴더 é", "folder é"]),
        ("cp949", ["폴더 ?", "folder ?"]),
        ("ascii", ["folder ?"]),
        ("cp1252", ["folder é"]),
        ("no-such-encoding", ["folder ?"]),
    ],
)
def test_a_console_without_hangul_gets_the_english_line_alone(encoding: str, expected: list[str]) -> None:
    assert environment.lines_for(environment.Sentence("폴더 é", "folder é"), encoding) == expected


def test_a_sentence_inside_another_is_said_in_its_own_language() -> None:
    reason = environment.Sentence("이유", "why")
    assert environment.sentence({"x": ("한 {r} {n}", "en {r} {n}")}, "x", r=reason, n=1) == ("한 이유 1", "en why 1")


# Where things lie


def test_programs_lie_where_each_system_puts_them() -> None:
    windows, posix = PureWindowsPath("C:/사용자/.venv"), PurePosixPath("/home/me/.venv")
    assert environment.program_path(windows, "python", "win32") == windows / "Scripts" / "python.exe"
    assert environment.program_path(posix, "python", "darwin") == posix / "bin" / "python"
    assert environment.packages_path(windows, (3, 12), "win32") == windows / "Lib" / "site-packages"
    assert environment.packages_path(posix, (3, 12), "linux") == posix / "lib/python3.12/site-packages"


@pytest.mark.parametrize(
    ("program", "system", "expected"),
    [
        (PureWindowsPath(r"C:\홍길동\v.exe"), "win32", r"C:\홍길동\v.exe init"),
        (PureWindowsPath(r"C:\My Files\v.exe"), "win32", r'& "C:\My Files\v.exe" init'),
        (PureWindowsPath(r"C:\a&b\v.exe"), "win32", r'& "C:\a&b\v.exe" init'),
        (PurePosixPath("/home/me/v"), "linux", "/home/me/v init"),
        (PurePosixPath("/home/my files/v"), "linux", "'/home/my files/v' init"),
    ],
)
def test_a_command_can_be_typed_as_it_is_printed(program: Any, system: str, expected: str) -> None:
    assert environment.command_line(program, ["init"], system) == expected


def test_what_to_type_next_is_told_with_the_full_path() -> None:
    folder = PureWindowsPath(r"C:\narrator\.venv")
    for said in install.next_steps("server", folder, "win32"):
        for word in ("init", "doctor", "serve"):
            assert rf"C:\narrator\.venv\Scripts\voice-server.exe {word}" in said
    for said in install.next_steps("client", folder, "win32"):
        assert r"C:\narrator\.venv\Scripts\narrate.exe run script.txt --project" in said


# Whether anything is to be done

WHOLE = environment.Facts(
    empty=False,
    is_environment=True,
    version=(3, 12),
    python_starts=True,
    state=environment.State(False, "key", ("demo",)),
)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "ready"),
        ({"empty": True, "is_environment": False, "state": None}, "make"),
        # Somebody's own environment is used; somebody's own folder is not touched.
        ({"state": None}, "install"),
        ({"state": None, "is_environment": False, "version": None}, "refuse"),
        # Killed while it was made, before and after pyvenv.cfg was there.
        ({"state": environment.State(True, "", ()), "is_environment": False, "version": None}, "remake"),
        ({"state": environment.State(True, "key", ("demo",))}, "remake"),
        # The Python that it was made from is gone, or is one that we do not run on.
        ({"python_starts": False}, "remake"),
        ({"version": (3, 14)}, "remake"),
        ({"version": None}, "remake"),
        # Other pins, or another profile's.
        ({"state": environment.State(False, "older", ("demo",))}, "install"),
        ({"state": environment.State(False, "key", ("test",))}, "install"),
    ],
)
def test_what_is_done_follows_from_what_is_seen(changed: dict[str, Any], expected: str) -> None:
    assert environment.what_to_do(WHOLE._replace(**changed), "key", "demo") == expected


@pytest.mark.parametrize("text", ["", "{}", "[]", "nul", '{"busy": false, "key": "k"}', '{"busy": 0, "profiles": 3}'])
def test_a_state_file_that_is_not_whole_counts_as_none(text: str) -> None:
    assert environment.parse_state(text) is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("home = C:\\Python312\nversion = 3.12.1\n", (3, 12)),
        ("home = /usr/bin\nimplementation = CPython\nversion_info = 3.11.7.final.0\n", (3, 11)),
        ("home = /usr/bin\n", None),
        ("version = new\n", None),
        ("", None),
    ],
)
def test_the_environments_python_is_read_from_its_own_file(text: str, version: tuple[int, int] | None) -> None:
    assert environment.config_version(environment.parse_config(text)) == version


def test_the_key_changes_with_everything_that_decides_what_is_installed_and_nothing_else() -> None:
    key = environment.pins_key
    first = key({"demo.txt": b"a==1\n"}, {"name": "x"}, (3, 12), ["/a"])
    assert first == key({"demo.txt": b"a==1\r\n"}, {"name": "x"}, (3, 12), ["/a"])
    others = [
        key({"demo.txt": b"a==2\n"}, {"name": "x"}, (3, 12), ["/a"]),
        key({"demo.txt": b"a==1\n", "test.txt": b""}, {"name": "x"}, (3, 12), ["/a"]),
        key({"demo.txt": b"a==1\n"}, {"name": "y"}, (3, 12), ["/a"]),
        key({"demo.txt": b"a==1\n"}, {"name": "x"}, (3, 11), ["/a"]),
        key({"demo.txt": b"a==1\n"}, {"name": "x"}, (3, 12), ["/b"]),
    ]
    assert len({first, *others}) == 6


def test_pip_gets_nothing_that_would_send_packages_elsewhere() -> None:
    given = {
        "PATH": "p",
        "PYTHONPATH": "x",
        "PythonHome": "x",
        "PIP_TARGET": "x",
        "PIP_USER": "1",
        "PIP_INDEX_URL": "i",
    }
    kept = environment.install_environ(given)
    assert kept["PATH"] == "p" and kept["PIP_INDEX_URL"] == "i" and kept["PIP_USER"] == "0"
    assert not {"PYTHONPATH", "PythonHome", "PIP_TARGET"} & set(kept)


def test_a_child_that_died_of_a_signal_is_not_a_success() -> None:
    assert [environment.exit_code(code) for code in (0, 3, -9)] == [0, 3, 137]


def test_what_the_person_asks_of_pytest_is_passed_on_as_it_is() -> None:
    assert run_tests.pytest_words(["-k", "cut"], 8) == ["-k", "cut"]
    assert run_tests.pytest_words([], 1)[:2] == ["-n", "1"]
    assert run_tests.pytest_words([], 64)[:2] == ["-n", "4"]
    assert run_tests.added_variables({"OMP_NUM_THREADS": "8"}) == {"HF_HUB_OFFLINE": "1"}


# Which torch


def card(capability: tuple[int, int] | None, name: str = "Card", driver: str = "591.44") -> Any:
    return torch_build.Card(name, capability, driver)


@pytest.mark.parametrize(
    ("system", "capability", "spec", "index"),
    [
        ("win32", (5, 0), "torch==2.13.0+cu126", "cu126"),
        ("win32", (6, 1), "torch==2.13.0+cu126", "cu126"),
        ("linux", (7, 5), "torch==2.13.0+cu126", "cu126"),
        ("linux", (8, 9), "torch==2.13.0+cu126", "cu126"),
        ("linux", (9, 0), "torch==2.13.0+cu126", "cu126"),
        ("linux", (10, 0), "torch==2.13.0+cu130", "cu130"),
        ("win32", (12, 0), "torch==2.13.0+cu130", "cu130"),
        ("linux", (3, 5), "torch==2.13.0+cpu", "cpu"),
        ("win32", (3, 5), "torch==2.13.0", None),
    ],
)
def test_each_card_gets_a_build_that_holds_its_code(
    system: str, capability: tuple[int, int], spec: str, index: str | None
) -> None:
    choice = torch_build.choose_torch(system, card(capability, "GeForce X"))
    assert choice.spec == spec
    assert (choice.index_url or "").rpartition("/")[2] == (index or "")
    assert all("GeForce X" in text for text in choice.reason)
    # NVIDIA's libraries are packages of their own on Linux; whatever else torch needs is pinned.
    assert choice.with_dependencies == ("+cu" in spec)


@pytest.mark.parametrize("system", ["win32", "linux", "darwin"])
def test_without_a_card_the_person_is_told_of_device_cpu(system: str) -> None:
    choice = torch_build.choose_torch(system, None)
    assert "+cu" not in choice.spec
    assert all("DEVICE=cpu" in text for text in choice.reason)


def test_a_card_whose_driver_tells_no_capability_gets_the_build_for_most_cards() -> None:
    choice = torch_build.choose_torch("win32", card(None))
    assert choice.spec == "torch==2.13.0+cu126"
    assert "RTX 50" in choice.reason.english


@pytest.mark.parametrize(
    ("system", "in_folders", "spec", "words"),
    [
        ("linux", True, "torch==2.13.0+cpu", ["--no-index"]),
        ("win32", True, "torch==2.13.0+cpu", ["--no-index"]),
        ("linux", False, "torch==2.13.0+cpu", ["--index-url", "https://download.pytorch.org/whl/cpu"]),
        ("win32", False, "torch==2.13.0", []),
        ("darwin", False, "torch==2.13.0", []),
    ],
)
def test_the_cpu_build_comes_from_the_nearest_place(system: str, in_folders: bool, spec: str, words: list[str]) -> None:
    choice = torch_build.choose_cpu(system, in_folders)
    assert torch_build.pip_words(choice) == [spec, "--only-binary", ":all:", *words, "--no-deps"]


@pytest.mark.parametrize(
    ("output", "cards"),
    [
        ("6.1, NVIDIA GeForce GTX 1060 6GB, 580.97\n", [("NVIDIA GeForce GTX 1060 6GB", (6, 1), "580.97")]),
        (
            "8.9, NVIDIA GeForce RTX 4090, 591.44\r\n12.0, NVIDIA GeForce RTX 5090, 591.44\r\n",
            [("NVIDIA GeForce RTX 4090", (8, 9), "591.44"), ("NVIDIA GeForce RTX 5090", (12, 0), "591.44")],
        ),
        ("9.0, NVIDIA H200, MIG 1g, 570.1\n", [("NVIDIA H200, MIG 1g", (9, 0), "570.1")]),
        ("[N/A], Quadro K2000, 471.11\n", [("Quadro K2000", None, "471.11")]),
        ("7.5, T4, [N/A]\n", [("T4", (7, 5), "")]),
        ('Field "compute_cap" is not a valid field to query.\n', []),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", []),
        ("No devices were found\n", []),
        ("\x00\ufffd, ,\n,,,\n", []),
        ("", []),
    ],
)
def test_the_cards_are_read_from_whatever_nvidia_smi_prints(output: str, cards: list[Any]) -> None:
    assert torch_build.parse_cards(output) == cards


def test_a_driver_that_knows_no_compute_cap_still_names_its_card() -> None:
    assert torch_build.parse_names("GeForce GTX 1060 6GB, 456.71\nNo devices were found\n") == [
        ("GeForce GTX 1060 6GB", None, "456.71")
    ]


def test_of_several_cards_the_most_capable_decides() -> None:
    cards = [card((6, 1), "old"), card(None, "mute"), card((12, 0), "new")]
    assert torch_build.pick_card(cards).name == "new"
    assert torch_build.pick_card([]) is None


@pytest.mark.parametrize(
    ("capability", "driver", "problem"),
    [((6, 1), "580.97", False), ((6, 1), "471.11", True), ((12, 0), "576.02", True), ((12, 0), "", False)],
)
def test_a_driver_too_old_for_the_build_is_named(capability: tuple[int, int], driver: str, problem: bool) -> None:
    choice = torch_build.choose_torch("win32", card(capability))
    said = torch_build.driver_problem(choice, driver)
    assert (said is not None) == problem
    assert said is None or all(driver in text for text in said)


@pytest.mark.parametrize(
    ("installed", "spec", "expected"),
    [
        ("2.13.0+cu126", "torch==2.13.0", True),  # the tests leave a GPU PC's build alone
        ("2.13.0+cpu", "torch==2.13.0+cu126", False),  # the tests' build does not pass for the card's
        ("2.13.0+cu126", "torch==2.13.0+cu126", True),
        ("2.13.0", "torch==2.13.0+cu126", False),
        ("2.12.1+cpu", "torch==2.13.0", False),
        (None, "torch==2.13.0", False),
    ],
)
def test_an_installed_torch_is_kept_where_it_serves(installed: str | None, spec: str, expected: bool) -> None:
    assert torch_build.satisfies(installed, spec) is expected


# The pins

PIN = re.compile(r"([a-z0-9][a-z0-9-]*)==([0-9A-Za-z.!]+)( ; [a-z_0-9.<>=!'()A-Z\-, ]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def pins(profile: str) -> list[Requirement]:
    lines = (ROOT / "requirements" / f"{profile}.txt").read_text(encoding="ascii").splitlines()
    return [Requirement(line.removesuffix(" \\")) for line in lines if "==" in line and not line.startswith((" ", "#"))]


def pinned_on(profile: str, python: tuple[int, int], system: str = "linux") -> dict[str, str]:
    names = {"linux": ("Linux", "posix"), "win32": ("Windows", "nt"), "darwin": ("Darwin", "posix")}
    machine = {
        "python_version": "{}.{}".format(*python),
        "python_full_version": "{}.{}.5".format(*python),
        "sys_platform": system,
        "platform_system": names[system][0],
        "os_name": names[system][1],
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    kept = [pin for pin in pins(profile) if pin.marker is None or pin.marker.evaluate(machine)]
    found = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in kept}
    assert len(found) == len(kept), "two versions of one package on one machine"
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_pins_hold_names_versions_markers_and_hashes_and_no_address_or_path(profile: str) -> None:
    lines = (ROOT / "requirements" / f"{profile}.txt").read_text(encoding="ascii").splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert not any(re.search(r"://|(?<!scripts)/|[a-z]\.(org|com|net|io)\b", line) for line in comments)
    hashes = None
    for line in (line for line in lines if not line.startswith("#")):
        if PIN.fullmatch(line):
            assert hashes != 0, f"no hash before {line}"
            hashes = 0
        else:
            assert HASH.fullmatch(line), line
            assert hashes is not None
            hashes += 1
    assert hashes


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("python", PYTHONS)
def test_each_direct_dependency_is_pinned_within_its_range_or_kept_out_on_purpose(
    profile: str, python: tuple[int, int]
) -> None:
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    direct = [*described["project"]["dependencies"], *described["build-system"]["requires"]]
    for extra in lock.EXTRAS[profile]:
        direct += described["project"]["optional-dependencies"][extra]
    pinned = pinned_on(profile, python)
    for wanted in map(Requirement, direct):
        name = canonicalize_name(wanted.name)
        if name in lock.KEPT_OUT:
            assert name not in pinned
        else:
            assert wanted.specifier.contains(pinned[name]), wanted


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", ["linux", "win32", "darwin"])
def test_profiles_agree_so_that_one_environment_can_hold_several(python: tuple[int, int], system: str) -> None:
    widest = pinned_on("test", python, system)
    for profile in PROFILES:
        assert pinned_on(profile, python, system).items() <= widest.items()


def test_the_client_is_pinned_without_server_arrays_or_models() -> None:
    assert not {"fastapi", "uvicorn", "numpy", "soundfile", "transformers", "qwen-tts"} & set(
        pinned_on("client", (3, 12))
    )
    assert not {"transformers", "qwen-tts", "scipy"} & set(pinned_on("demo", (3, 12)))


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_kept_out_is_in_no_file(profile: str) -> None:
    named = {pin.name for pin in pins(profile)}
    assert not named & set(lock.KEPT_OUT)
    assert not [name for name in named if name.startswith(("nvidia-", "triton"))]


def test_installing_without_dependencies_leaves_none_out() -> None:
    """The pins are installed with --no-deps: whatever an installed package asks for must be among them."""
    pinned = pinned_on("test", (sys.version_info.major, sys.version_info.minor), sys.platform)
    missing, looked_at = [], 0
    for name in [*pinned, "torch"]:
        try:
            asked = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        looked_at += 1
        for wanted in map(Requirement, asked):
            applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
            known = {*pinned, *lock.KEPT_OUT}
            nvidia = name == "torch" and wanted.name.startswith(("nvidia-", "cuda-", "triton"))
            if applies and canonicalize_name(wanted.name) not in known and not nvidia:
                missing.append(f"{name} asks for {wanted}")
    assert looked_at > 40
    assert missing == []


def test_uv_gets_pips_certificates_and_indexes_but_no_wheel_folder() -> None:
    given = {"PIP_CERT": "c", "PIP_INDEX_URL": "i", "PIP_FIND_LINKS": "f", "UV_FIND_LINKS": "f", "SSL_CERT_FILE": "own"}
    carried = lock.uv_environ(given)
    assert carried["SSL_CERT_FILE"] == "own" and carried["UV_DEFAULT_INDEX"] == "i"
    assert "UV_FIND_LINKS" not in carried


# A real environment


def start_bare(folder: Path) -> subprocess.Popen[str]:
    code = "import environment, sys; sys.exit(environment.guarded(lambda _: environment.prepare_bare('x') and 0, []))"
    variables = {**os.environ, "NARRATOR_VENV": str(folder), "PYTHONPATH": str(SCRIPTS), "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def test_a_half_made_environment_is_made_anew_and_a_second_run_waits_for_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "한글 폴더" / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "leftover").write_text("x", encoding="utf-8")
    (folder / environment.STATE_FILE).write_text('{"busy": true, "key": "", "profiles": []}', encoding="utf-8")
    runs = [start_bare(folder), start_bare(folder)]
    said = [output_of(run, 120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert sum("making it anew" in text for text in said) == 1, said
    assert sum("Waiting" in text for text in said) == 1, said
    assert not (folder / "leftover").exists()
    python = environment.program_path(folder, "python", sys.platform)
    subprocess.run([python, "-m", "pip", "--version"], check=True, stdout=subprocess.DEVNULL)
    assert environment.Environment(folder).read_state() == environment.State(False, "", ())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows hands no lock on to the child")
def test_a_run_after_a_kill_waits_for_the_orphan_that_still_writes(tmp_path: Path) -> None:
    """It used to clear the folder under the living child, and stopped at "Directory not empty"."""
    folder = tmp_path / "venv"
    first = start_bare(folder)
    wait_until((folder / "bin").exists, 30, "the beginning of the environment")
    orphans = psutil.Process(first.pid).children(recursive=True)
    for orphan in orphans:  # held, so that the orphan is alive for as long as the second run is to wait for it
        orphan.suspend()
    first.kill()
    first.wait()
    second = start_bare(folder)
    assert first.stdout is not None and second.stdout is not None
    said = ""
    while "Waiting" not in said:
        said += (line := second.stdout.readline())
        assert line, said
    assert (folder / "bin").exists(), "nothing is cleared under the living orphan"
    for orphan in orphans:
        orphan.kill()
    first.stdout.close()
    said += output_of(second, 120)
    assert second.returncode == 0, said
    assert "making it anew" in said
    assert environment.Environment(folder).facts().python_starts


def test_a_folder_that_is_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(b"x")
    run = start_bare(folder)
    said = output_of(run, 60)
    assert run.returncode == environment.CANNOT_START
    assert str(folder) in said and "NARRATOR_VENV" in said
    assert [file.name for file in folder.iterdir()] == ["cat.jpg"]


def test_a_kill_leaves_the_mark_and_a_failure_of_pip_takes_it_off(tmp_path: Path) -> None:
    made = environment.Environment(tmp_path)
    whole = environment.State(False, "key", ("demo",))
    made.write_state(whole)
    with pytest.raises(KeyboardInterrupt), made.busy():
        raise KeyboardInterrupt
    assert made.read_state().busy
    made.write_state(whole)
    with pytest.raises(environment.SetupProblem), made.busy():
        raise environment.SetupProblem(environment.Sentence("", ""), 1)
    assert made.read_state() == whole
