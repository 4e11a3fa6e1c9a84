"""Makes the virtual environment that the other scripts run in. Knows nothing of what is run there.

Stdlib only, and written in the syntax of Python 3.6, so that a Python that is too old still gets as far as one clear
sentence (hence the quoted annotations, NamedTuple in place of dataclasses, and no walrus).

The folder is `.venv` beside pyproject.toml; the environment variable NARRATOR_VENV names another one.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST, ADVISED = (3, 11), (3, 13), "3.12"
STATE_FILE = "narrator.json"
# Raise this when the way of installing changes although no pin does.
RECIPE = "1"

FAILED, CANNOT_START = 1, 2

# Korean, English. The catalogue of the package is of no use here: the package is not installed yet.
SENTENCES = {
    "wrong_python": (
        "Python 3.11, 3.12, 3.13 가운데 하나가 필요합니다. 지금 것은 {seen}입니다 ({program}). "
        "Python {advised} 버전을 설치한 뒤 이렇게 입력하세요: {command}",
        "Python 3.11, 3.12 or 3.13 is needed; this is {seen} ({program}). "
        "Install Python {advised}, then type: {command}",
    ),
    "narrow_python": (
        "64비트 Python이 필요합니다. 지금 것은 32비트입니다 ({program}). 64비트 Python {advised} 버전을 설치하세요.",
        "A 64-bit Python is needed; this one is 32-bit ({program}). Install the 64-bit Python {advised}.",
    ),
    "no_ensurepip": (
        "이 Python은 가상 환경을 만들 수 없습니다 (ensurepip 없음: {program}). "
        "Debian이나 Ubuntu라면 다음을 입력하고 다시 해 보세요: sudo apt install {package}",
        "This Python cannot make a virtual environment (it has no ensurepip: {program}). "
        "On Debian or Ubuntu type this, then try again: sudo apt install {package}",
    ),
    "not_ours": (
        "{folder} 폴더는 비어 있지 않고 Python 가상 환경도 아니라서 건드리지 않습니다. "
        "폴더를 옮기거나 NARRATOR_VENV에 다른 폴더를 지정하세요.",
        "The folder {folder} is neither empty nor a Python environment, so it is left alone. "
        "Move it away, or name another folder in NARRATOR_VENV.",
    ),
    "in_use": (
        "{folder}의 가상 환경을 새로 만들어야 하는데 지금 이 명령이 그 안의 Python으로 실행되고 있습니다. "
        "'deactivate'를 입력하고 다시 해 보세요.",
        "The environment in {folder} must be made anew, but this command runs on the Python inside it. "
        "Type 'deactivate', then try again.",
    ),
    "cannot_clear": (
        "{folder}의 가상 환경을 지울 수 없습니다 ({problem}). "
        "이 폴더를 쓰는 프로그램(서버, 편집기)을 모두 닫고 다시 해 보세요.",
        "The environment in {folder} cannot be cleared ({problem}). "
        "Close every program that uses it (the server, an editor), then try again.",
    ),
    "cannot_make": (
        "{folder}에 가상 환경을 만들지 못했습니다 (종료 코드 {code}). 위의 메시지를 보고 다시 해 보세요.",
        "The environment in {folder} could not be made (exit code {code}). See the words above, then try again.",
    ),
    "pip_failed": (
        "설치하지 못했습니다: {what} (pip 종료 코드 {code}, 이유는 위에 있습니다). "
        "인터넷 연결을 확인하고, 이 폴더를 쓰는 프로그램을 닫은 뒤 다시 해 보세요: {folder}",
        "Could not install: {what} (pip's exit code {code}; its reason is above). "
        "Check the network, close programs that use this folder, then try again: {folder}",
    ),
    "system_refused": (
        "파일을 다룰 수 없습니다: {problem}. 디스크가 가득 찼는지, 폴더에 쓸 수 있는지 확인하고 다시 해 보세요.",
        "A file could not be handled: {problem}. See whether the disk is full or the folder read-only, then try again.",
    ),
    "waiting": (
        "다른 실행이 {folder}를 준비하고 있습니다. 끝날 때까지 기다립니다.",
        "Another run is preparing {folder}. Waiting for it.",
    ),
    "making": (
        "가상 환경을 만듭니다 (처음 한 번): {folder}",
        "Making the environment (once): {folder}",
    ),
    "remaking": (
        "가상 환경이 온전하지 않아 새로 만듭니다: {folder}",
        "The environment is not whole; making it anew: {folder}",
    ),
    "installing": (
        "패키지 {count}개를 설치합니다 (requirements/{profile}.txt). 보통 {minutes}분이 걸리지 않습니다.",
        "Installing {count} packages (requirements/{profile}.txt). It usually takes less than {minutes} min.",
    ),
    "installing_torch": (
        "PyTorch를 설치합니다: {spec}",
        "Installing PyTorch: {spec}",
    ),
    "stopped": ("멈췄습니다. 같은 명령을 다시 입력하면 됩니다.", "Stopped. Type the same command again to go on."),
}


class Sentence(NamedTuple):
    """What is said, in both languages."""

    korean: str
    english: str


class SetupProblem(Exception):
    """The environment cannot be prepared; carries what to tell the person and the exit code."""

    def __init__(self, sentence: Sentence, exit_code: int) -> None:
        super().__init__(sentence.english)
        self.sentence = sentence
        self.exit_code = exit_code


class State(NamedTuple):
    """What the state file inside the environment remembers."""

    busy: bool
    """Set while something is being made or installed: found set, the last run was killed in the middle."""
    key: str
    """The hash of everything that decides what is installed."""
    profiles: "tuple[str, ...]"


class Facts(NamedTuple):
    """What is seen of the environment's folder before anything is decided."""

    empty: bool
    """True also where there is no folder."""
    is_environment: bool
    version: "tuple[int, int] | None"
    """The environment's Python, where its pyvenv.cfg tells."""
    python_starts: bool
    """The interpreter and the Python that it was made from are both still there."""
    state: "State | None"


