"""Temperature and power of the machine, from tegrastats or sysfs where they exist; never a reason to fail."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, Protocol

SYSFS = Path("/sys")
# The GPU where there is one, else the module, else anything that is hottest.
_TEMPERATURE_NAMES = ("gpu", "soc", "cpu", "x86_pkg")
_TEMPERATURE = re.compile(r"(\w+)@(-?\d+(?:\.\d+)?)C\b")
# Power of a rail, in mW: now/average, on newer boards /peak.
_RAIL = re.compile(r"\b([A-Z]\w*) (\d+)(?:mW)?/\d+(?:mW)?(?!\w)")
# Rails that together feed the whole module, and no other rail that is among these: the first set that is all there
# counts. From NVIDIA's Jetson Linux Developer Guide, as energymon sums them up; that of Thor by analogy with AGX Orin.
_MODULES = (
    ("VDD_IN",),  # Orin NX, Orin Nano, Xavier NX, TX2
    ("POM_5V_IN",),  # Nano
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),  # AGX Thor
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)
_PLAUSIBLE_C = (-60.0, 150.0)
INTERVAL_MS, MAX_AGE_S = 100, 1.0
"""How often tegrastats is asked to print, and how old a line may be to tell of now."""
END_S = 2.0
"""How long tegrastats may take to end."""


class Reading(NamedTuple):
    """What was read; None where there is no sensor."""

    temperature_c: float | None = None
    power_w: float | None = None


class Sensors(Protocol):
    """A source of readings."""

    def read(self) -> Reading:
        """The latest reading."""


def parse_tegrastats(line: str) -> Reading:
    """Temperature (GPU first) and power of the whole module from one line of tegrastats; None for what is not in it.

    >>> parse_tegrastats("RAM 2/7620MB GPU@48.5C CPU@50C VDD_IN 5040mW/4990mW")
    Reading(temperature_c=48.5, power_w=5.04)
    """
    found = {name.lower(): float(value) for name, value in _TEMPERATURE.findall(line)}
    rails = {name: int(milliwatts) for name, milliwatts in _RAIL.findall(line)}
    module = next((names for names in _MODULES if rails.keys() >= set(names)), None)
    return Reading(_hottest(found), None if module is None else sum(rails[name] for name in module) / 1e3)


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
            process = subprocess.Popen(  # noqa: S603
                [command, "--interval", str(INTERVAL_MS)],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8", errors="replace",
            )  # fmt: skip
    if process is None or process.stdout is None:
        yield _Sysfs()
        return
    try:
        yield _Tegrastats(process.stdout)
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Sysfs:
    def read(self) -> Reading:
        return read_sysfs()


class _Tegrastats:
    """Reads lines in a thread of its own, so that no run is held up; a line that is old, or the last, tells nothing."""

    def __init__(self, lines: IO[str]) -> None:
        self._lines, self._latest, self._at = lines, Reading(), -math.inf
        threading.Thread(target=self._follow, daemon=True).start()

    def read(self) -> Reading:
        return self._latest if time.monotonic() <= self._at + MAX_AGE_S else Reading()

    def _follow(self) -> None:
        for line in self._lines:
            self._latest, self._at = parse_tegrastats(line), time.monotonic()
        self._latest = Reading()


def _hottest(found: dict[str, float]) -> float | None:
    plausible = {name: value for name, value in found.items() if _PLAUSIBLE_C[0] <= value <= _PLAUSIBLE_C[1]}
    for part in _TEMPERATURE_NAMES:
        if named := [value for name, value in plausible.items() if part in name]:
            return max(named)
    return max(plausible.values(), default=None)
