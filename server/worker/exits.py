"""No worker outlives its parent, however the parent ends, even a worker that hangs.

A worker that runs ends when its standard input does (__main__.py). A worker that hangs in the driver is ended by the
system: on Linux by the parent-death signal, on Windows by a Job Object, which kills its processes when its last handle
closes. macOS has neither. The Windows half has not been run.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
from typing import Any, NoReturn

from server.terminal.exit_codes import ExitCode

log = logging.getLogger("server.orphans")

PARENT = "NARRATOR_PARENT"
"""Environment variable that tells a worker who started it."""

PR_SET_PDEATHSIG = 1  # linux/prctl.h

JOB_OBJECT_EXTENDED_LIMIT_INFORMATION = 9  # winnt.h

JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE = 0x2000


def die_with_parent(parent: int) -> None:
    """Called in the worker as soon as it starts. parent: the process that started it."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the signal was asked for
        os._exit(ExitCode.OK)


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION, winnt.h"""

    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


def kill_with_us(process: subprocess.Popen[bytes]) -> Any:
    """Windows: puts the worker into a Job Object that ends with this process; None elsewhere.

    Keep the returned handle as long as the worker. Where the system refuses (a job that allows no nesting), only the
    closed pipe ends the worker; that is logged.
    """
    if sys.platform != "win32":
        return None
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateJobObjectW.restype = ctypes.c_void_p
    kernel.CreateJobObjectW.argtypes = (ctypes.c_void_p, ctypes.c_wchar_p)
    kernel.SetInformationJobObject.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
    kernel.AssignProcessToJobObject.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    limits = ExtendedLimits()
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
    job = kernel.CreateJobObjectW(None, None)
    placed = (
        job
        and kernel.SetInformationJobObject(
            job, JOB_OBJECT_EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits)
        )
        and kernel.AssignProcessToJobObject(job, int(vars(process)["_handle"]))
    )
    if not placed:
        log.warning("the worker could not be put into a job (error %s)", ctypes.get_last_error())
    return job


def end_process(code: ExitCode) -> NoReturn:
    """Not by sys.exit: tearing down CUDA can hang, and there is nothing to save."""
    sys.stderr.flush()
    os._exit(code)