# What is decided, on plain data


def sentence(table: "dict[str, tuple[str, str]]", key: str, **places: object) -> Sentence:
    """The table's sentence in both languages; a place that is itself a Sentence is filled in its own language."""
    korean, english = table[key]
    of = [{k: v[i] if isinstance(v, Sentence) else v for k, v in places.items()} for i in (0, 1)]
    return Sentence(korean.format(**of[0]), english.format(**of[1]))


def lines_for(said: Sentence, encoding: str) -> "list[str]":
    """The lines to print; Korean is left out where the console has no Hangul, rather than shown as question marks."""
    try:
        "가".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        wanted = [said.english]
    else:
        wanted = [said.korean, said.english]
    try:
        return [line.encode(encoding, "replace").decode(encoding) for line in wanted]
    except LookupError:
        return [line.encode("ascii", "replace").decode("ascii") for line in wanted]


def python_problem(
    version: "tuple[int, int, int]", is_64_bit: bool, program: str, system: str, script: str
) -> "Sentence | None":
    """Why this Python cannot be used, or None."""
    if not OLDEST <= tuple(version[:2]) <= NEWEST:
        command = ("py -" + ADVISED if system == "win32" else "python" + ADVISED) + " " + script
        seen = ".".join(str(part) for part in version[:3])
        return sentence(SENTENCES, "wrong_python", seen=seen, program=program, advised=ADVISED, command=command)
    if not is_64_bit:
        return sentence(SENTENCES, "narrow_python", program=program, advised=ADVISED)
    return None


def program_path(folder: PurePath, name: str, system: str) -> PurePath:
    """Where a program of the environment lies."""
    return folder / "Scripts" / (name + ".exe") if system == "win32" else folder / "bin" / name


def packages_path(folder: PurePath, version: "tuple[int, int]", system: str) -> PurePath:
    if system == "win32":
        return folder / "Lib" / "site-packages"
    return folder / "lib" / "python{}.{}".format(*version) / "site-packages"


def command_line(program: PurePath, words: "list[str]", system: str) -> str:
    """A command as it is typed; PowerShell, the usual terminal of Windows, starts a quoted program only after `&`."""
    if system != "win32":
        return " ".join(shlex.quote(part) for part in [str(program), *words])
    plain = all(c.isalnum() or c in "\\/:._-~" for c in str(program))
    return " ".join([str(program) if plain else f'& "{program}"', *words])


