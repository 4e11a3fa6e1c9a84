"""One utterance of eSpeak NG: a JSON request on stdin, a JSON line and 16-bit PCM on stdout, then the end.

A process per utterance: in one process the same text gives other samples the second time, and two threads crash the
library. A new process always gives the same bytes and can be stopped by killing it. The GPL-licensed library also stays
out of the server's own process.

Imports the standard library only: `python -I -S` then starts the child in half the time.

Request:  {"library": path, "data_home": path, "voice": "ko", "rate_wpm": 165, "pitch": 50, "text": "..."}
Answer:   {"sample_rate": 22050, "samples": n, "version": "1.52.0",
           "marks": [["word" | "sentence" | "clause_end", character offset, length, sample], ...]} + newline + PCM
Failure:  an exit status of EXITS, and {"error": "..."} as the last line on stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

EXIT_REQUEST = 10
EXIT_LIBRARY = 11
EXIT_DATA = 12
EXIT_VOICE = 13
EXIT_SYNTHESIS = 14

DATA_FOLDER = "espeak-ng-data"
HOME_LIMIT_BYTES = 140
"""eSpeak NG 1.52.0 keeps the path of a data file in a buffer of 160 bytes: a home of 140 works, one of 145 does not."""

COPIES_TRIED = 5

# espeak-ng/speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_CHARS_UTF8 = 1
_END_PAUSE = 0x1000
_BUFFER_MS = 200
_EVENT_NAMES = {1: "word", 2: "sentence", 5: "clause_end"}


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),  # the same position in samples
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class ChildError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def main() -> int:
    try:
        header, pcm = speak(json.loads(sys.stdin.buffer.read()))
    except (ValueError, KeyError, TypeError) as error:
        return _fail(EXIT_REQUEST, f"request not understood: {error!r}")
    except ChildError as error:
        return _fail(error.status, str(error))
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
    sys.stdout.buffer.write(pcm)
    sys.stdout.buffer.flush()
    return 0


def _fail(status: int, reason: str) -> int:
    print(json.dumps({"error": reason}), file=sys.stderr, flush=True)
    return status


def speak(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The header and the 16-bit PCM of one utterance. To be called once in a process.

    Raises ChildError.
    """
    # A NUL would end the text in C. A space for each control character keeps the offsets.
    text = "".join(char if char >= " " or char == "\n" else " " for char in request["text"])
    library, sample_rate = _open_library(request["library"], request["data_home"])
    if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        raise ChildError(EXIT_VOICE, f"no voice {request['voice']!r}")
    library.espeak_SetParameter(_PARAMETER_RATE, int(request["rate_wpm"]), 0)
    library.espeak_SetParameter(_PARAMETER_PITCH, int(request["pitch"]), 0)
    pcm = bytearray()
    marks: list[tuple[str, int, int, int]] = []

    def collect(wave: Any, count: int, events: Any) -> int:
        i = 0
        while events[i].type:
            event = events[i]
            if event.type in _EVENT_NAMES:
                marks.append((_EVENT_NAMES[event.type], event.text_position - 1, event.length, event.sample))
            i += 1
        if wave and count > 0:
            pcm.extend(ctypes.string_at(wave, count * 2))
        return 0

    callback = _Callback(collect)  # a variable, since the object must live as long as the library calls it
    library.espeak_SetSynthCallback(callback)
    encoded = text.encode("utf-8", "replace")
    flags = _CHARS_UTF8 | _END_PAUSE
    status = library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 1, 0, flags, None, None)
    if status != 0:
        raise ChildError(EXIT_SYNTHESIS, f"espeak_Synth answered {status}")
    version = library.espeak_Info(None).decode("ascii", "replace").split()[0]
    header = {"sample_rate": sample_rate, "samples": len(pcm) // 2, "version": version, "marks": marks}
    return header, bytes(pcm)


def _open_library(path: str, data_home: str) -> tuple[ctypes.CDLL, int]:
    try:
        library = ctypes.CDLL(path)
        library.espeak_Info.restype = ctypes.c_char_p
    except (OSError, AttributeError) as error:  # AttributeError: another library of that name
        raise ChildError(EXIT_LIBRARY, f"cannot load {path}: {error}") from error
    sample_rate = library.espeak_Initialize(
        _AUDIO_OUTPUT_SYNCHRONOUS, _BUFFER_MS, os.fsencode(data_home), _INITIALIZE_DONT_EXIT
    )
    if sample_rate <= 0:
        raise ChildError(EXIT_DATA, f"espeak_Initialize answered {sample_rate} for the data in {data_home}")
    return library, sample_rate


# --- where the data can be read from ----------------------------------------------------------------------------------


def inventory(data: Path) -> dict[str, int]:
    """Every file of the voice data with its size in bytes."""
    return {path.relative_to(data).as_posix(): path.stat().st_size for path in data.rglob("*") if path.is_file()}


def inventory_digest(files: dict[str, int]) -> str:
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def readable_home(data: Path, bases: list[Path] | None = None) -> Path:
    """The parent folder of the voice data that eSpeak NG is given: the installed one, or a copy with a short name.

    bases: folders that may hold the copy, the best first.
    Raises OSError when eSpeak NG can read the data neither in its place nor in any copy.
    """
    if data.name == DATA_FOLDER and path_is_readable(data.parent):
        return data.parent
    files = inventory(data)
    folder = f"overnight-narrator-espeak-{_user()}-{inventory_digest(files)[:12]}"
    tried: list[str] = []
    for base in _short_bases() if bases is None else bases:
        home = base / folder
        if not path_is_readable(home):
            tried.append(f"{base}: too long or not ASCII")
            continue
        try:
            return _copied(data, files, home)
        except OSError as error:
            tried.append(f"{base}: {error}")
    raise OSError(f"no folder for a copy of eSpeak NG's data ({'; '.join(tried)})")


def path_is_readable(home: Path, windows: bool = os.name == "nt") -> bool:
    """Whether eSpeak NG can open files under this path: not too long, and on Windows ASCII (nvaccess/nvda #11392)."""
    return len(str(home).encode("utf-8", "surrogateescape")) <= HOME_LIMIT_BYTES and (
        not windows or str(home).isascii()
    )


def _user() -> str:
    # A copy of another user's is not trusted, so each user has one.
    return str(os.getuid()) if sys.platform != "win32" else "shared"


def _short_bases() -> list[Path]:
    if os.name == "nt":
        # The path of the temporary folder has the user's name in it, which may be Korean; these paths do not.
        return [Path(os.environ[name]) for name in ("PROGRAMDATA", "PUBLIC") if os.environ.get(name)]
    return [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108 (a folder of its own user below)


def _copied(data: Path, files: dict[str, int], home: Path) -> Path:
    """The path of a whole copy, `home` or a numbered name; made beside it and renamed, so no process reads half."""
    for number in range(1, COPIES_TRIED + 1):
        # A copy that lacks files (temporary folders are cleaned by programs) is left alone, since another process may
        # be reading it; a numbered name is always safe.
        numbered = home if number == 1 else home.with_name(f"{home.name}-{number}")
        if not numbered.exists():
            _copy_to(data, numbered)
        if _is_whole(numbered, files):
            return numbered
    raise OSError(f"{COPIES_TRIED} copies of eSpeak NG's data in {home.parent} are damaged; delete {home.name}*")


def _copy_to(data: Path, home: Path) -> None:
    part = Path(tempfile.mkdtemp(prefix="part-", dir=home.parent))
    try:
        shutil.copytree(data, part / "home" / DATA_FOLDER)
        with contextlib.suppress(OSError):  # another process was faster, and its copy serves as well
            (part / "home").rename(home)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _is_whole(home: Path, files: dict[str, int]) -> bool:
    if home.is_symlink() or not home.is_dir():
        return False
    if sys.platform != "win32" and home.stat().st_uid != os.getuid():
        return False
    return inventory(home / DATA_FOLDER) == files


if __name__ == "__main__":
    sys.exit(main())
