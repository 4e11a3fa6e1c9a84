"""Staying awake, and what the system says of its power."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from client.run import awake
from client.run.awake import (
    UNKNOWN,
    Power,
    kept_awake,
    linux_power,
    macos_power,
    power_warnings,
    read_power,
    windows_power,
)

BATTERY = {"type": "Battery", "scope": "System", "present": "1", "status": "Discharging"}
MAINS_ON = {"type": "Mains", "online": "1"}
MAINS_OFF = {"type": "Mains", "online": "0"}
MOUSE = {"type": "Battery", "scope": "Device", "present": "1", "status": "Discharging"}


@pytest.mark.parametrize(
    ("supplies", "power"),
    [
        ({}, UNKNOWN),
        ({"AC": MAINS_ON}, Power(False, False)),
        ({"AC": MAINS_ON, "hidpp_0": MOUSE}, Power(False, False)),
        ({"hidpp_0": MOUSE}, Power(False, False)),
        ({"AC": MAINS_ON, "BAT0": BATTERY}, Power(True, False)),
        ({"AC": MAINS_OFF, "BAT0": BATTERY}, Power(True, True)),
        ({"AC": MAINS_OFF, "USBC000": {"type": "USB", "online": "1"}, "BAT0": BATTERY}, Power(True, False)),
        ({"BAT0": BATTERY}, Power(True, True)),
        ({"BAT0": {**BATTERY, "status": "Charging"}}, Power(True, False)),
        ({"AC": MAINS_ON, "BAT0": {**BATTERY, "present": "0"}}, Power(False, False)),
    ],
)
def test_linux_power(supplies: dict[str, dict[str, str]], power: Power) -> None:
    assert linux_power(supplies) == power


@pytest.mark.parametrize(
    ("line_status", "battery_flag", "power"),
    [
        (1, 128, Power(False, False)),  # a desktop PC
        (1, 8, Power(True, False)),  # charging
        (0, 1, Power(True, True)),
        (0, 0, Power(True, True)),  # between low and high
        (255, 255, UNKNOWN),
    ],
)
def test_windows_power(line_status: int, battery_flag: int, power: Power) -> None:
    assert windows_power(line_status, battery_flag) == power


@pytest.mark.parametrize(
    ("pmset", "power"),
    [
        ("Now drawing from 'AC Power'\n", Power(False, False)),
        (
            "Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t100%; charged; 0:00 remaining\n",
            Power(True, False),
        ),
        ("Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t61%; discharging;\n", Power(True, True)),
        ("", UNKNOWN),
    ],
)
def test_macos_power(pmset: str, power: Power) -> None:
    assert macos_power(pmset) == power


@pytest.mark.parametrize(
    ("power", "words"),
    [
        (UNKNOWN, []),
        (Power(False, False), []),
        (Power(True, False), ["lid"]),
        (Power(True, True), ["battery", "lid"]),
        (Power(None, True), ["battery"]),
    ],
)
def test_warnings_say_what_to_do(power: Power, words: list[str]) -> None:
    warnings = power_warnings(power)
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


def test_supplies_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for supply, facts in {"AC": MAINS_OFF, "BAT0": BATTERY}.items():
        (tmp_path / supply).mkdir()
        for name, value in facts.items():
            (tmp_path / supply / name).write_text(value + "\n")
    monkeypatch.setattr(awake, "POWER_SUPPLIES", tmp_path)
    monkeypatch.setattr("sys.platform", "linux")
    assert read_power() == Power(True, True)


def test_this_machine_can_be_asked() -> None:
    assert isinstance(read_power(), Power)


def test_being_kept_awake_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "1")  # wakepy's own switch for machines without a desktop
    told: list[str] = []
    with kept_awake(told.append) as is_awake:
        assert is_awake
    assert len(told) == 1 and "kept awake" in told[0]


@pytest.mark.skipif(sys.platform != "linux", reason="Windows and macOS can always be asked")
def test_a_system_that_cannot_be_kept_awake_stops_nothing_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus")
    monkeypatch.delenv("WAKEPY_FAKE_SUCCESS", raising=False)
    told: list[str] = []
    with kept_awake(told.append) as is_awake:
        done = True
    assert done and not is_awake
    assert len(told) == 1 and "power settings" in told[0]


def test_a_desktop_on_which_wakepy_breaks_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(**_options: object) -> object:
        raise RuntimeError("no session bus")

    monkeypatch.setattr("wakepy.keep.running", breaks)
    told: list[str] = []
    with kept_awake(told.append) as is_awake:
        done = True
    assert done and not is_awake
    assert len(told) == 1 and "power settings" in told[0]
