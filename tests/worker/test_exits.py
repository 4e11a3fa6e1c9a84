"""The Windows structures, whose sizes the system checks: those of the 64-bit headers."""

from __future__ import annotations

import ctypes

import pytest

from server.worker.exits import ExtendedLimits


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="64-bit sizes")
def test_the_job_limits_have_the_size_that_windows_expects() -> None:
    assert ctypes.sizeof(ExtendedLimits) == 144
    assert ExtendedLimits.BasicLimitInformation.offset == 0
    assert ExtendedLimits.IoInfo.offset == 64