def parse_config(text: str) -> "dict[str, str]":
    """pyvenv.cfg as a dictionary; lines without `=` are skipped."""
    pairs = [line.split("=", 1) for line in text.splitlines() if "=" in line]
    return {key.strip().lower(): value.strip() for key, value in pairs}


def config_version(config: "dict[str, str]") -> "tuple[int, int] | None":
    """Major and minor number; venv writes `version`, virtualenv and uv write `version_info`."""
    parts = (config.get("version") or config.get("version_info") or "").split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return int(parts[0]), int(parts[1])


def parse_state(text: str) -> "State | None":
    """None for a text that this script did not write, or did not finish."""
    try:
        data = json.loads(text)
        return State(bool(data["busy"]), str(data["key"]), tuple(str(name) for name in data["profiles"]))
    except (ValueError, KeyError, TypeError):
        return None


def what_to_do(facts: Facts, key: str, profile: str) -> str:
    """One of ready, install, make, remake, refuse."""
    if facts.empty:
        return "make"
    if facts.state is None and not facts.is_environment:
        return "refuse"
    if facts.state is not None and facts.state.busy:
        return "remake"
    if facts.version is None or not OLDEST <= facts.version <= NEWEST or not facts.python_starts:
        return "remake"
    if facts.state is not None and facts.state.key == key and profile in facts.state.profiles:
        return "ready"
    return "install"


def pins_key(pins: "dict[str, bytes]", project: object, version: "tuple[int, int]", places: "list[str]") -> str:
    """Changes with any pin, the project's own metadata, the Python, and where the checkout and environment lie.

    The hash covers every profile's pins: profiles share the environment, so one that is brought up to date by a newer
    commit leaves the others' marks stale.
    """
    parts = [RECIPE, json.dumps(project, sort_keys=True), repr(version), *places]
    for name in sorted(pins):
        # A checkout with Windows line endings has the same pins.
        parts += [name, hashlib.sha256(pins[name].replace(b"\r\n", b"\n")).hexdigest()]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def count_pins(text: str) -> int:
    return sum(1 for line in text.splitlines() if "==" in line and not line.lstrip().startswith(("#", "--")))


