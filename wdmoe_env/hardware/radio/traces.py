"""Recorded radio conditions over time: container, checks, resampling, and our own CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdmoe_env.files.tables import Fault, read_rows, refuse, write_rows

Floats = NDArray[np.float64]
Kind = Literal["snr_db", "rsrp_dbm", "throughput_bit_s"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# What a value may be, and what else it looks like.
LIMITS: dict[str, tuple[float, float, str]] = {
    "snr_db": (-50.0, 80.0, "dB; is it linear, or in tenths of a dB?"),
    "rsrp_dbm": (-160.0, -20.0, "dBm, always negative; is the sign missing, or is it a code such as ASU?"),
    "throughput_bit_s": (0.0, 2e10, "bit/s; was kbit/s or bit/s read as Mbit/s?"),
}
# Columns of a file that hold text.
TEXTS = ("source", "part_of")
# The best second of a link worth simulating. A log in kbit/s or Mbit/s stays below this when read as bit/s.
LEAST_PEAK_BIT_S = 1e6
# Logs are taken about once a second or more often; in milliseconds the numbers are a thousand times this.
MAX_MEDIAN_STEP_S = 100.0


class TraceError(ValueError):
    """A trace is implausible.

    Attributes:
        reason: what is wrong, in the same words for like traces.
        detail: the same with the values of this one; the message has the name, too.
    """

    def __init__(self, name: str, faults: Sequence[tuple[str, str]]) -> None:
        self.reason, self.detail = ("; ".join(texts) for texts in zip(*faults, strict=True))
        super().__init__(f"{name}: {self.detail}")


@dataclass(frozen=True, eq=False)
class RadioTrace:
    """Samples of one link over time, checked when made.

    Attributes:
        seconds: (T,) since the start, strictly increasing, T >= 2.
        values: (T,) in the unit that kind names; of the downlink.
        kind: snr_db, rsrp_dbm or throughput_bit_s.
        uplink: (T,) the same of the uplink, or None where it is not known.
        name: the file it comes from.
        source: what the file says about where its values come from.
        part_of: name of the trace of which this is a part. The throughput of a part may be low all the time; of a whole
            trace, low throughput is taken for a wrong unit.

    Raises:
        TraceError: a value, a unit or the order of time is implausible; the message says which, and what it looks like.
    """

    seconds: Floats
    values: Floats
    kind: Kind
    uplink: Floats | None = None
    name: str = "trace"
    source: str = ""
    part_of: str = ""

    def __post_init__(self) -> None:
        if faults := list(_faults(self)):
            raise TraceError(self.name, faults)

    @property
    def duration_s(self) -> float:
        """Time until the trace begins anew: the last sample lasts as long as a typical one."""
        return float(self.seconds[-1] - self.seconds[0] + np.median(np.diff(self.seconds)))

    def split(self, max_gap_s: float) -> list[RadioTrace]:
        """Stretches without a gap above max_gap_s, each beginning at 0 s; stretches of one sample are left out."""
        parts = np.split(np.arange(len(self.seconds)), np.flatnonzero(np.diff(self.seconds) > max_gap_s) + 1)
        return [self._part(part, f"{self.name}[{i}]") for i, part in enumerate(parts) if len(part) > 1]

    def resample(
        self, step_s: float, how: Literal["previous", "linear"] = "previous", max_gap_s: float = 10.0
    ) -> RadioTrace:
        """The trace at 0, step_s, 2 step_s, ...: the last known value, or a line between two.

        Raises:
            ValueError: step_s is not positive, or a gap is above max_gap_s: use `split` first.
        """
        if not step_s > 0:
            raise ValueError(f"step_s={step_s!r}, expected seconds > 0")
        if (gap := float(np.diff(self.seconds).max())) > max_gap_s:
            raise ValueError(f"{self.name}: a gap of {gap:g} s is above max_gap_s={max_gap_s:g}; split the trace first")
        start = self.seconds[0]
        # Half a step less than the whole, or rounding decides about the last sample.
        grid = np.arange(0.0, max(self.duration_s - step_s / 2, 1.5 * step_s), step_s)
        if how == "linear":
            fill = [np.interp(start + grid, self.seconds, part) for part in self._links()]
        else:
            place = np.searchsorted(self.seconds, start + grid * (1 + 1e-12), side="right") - 1
            fill = [part[place] for part in self._links()]
        uplink = fill[1] if len(fill) > 1 else None
        return replace(self, seconds=grid, values=fill[0], uplink=uplink, part_of=self.part_of or self.name)

    def at(self, seconds: ArrayLike) -> Floats:
        """Last known downlink value at any times (...), s since the start; after its duration the trace begins anew."""
        times = self.seconds[0] + np.asarray(seconds, dtype=np.float64) % self.duration_s
        return np.asarray(self.values[np.searchsorted(self.seconds, times, side="right") - 1])

    def gain(
        self,
        bandwidth_hz: float,
        power_w: float,
        noise_w_per_hz: float,
        reference_dbm: float | None = None,
        uplink: bool = False,
    ) -> Floats:
        """(T,) channel power gain of one direction that explains the values, for a transmitter of the simulator.

        snr_db: ``SNR * noise * bandwidth / power``. throughput_bit_s: the SNR at which Shannon's capacity of the band
        is the throughput. rsrp_dbm: received over sent power, reference_dbm being the power sent per resource element.

        Raises:
            ValueError: reference_dbm is missing for rsrp_dbm, or the uplink is not known.
        """
        if (values := self.uplink if uplink else self.values) is None:
            raise ValueError(f"{self.name} has no uplink")
        if self.kind == "rsrp_dbm":
            if reference_dbm is None:
                raise ValueError("RSRP needs reference_dbm: what the base station sends per resource element")
            return np.asarray(10 ** ((values - reference_dbm) / 10))
        snr = 10 ** (values / 10) if self.kind == "snr_db" else np.expm1(np.log(2) * values / bandwidth_hz)
        return np.asarray(snr * noise_w_per_hz * bandwidth_hz / power_w)

    def _links(self) -> list[Floats]:
        return [self.values] if self.uplink is None else [self.values, self.uplink]

    def _part(self, index: NDArray[np.int64], name: str) -> RadioTrace:
        uplink = None if self.uplink is None else self.uplink[index]
        seconds = self.seconds[index] - self.seconds[index[0]]
        part_of = self.part_of or self.source or self.name
        return RadioTrace(seconds, self.values[index], self.kind, uplink, name, self.source, part_of)


def read_radio_trace(path: Path) -> RadioTrace:
    """Read a trace from CSV or Parquet: columns seconds, one of KINDS, if known `uplink_KIND`, and TEXTS.

    `source` says where the values come from, `part_of` of which longer log they are a part; the first row counts.

    Raises:
        ValueError: the file is no such table; every faulty cell is listed, or what is implausible about the whole.
    """
    uplinks = tuple(f"uplink_{kind}" for kind in KINDS)
    faults: list[Fault] = []
    rows = list(read_rows(path, ("seconds",), ("seconds", *KINDS, *uplinks, *TEXTS), faults))
    source, part_of = (rows[0][1].get(name, "") if rows else "" for name in TEXTS)
    names = [name for name in rows[0][1] if name not in TEXTS] if rows else []
    kinds = [kind for kind in KINDS if kind in names]
    if rows and (len(kinds) != 1 or not set(names) <= {"seconds", kinds[0], f"uplink_{kinds[0]}"}):
        raise ValueError(
            f"{path}: columns {', '.join(names)}, expected seconds, one of {', '.join(KINDS)}, and its uplink_"
        )
    columns: dict[str, list[float]] = {name: [] for name in names}
    for number, cells in rows:
        for name in names:
            columns[name].append(_number(cells[name]))
            if not np.isfinite(columns[name][-1]):
                faults.append(Fault(number, name, cells[name], "a finite number"))
    refuse(path, faults)
    if len(rows) < 2:
        raise ValueError(f"{path}: {len(rows)} rows, expected at least 2 samples")
    arrays = {name: np.array(values) for name, values in columns.items()}
    kind = kinds[0]
    return RadioTrace(arrays["seconds"], arrays[kind], kind, arrays.get(f"uplink_{kind}"), str(path), source, part_of)


def write_radio_trace(path: Path, trace: RadioTrace) -> None:
    """Write a trace as CSV, or as Parquet when the name ends so, to be read by `read_radio_trace`."""
    columns = ["seconds", trace.kind, *([f"uplink_{trace.kind}"] if trace.uplink is not None else [])]
    cells = [trace.seconds.tolist(), *(part.tolist() for part in trace._links())]
    for column, text in zip(TEXTS, (trace.source, trace.part_of), strict=True):
        if text:
            columns.append(column)
            cells.append([text] * len(trace.seconds))
    write_rows(path, columns, zip(*cells, strict=True))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _faults(trace: RadioTrace) -> Iterator[tuple[str, str]]:
    """What is wrong, each in words that like traces share, and with the values."""
    if trace.kind not in KINDS:
        yield "unknown kind", f"kind={trace.kind!r}, expected one of {', '.join(KINDS)}"
        return
    links = trace._links()
    if len(trace.seconds) < 2 or any(np.shape(part) != np.shape(trace.seconds) for part in links):
        found = f"{len(trace.seconds)} times and {len(trace.values)} values"
        yield "fewer than 2 samples", f"{found}, expected as many of each, and at least 2"
        return
    if not all(np.isfinite(part).all() for part in (trace.seconds, *links)):
        yield ("a time or value is not a finite number",) * 2
        return
    steps = np.diff(trace.seconds)
    if steps.min() <= 0:
        place = int(np.argmax(steps <= 0)) + 1
        before, after = trace.seconds[place - 1 : place + 1]
        yield "time does not increase", f"time does not increase at sample {place}: {after:g} s after {before:g} s"
    elif (typical := float(np.median(steps))) > MAX_MEDIAN_STEP_S:
        tail = f"expected at most {MAX_MEDIAN_STEP_S:g} s between two; are these milliseconds?"
        yield f"samples are too far apart, {tail}", f"samples are {typical:g} s apart, {tail}"
    low, high, hint = LIMITS[trace.kind]
    for part in links:
        if part.min() < low or part.max() > high:
            worst, tail = part.min() if part.min() < low else part.max(), f"expected {low:g} to {high:g} {hint}"
            yield f"{trace.kind} out of range, {tail}", f"{trace.kind} of {worst:g}, {tail}"
    if trace.kind == "throughput_bit_s" and not trace.part_of and trace.values.max() < LEAST_PEAK_BIT_S:
        tail = f"expected a peak of {LEAST_PEAK_BIT_S:g} and more; is it kbit/s or Mbit/s?"
        yield f"little throughput all the time, {tail}", f"at most {trace.values.max():g} bit/s, {tail}"
