"""Keeps this PC awake while a run works, and knows what could still put it to sleep: an empty battery, a closed lid.

Never fails: where the system cannot be asked, one sentence says so.
"""

from __future__ import annotations

import contextlib
import queue
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from server.terminal.messages import t
from server.wake_lock import WakeLock

POWER_SUPPLIES = Path("/sys/class/power_supply")
ANSWER_PATIENCE_S = 10.0
"""Longest wait for the system's answer before the run begins; D-Bus may take seconds."""


@dataclass(frozen=True)
class Power:
    """Where the PC's power comes from; None where the system does not say."""

    has_battery: bool | None
    on_battery: bool | None


UNKNOWN = Power(None, None)


def power_warnings(power: Power) -> list[str]:
    warnings = []
    if power.on_battery:
        warnings.append(t("This PC runs on its battery. Plug it in, or the night ends when the battery does."))
    if power.has_battery:
        warnings.append(
            t("Leave the lid open: most laptops sleep as soon as it is closed, whatever a program asks for.")
        )
    return warnings


def linux_power(supplies: dict[str, dict[str, str]]) -> Power:
    """From /sys/class/power_supply: each supply's files and what they hold (kernel, sysfs-class-power)."""
    # scope Device is the battery of a mouse or headset.
    ours = [facts for facts in supplies.values() if facts.get("scope") != "Device"]
    batteries = [facts for facts in ours if facts.get("type") == "Battery" and facts.get("present", "1") == "1"]
    if not batteries:
        return Power(False, False) if supplies else UNKNOWN
    mains = [facts.get("online") for facts in ours if facts.get("type") in ("Mains", "USB")]
    if mains:
        return Power(True, "1" not in mains)
    return Power(True, any(facts.get("status") == "Discharging" for facts in batteries))


def windows_power(line_status: int, battery_flag: int) -> Power:
    """From ACLineStatus and BatteryFlag of SYSTEM_POWER_STATUS (winbase.h)."""
    has_battery = None if battery_flag == 255 else not battery_flag & 128
    return Power(has_battery, {0: True, 1: False}.get(line_status))


def macos_power(pmset: str) -> Power:
    """From what `pmset -g batt` prints."""
    drawn_from = re.search(r"drawing from '([^']+)'", pmset)
    if drawn_from is None:
        return UNKNOWN
    return Power("InternalBattery" in pmset, drawn_from[1] == "Battery Power")


def read_power() -> Power:
    try:
        if sys.platform == "win32":
            return _ask_windows()
        if sys.platform == "darwin":
            asked = subprocess.run(["pmset", "-g", "batt"], capture_output=True, text=True, timeout=5, check=True)
            return macos_power(asked.stdout)
        return linux_power(_linux_supplies(POWER_SUPPLIES))
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN


def _linux_supplies(folder: Path) -> dict[str, dict[str, str]]:
    supplies = {}
    for supply in sorted(folder.iterdir()) if folder.is_dir() else []:
        facts = {}
        for name in ("type", "scope", "present", "online", "status"):
            with contextlib.suppress(OSError):  # not every supply has every file
                facts[name] = (supply / name).read_text("utf-8", "replace").strip()
        supplies[supply.name] = facts
    return supplies


def _ask_windows() -> Power:
    if sys.platform != "win32":  # for the type checker
        return UNKNOWN
    import ctypes

    # ACLineStatus, BatteryFlag, BatteryLifePercent, SystemStatusFlag: a byte each; then two numbers of four.
    status = (ctypes.c_ubyte * 12)()
    if not ctypes.windll.kernel32.GetSystemPowerStatus(ctypes.byref(status)):
        return UNKNOWN
    return windows_power(status[0], status[1])


@contextlib.contextmanager
def kept_awake(tell: Callable[[str], None]) -> Iterator[bool]:
    """Keeps the PC from going to sleep inside the block; tells in one line whether that works."""
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    lock = WakeLock(answers.put)
    try:
        try:
            is_kept = not answers.get(timeout=ANSWER_PATIENCE_S)
        except queue.Empty:
            is_kept = False
        if is_kept:
            tell(t("This PC is kept awake until the run ends; its screen may go dark."))
        else:
            tell(
                t(
                    "This PC could not be asked to stay awake. Switch its sleep off in the system's power settings "
                    "for tonight: when it sleeps, the run sleeps too and goes on when it wakes."
                )
            )
        yield is_kept
    finally:
        lock.release()
