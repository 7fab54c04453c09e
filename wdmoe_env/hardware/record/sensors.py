"""Temperature and power of the machine, from tegrastats or sysfs where they exist; never a reason to fail."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, Protocol

SYSFS = Path("/sys")
# The GPU where there is one, else the module, else anything that is hottest.
_TEMPERATURE_NAMES = ("gpu", "soc", "cpu", "x86_pkg")
_TEMPERATURE = re.compile(r"(\w+)@(-?\d+(?:\.\d+)?)C\b")
# Total input power, in mW: now/average.
_POWER = re.compile(r"\b(?:VDD_IN|POM_5V_IN|VIN_SYS_5V0|VDD_GPU_SOC) (\d+)(?:mW)?/\d+(?:mW)?")
_PLAUSIBLE_C = (-60.0, 150.0)


class Reading(NamedTuple):
    """What was read; None where there is no sensor."""

    temperature_c: float | None = None
    power_w: float | None = None


class Sensors(Protocol):
    """A source of readings."""

    def read(self) -> Reading:
        """The latest reading."""


def parse_tegrastats(line: str) -> Reading:
    """Temperature (GPU first) and input power from one line of tegrastats; None for what is not in it.

    >>> parse_tegrastats("RAM 2/7620MB GPU@48.5C CPU@50C VDD_IN 5040mW/4990mW")
    Reading(temperature_c=48.5, power_w=5.04)
    """
    found = {name.lower(): float(value) for name, value in _TEMPERATURE.findall(line)}
    power = _POWER.search(line)
    return Reading(_hottest(found), int(power[1]) / 1e3 if power else None)


def read_sysfs(root: Path = SYSFS) -> Reading:
    """Temperature from the thermal zones (thousandths of a degree), GPU first. Power is not in sysfs in one form."""
    found: dict[str, float] = {}
    for zone in sorted((root / "class" / "thermal").glob("thermal_zone*")):
        try:
            name = (zone / "type").read_text(encoding="utf-8").strip().lower()
            found[name] = int((zone / "temp").read_text(encoding="utf-8")) / 1e3
        except (OSError, ValueError):
            continue
    return Reading(_hottest(found))


@contextlib.contextmanager
def open_sensors() -> Iterator[Sensors]:
    """The best source of this machine: tegrastats if installed, else sysfs."""
    command = shutil.which("tegrastats")
    process: subprocess.Popen[str] | None = None
    if command is not None:
        with contextlib.suppress(OSError):
            # The program's own path, and no shell.
            process = subprocess.Popen([command, "--interval", "100"], stdout=subprocess.PIPE, text=True)  # noqa: S603
    if process is None or process.stdout is None:
        yield _Sysfs()
        return
    try:
        yield _Tegrastats(process.stdout)
    finally:
        process.terminate()
        process.wait()


class _Sysfs:
    def read(self) -> Reading:
        return read_sysfs()


class _Tegrastats:
    """Reads lines in a thread of its own, so that a run is never held up."""

    def __init__(self, lines: IO[str]) -> None:
        self._lines, self._latest = lines, Reading()
        threading.Thread(target=self._follow, daemon=True).start()

    def read(self) -> Reading:
        return self._latest

    def _follow(self) -> None:
        for line in self._lines:
            self._latest = parse_tegrastats(line)


def _hottest(found: dict[str, float]) -> float | None:
    plausible = {name: value for name, value in found.items() if _PLAUSIBLE_C[0] <= value <= _PLAUSIBLE_C[1]}
    for part in _TEMPERATURE_NAMES:
        if named := [value for name, value in plausible.items() if part in name]:
            return max(named)
    return max(plausible.values(), default=None)
