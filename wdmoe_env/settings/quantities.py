"""What the settings of a scenario may be: physical ranges, so wide that no real cell is left out.

Within them nothing that is computed leaves the range of double precision, also where all settings are extreme at once;
beyond them a value has the wrong unit. Each range says what it is taken from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

MAX_EXPERTS: Final = 65_536

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10**6)]
"""Of layers, tokens, passes, values of an embedding: a thousand times what the largest models have."""
DeviceCount = Annotated[int, Field(ge=1, le=MAX_EXPERTS)]
"""Every device hosts an expert."""
Name = Annotated[str, Field(max_length=100)]
"""Names stand in tables, and in names of files, which may have 255 bytes."""

Seconds = Annotated[float, Field(ge=0, le=1e7)]
"""Up to four months: no measured pass takes an hour."""
Duration = Annotated[float, Field(ge=1e-6, le=1e7)]
"""Not 0: from a microsecond on, a fourteenth of an OFDM slot of 15 kHz."""
LogStep = Annotated[float, Field(ge=1e-3, le=1e4)]
"""A radio log has a sample a millisecond at the most."""
Metres = Annotated[float, Field(ge=1e-3, le=1e8)]
"""Up to beyond a geostationary satellite, 3.6e7 m away."""
Hertz = Annotated[float, Field(ge=1e3, le=1e12)]
"""From below a subcarrier of NB-IoT, 3.75 kHz, to all of the terahertz bands."""
Gigahertz = Annotated[float, Field(ge=1e-3, le=1e5)]
"""From short wave to infrared."""
Watts = Annotated[float, Field(ge=1e-12, le=1e6)]
"""From far below a backscatter tag, microwatts, to above any base station's radiated power."""
NoiseDensity = Annotated[float, Field(ge=-250.0, le=0.0)]
"""dBm/Hz. Thermal noise is -174 at 290 K and -229 at a thousandth of a kelvin; interference lies above."""
Decibel = Annotated[float, Field(ge=-200.0, le=200.0)]
Spread = Annotated[float, Field(ge=0.0, le=50.0)]
"""Decibel. Shadowing spreads by 3 to 12 dB (3GPP TR 38.901), estimates of a channel by less."""
NoiseFigure = Annotated[float, Field(ge=0.0, le=100.0)]
Radians = Annotated[float, Field(ge=0.0, le=1e3)]
Diversity = Annotated[int, Field(ge=1, le=10_000)]
"""Antennas times resource blocks."""
LoadSpread = Annotated[float, Field(ge=0.0, le=10.0)]
"""Before clipping: from 1 on a device is either free or busy."""
OperationsPerSecond = Annotated[float, Field(ge=1e3, le=1e24)]
"""From a microcontroller without arithmetic of its own to a million of the largest accelerators."""
BytesPerSecond = Annotated[float, Field(ge=1.0, le=1e18)]
Gigabytes = Annotated[float, Field(ge=0.0, le=1e9)]
Operations = Annotated[float, Field(ge=0.0, le=1e6)]
WeightBits = Annotated[float, Field(ge=0.1, le=64.0)]
"""Down to below the 1.58 bits of ternary weights."""
Penalty = Annotated[float, Field(ge=0.0, le=1e6)]

MAX_DISTANCE_M: Final = 1e8
"""Beyond a geostationary satellite, 3.6e7 m away."""
MAX_SPEED_M_S: Final = 1e5
"""A satellite in low orbit has 7.8e3 m/s."""
MAX_EXPERT_S: Final = 1e12
"""Seconds that a compute model may give an expert: more than the slowest processor takes for the largest expert."""


@dataclass(frozen=True)
class Within:
    """Check of a `Range` whose ends must lie within these, to annotate it with."""

    low: float
    high: float

    def __call__(self, value: Any) -> Any:
        """The range as it is; ValueError names the end that lies elsewhere."""
        for end in ("low", "high"):
            if not self.low <= (found := getattr(value, end)) <= self.high:
                raise ValueError(f"{end} is {found:g}, expected {self.low:g} to {self.high:g}")
        return value


def within(low: float, high: float) -> AfterValidator:
    """Annotation of a `Range` whose ends must lie within these."""
    return AfterValidator(Within(low, high))