def install_environ(environ: "dict[str, str]") -> "dict[str, str]":
    """The environment for pip, without what would send packages elsewhere or mix in another Python's."""
    dropped = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_HASHES")
    kept = {name: value for name, value in environ.items() if name.upper() not in dropped}
    # UTF-8 for what pip reads and writes: Korean Windows would otherwise take cp949.
    kept.update(PYTHONUTF8="1", PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    return kept


def exit_code(returncode: int) -> int:
    """A child that died of a signal counts as 128 + signal, as in a shell."""
    return 128 - returncode if returncode < 0 else returncode


# What is done


def say(said: Sentence, stream: "IO[str] | None" = None) -> None:
    stream = stream or sys.stdout
    if stream is None:  # pythonw has no console
        return
    for line in lines_for(said, getattr(stream, "encoding", None) or "ascii"):
        print(line, file=stream, flush=True)


def guarded(main: "Callable[[list[str]], int]", argv: "list[str]") -> int:
    """Runs a script's main; a problem becomes its sentence and exit code, without a traceback."""
    try:
        return main(argv)
    except SetupProblem as problem:
        say(problem.sentence, sys.stderr)
        return problem.exit_code
    except OSError as problem:
        say(sentence(SENTENCES, "system_refused", problem=problem), sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        say(sentence(SENTENCES, "stopped"), sys.stderr)
        return 130


def require_python(script: str) -> None:
    problem = python_problem(sys.version_info[:3], sys.maxsize > 2**32, sys.executable, sys.platform, script)
    if problem:
        raise SetupProblem(problem, CANNOT_START)


class Environment:
    """The environment's folder on this machine."""

    def __init__(self, folder: Path, held: "tuple[int, ...]" = ()) -> None:
        self.folder = folder
        self._held = held

    def program(self, name: str) -> Path:
        return Path(program_path(self.folder, name, sys.platform))

    def version(self) -> "tuple[int, int] | None":
        return config_version(self._config())

    def packages(self) -> Path:
        return Path(packages_path(self.folder, self.version() or sys.version_info[:2], sys.platform))

    def _config(self) -> "dict[str, str]":
        try:
            # Written by Python in UTF-8; another encoding would spoil only the folder's name, which is then not found.
            return parse_config((self.folder / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return {}

    def facts(self) -> Facts:
        config = self._config()
        return Facts(
            empty=not self.folder.exists() or (self.folder.is_dir() and not any(self.folder.iterdir())),
            is_environment=bool(config),
            version=config_version(config),
            python_starts=self.program("python").exists() and Path(config.get("home", "")).is_dir(),
            state=self.read_state(),
        )

    def read_state(self) -> "State | None":
        try:
            return parse_state((self.folder / STATE_FILE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return None

    def write_state(self, state: State) -> None:
        fresh = self.folder / (STATE_FILE + ".part")
        fresh.write_text(json.dumps(state._asdict()), encoding="utf-8")
        fresh.replace(self.folder / STATE_FILE)

    def make(self) -> None:
        """The bare environment with pip in it, from the Python that runs this."""
        if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
            package = "python{}.{}-venv".format(*sys.version_info[:2])
            problem = sentence(SENTENCES, "no_ensurepip", program=sys.executable, package=package)
            raise SetupProblem(problem, CANNOT_START)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Written first: a half-made folder is known as ours by it.
        self.write_state(State(True, "", ()))
        # The command line, not venv.create(): only the command line picks symbolic links where the system likes them.
        code = self._run([sys.executable, "-m", "venv", str(self.folder)])
        if code:
            raise SetupProblem(sentence(SENTENCES, "cannot_make", folder=self.folder, code=code), FAILED)

    def clear(self) -> None:
        if Path(sys.prefix).resolve() == self.folder.resolve():
            raise SetupProblem(sentence(SENTENCES, "in_use", folder=self.folder), CANNOT_START)
        # The state file stays: however often this is killed, the folder is known as ours and as half-made.
        self.write_state(State(True, "", ()))
        try:
            for child in self.folder.iterdir():
                if child.is_dir() and not child.is_symlink():
                    shutil.rmtree(child)
                elif child.name != STATE_FILE:
                    child.unlink()
        except OSError as problem:
            raise SetupProblem(
                sentence(SENTENCES, "cannot_clear", folder=self.folder, problem=problem), FAILED
            ) from problem

    def pip(self, words: "list[str]", what: str) -> None:
        """Installs; `what` is said to the person when it fails."""
        if not (self.packages() / "pip").is_dir():  # an environment made by uv has none
            self._run_python(["-m", "ensurepip", "--default-pip"], what)
        self._run_python(["-m", "pip", "install", *words], what)

    def pip_would_find(self, words: "list[str]") -> bool:
        """Whether pip, as this person has set it up, could install this; asks without installing."""
        command = [str(self.program("python")), "-m", "pip", "install", "--quiet", "--dry-run", *words]
        asked = subprocess.run(
            command,
            env=install_environ(dict(os.environ)),
            cwd=str(ROOT),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return asked.returncode == 0

    @contextlib.contextmanager
    def busy(self) -> "Iterator[None]":
        """A kill or Ctrl-C inside leaves the mark, and the next run starts afresh; a failure of pip's takes it off.

        pip downloads before it touches anything, so its own failures leave the environment as it was.
        """
        before = self.read_state() or State(False, "", ())
        self.write_state(before._replace(busy=True))
        try:
            yield
        except SetupProblem:
            self.write_state(before)
            raise
        self.write_state(before)

    def _run_python(self, words: "list[str]", what: str) -> None:
        code = self._run([str(self.program("python")), *words])
        if code:
            problem = sentence(SENTENCES, "pip_failed", what=what, code=code, folder=self.folder)
            raise SetupProblem(problem, FAILED)

    def _run(self, command: "list[str]") -> int:
        # The child holds the lock too: when this process is killed, pip goes on writing, and nobody may clear
        # the folder under it. (Windows cannot hand a lock on.)
        done = subprocess.run(
            command, env=install_environ(dict(os.environ)), cwd=str(ROOT), pass_fds=self._held, check=False
        )
        return done.returncode


def environment_folder() -> Path:
    named = os.environ.get("NARRATOR_VENV")
    return Path(named).expanduser().absolute() if named else ROOT / ".venv"


def current_key(folder: Path, version: "tuple[int, int]") -> str:
    import tomllib  # Python 3.11; the caller has checked that by now

    pins = {path.name: path.read_bytes() for path in (ROOT / "requirements").glob("*.txt")}
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    # Settings of ruff or pytest change nothing that is installed.
    kept = [described.get("project"), described.get("build-system"), described.get("tool", {}).get("setuptools")]
    return pins_key(pins, kept, version, [str(ROOT), str(folder)])


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> "Iterator[Environment]":
    """The environment, under the lock beside its folder, which goes with the process however that ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("a+b") as file:
        told = False
        while not _try_lock(file):
            if not told:
                say(sentence(SENTENCES, "waiting", folder=folder))
                told = True
            time.sleep(0.2)
        yield Environment(folder, () if sys.platform == "win32" else (file.fileno(),))


def _try_lock(file: "IO[bytes]") -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # raised on POSIX and Windows while another process holds the lock
        return False
    except OSError:  # this file system has no locks: preparing unguarded is better than not at all
        return True
    return True


def prepare(profile: str, script: str, then: "Callable[[Environment], None] | None" = None) -> Environment:
    """The environment with requirements/<profile>.txt and the project in it; at once where it already is.

    `then` is called under the same lock every time, to install what the pins leave to the machine: torch.
    """
    require_python(script)
    with one_at_a_time(environment_folder()) as environment:
        _make_if_needed(environment, profile)
        version = environment.version() or sys.version_info[:2]
        key = current_key(environment.folder, version)
        if what_to_do(environment.facts(), key, profile) != "ready":
            _install(environment, profile, key)
        if then is not None:
            then(environment)
    return Environment(environment.folder)


def prepare_bare(script: str) -> Environment:
    """The environment with pip alone, or as it already is."""
    require_python(script)
    with one_at_a_time(environment_folder()) as environment:
        _make_if_needed(environment, "")
    return Environment(environment.folder)


def _make_if_needed(environment: Environment, profile: str) -> None:
    step = what_to_do(environment.facts(), "", profile)
    if step == "refuse":
        raise SetupProblem(sentence(SENTENCES, "not_ours", folder=environment.folder), CANNOT_START)
    if step in ("make", "remake"):
        say(sentence(SENTENCES, "making" if step == "make" else "remaking", folder=environment.folder))
    if step == "remake":
        environment.clear()
    if step in ("make", "remake"):
        environment.make()
        environment.write_state(State(False, "", ()))


def _install(environment: Environment, profile: str, key: str) -> None:
    pins = ROOT / "requirements" / (profile + ".txt")
    count = count_pins(pins.read_text(encoding="ascii"))
    # 36 packages took 15 s and 108 took 90 s on two cores.
    say(sentence(SENTENCES, "installing", count=count, profile=profile, minutes=1 if count < 50 else 3))
    before = environment.read_state()
    with environment.busy():
        # Wheels only: a pin without one for this machine fails at once instead of looking for a compiler.
        environment.pip(
            ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(pins)],
            f"requirements/{profile}.txt",
        )
        # The pinned setuptools builds it: build isolation would fetch another one.
        environment.pip(["--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], str(ROOT))
    others = before.profiles if before is not None and before.key == key else ()
    environment.write_state(State(False, key, tuple(sorted({*others, profile}))))


def hand_over(environment: Environment, words: "list[str]", variables: "dict[str, str]") -> int:
    """Runs the environment's Python from the project's folder and gives back its exit code.

    Where the system can, the process is replaced, so that signals and the exit code need no passing on. Windows cannot;
    there Ctrl-C reaches both processes, and this one waits for the other to finish its work.
    """
    command = [str(environment.program("python")), *words]
    child_environ = {**{k: v for k, v in os.environ.items() if k.upper() != "PYTHONHOME"}, **variables}
    os.chdir(str(ROOT))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    if sys.platform != "win32":
        os.execve(command[0], command, child_environ)  # noqa: S606 a list of arguments, no shell wanted
    process = subprocess.Popen(command, env=child_environ)
    while True:
        try:
            return exit_code(process.wait())
        except KeyboardInterrupt:
            continue
