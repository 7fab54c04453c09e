"""Import radio logs: UCC 5G drive tests, `seconds Mbit/s` files and Mahimahi traces."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

from wdmoe_env.hardware.radio.logs import Log, RefusedError, find_logs
from wdmoe_env.hardware.radio.traces import KINDS, Floats, Kind, RadioTrace, TraceError

UCC_COLUMNS = {"snr_db": "SNR", "rsrp_dbm": "RSRP", "throughput_bit_s": "DL_bitrate"}
UCC_UNIT = {"snr_db": 1.0, "rsrp_dbm": 1.0, "throughput_bit_s": 1e3}
# 2G and 3G report another quantity under the name of RSRP, and no SNR.
UCC_MODES = ("5G", "LTE")
UCC_MISSING = ("-", "")
# What the phone reports when it has no cell.
NO_CELL_RSRP = -200.0
APPLICATIONS = ("Netflix", "Amazon_Prime")
MAX_GAP_S, UCC_STRETCH_S = 10.0, 60.0
PACKET_BITS = 1500 * 8
BIN_MS = 100
MAX_MAHIMAHI_MS = 10**8
"""A day and some hours: a million bins."""


@dataclass
class ImportedLogs:
    """Traces of all logs, how many logs gave any, how many were refused for which reason, and what was set right.

    Attributes:
        first: of each reason for refusal the first log and what is wrong there.
    """

    traces: list[RadioTrace] = field(default_factory=list)
    logs: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)


def import_logs(path: Path, kind: str = "snr_db") -> ImportedLogs:
    """Import a log, or every file in a folder or a zip file. A file that is refused is counted by its reason.

    Of a UCC log `kind` is taken; `seconds Mbit/s` files and Mahimahi traces hold throughput.

    Raises:
        ValueError: the kind is unknown, or there is no file.
    """
    _known(kind)
    result = ImportedLogs()
    for log in find_logs(path):
        # Of a log that is refused nothing counts, its notes neither.
        notes: Counter[str] = Counter()
        try:
            traces = _traces(log, kind, notes)
        except (RefusedError, TraceError) as error:
            result.refused[error.reason] += 1
            particular = error.detail and error.detail != error.reason
            result.first.setdefault(error.reason, f"{log.name}: {error.detail}" if particular else log.name)
            continue
        result.accepted += 1
        result.traces += traces
        result.notes += notes
    result.logs = result.accepted + result.refused.total()
    if not result.logs:
        raise ValueError(f"{path} holds no file, expected logs")
    return result


def import_text(text: str, name: str, kind: str, notes: Counter[str] | None = None) -> list[RadioTrace]:
    """Traces of one log, whose format is told by its first line; each has the log's name as `source`.

    Raises:
        RefusedError: the log is of no known format or faulty; the message is the reason.
        TraceError: it is implausible.
    """
    return _traces(Log(name, name, text), kind, Counter() if notes is None else notes)


def _traces(log: Log, kind: str, notes: Counter[str]) -> list[RadioTrace]:
    if isinstance(log.text, RefusedError):
        raise log.text
    lines = [line for line in log.text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise RefusedError("the log is empty")
    if "Timestamp" in lines[0] and "NetworkMode" in lines[0]:
        return import_ucc(log, kind, notes)
    fields = len(lines[0].replace(",", " ").split())
    if fields == 1:
        return [import_mahimahi(lines, log)]
    if fields == 2:
        return import_pairs(lines, log, notes)
    expected = "expected a UCC header, one number or two in the first line"
    raise RefusedError(f"unknown format, {expected}", f"{fields} fields")


def import_ucc(log: Log, kind: str, notes: Counter[str]) -> list[RadioTrace]:
    """Stretches of 60 s and more of a UCC 5G log without a gap over 10 s, of rows in 5G or LTE.

    '-' and RSRP -200 are missing values; a row that was cut is left out; samples of the same second are averaged; where
    the clock runs backwards a new stretch begins. Throughput is taken where the phone was downloading, and not from
    application logs.
    """
    if kind == "throughput_bit_s" and any(part in log.name for part in APPLICATIONS):
        raise RefusedError("throughput is limited by the application (Netflix, Amazon Prime), not by the link")
    seconds, values = _ucc_samples(str(log.text), kind, notes)
    if not seconds:
        raise RefusedError(f"no row in 5G or LTE with {UCC_COLUMNS[kind]}")
    return _stretches(np.array(seconds), np.array(values), _known(kind), log, notes, UCC_STRETCH_S)


def import_pairs(lines: Sequence[str], log: Log, notes: Counter[str]) -> list[RadioTrace]:
    """Traces of lines of `seconds Mbit/s`, cleaned and split as a UCC log is; two samples are enough."""
    pairs = np.array([_numbers(line, i, 2) for i, line in enumerate(lines, start=1)])
    return _stretches(pairs[:, 0], pairs[:, 1] * 1e6, "throughput_bit_s", log, notes)


def import_mahimahi(lines: Sequence[str], log: Log) -> RadioTrace:
    """Throughput of a Mahimahi trace: each line is the ms until which a packet of 1500 bytes may be delivered.

    The last time is the length of the trace: Mahimahi repeats it from there. Packets are counted in equal bins of about
    0.1 s that divide the length; of a trace that is shorter than a bin, as many rounds as fit into two of them.
    """
    times = np.array([_numbers(line, i, 1)[0] for i, line in enumerate(lines, start=1)])
    if (np.diff(times) < 0).any() or times[0] < 0:
        raise RefusedError("Mahimahi trace: the milliseconds decrease, expected 0 or more, never falling")
    if (times != np.round(times)).any():
        raise RefusedError("Mahimahi trace: a time is no whole number of milliseconds; are these seconds?")
    if not 0 < times[-1] <= MAX_MAHIMAHI_MS:
        expected = f"expected a last time from 1 to {MAX_MAHIMAHI_MS:g} ms"
        raise RefusedError(f"Mahimahi trace: {expected}", f"{times[-1]:g} ms")
    length = int(times[-1])
    if length <= BIN_MS:
        bins, rounds = 2, BIN_MS // length
        width, count = float(rounds * length), np.full(bins, float(rounds * len(times)))
    else:
        bins = max(round(length / BIN_MS), 2)
        width = length / bins
        # A packet at the end of a bin was sent within it, and one at 0 at the end of the round before.
        place = (np.ceil(times / width).astype(np.int64) - 1) % bins
        count = np.bincount(place, minlength=bins).astype(np.float64)
    rate = count * (PACKET_BITS / (width / 1e3))
    seconds = np.arange(bins, dtype=np.float64) * width / 1e3
    return RadioTrace(seconds, rate, "throughput_bit_s", None, log.name, log.source)


def _stretches(
    times: Floats, values: Floats, kind: Kind, log: Log, notes: Counter[str], least_s: float = 0.0
) -> list[RadioTrace]:
    """Cleaned stretches, of least_s and two samples at least, of a log that is plausible as a whole.

    Samples of the same time are averaged; a new stretch begins where the clock runs backwards or after a gap.
    """
    breaks = [0, *(np.flatnonzero(np.diff(times) < 0) + 1).tolist(), len(times)]
    notes["the clock runs backwards: a new stretch begins"] += len(breaks) - 2
    shift, runs = 0.0, []
    for start, end in pairwise(breaks):
        own, place = np.unique(times[start:end], return_inverse=True)
        notes["samples of the same second, averaged"] += end - start - len(own)
        means = np.asarray(np.bincount(place, weights=values[start:end]) / np.bincount(place), dtype=np.float64)
        runs.append((own - own[0] + shift, means))
        # Farther away than any gap that is bridged.
        shift = runs[-1][0][-1] + 2 * MAX_GAP_S
    seconds, means = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    stretches = []
    if len(seconds) > 1:
        whole = RadioTrace(seconds, means, kind, None, log.name, log.source)
        parts = whole.split(MAX_GAP_S)
        stretches = [whole] if [len(part.seconds) for part in parts] == [len(seconds)] else parts
    if long := [part for part in stretches if part.seconds[-1] >= least_s]:
        return long
    what = f"stretch of {least_s:g} s" if least_s else "two samples"
    raise RefusedError(f"no {what} without a gap over {MAX_GAP_S:g} s")


def _known(kind: str) -> Kind:
    for known in KINDS:
        if kind == known:
            return known
    raise ValueError(f"kind={kind!r}, expected one of {', '.join(KINDS)}")


def _ucc_samples(text: str, kind: str, notes: Counter[str]) -> tuple[list[float], list[float]]:
    """Seconds and values of the usable rows of a UCC log, in the order of the file."""
    seconds: list[float] = []
    values: list[float] = []
    origin: datetime | None = None
    reader = csv.reader(text.splitlines())
    header = next(reader, [])
    needed = ("Timestamp", "NetworkMode", "RSRP", "State", UCC_COLUMNS[kind])
    if missing := [column for column in needed if column not in header]:
        raise RefusedError(f"UCC log without column {', '.join(missing)}")
    for cells in reader:
        if len(cells) != len(header):
            notes["rows left out: cut short, or of more cells than the header"] += 1
            continue
        row = dict(zip(header, cells, strict=True))
        if reason := _ucc_unusable(row, kind):
            notes[f"rows left out: {reason}"] += 1
            continue
        try:
            stamp = datetime.strptime(row["Timestamp"], "%Y.%m.%d_%H.%M.%S")
            value = float(row[UCC_COLUMNS[kind]]) * UCC_UNIT[kind]
        except ValueError:
            detail = f"line {reader.line_num}: {row['Timestamp']!r:.40}, {row[UCC_COLUMNS[kind]]!r:.40}"
            raise RefusedError("UCC log with a time stamp or value that cannot be read", detail) from None
        origin = origin or stamp
        seconds.append((stamp - origin).total_seconds())
        values.append(value)
    return seconds, values


def _ucc_unusable(row: dict[str, str], kind: str) -> str | None:
    if row["NetworkMode"] not in UCC_MODES:
        return "neither 5G nor LTE"
    if row[UCC_COLUMNS[kind]] in UCC_MISSING:
        return f"no {UCC_COLUMNS[kind]}"
    if row["RSRP"] not in UCC_MISSING and _or_nan(row["RSRP"]) <= NO_CELL_RSRP:
        return "no cell (RSRP -200)"
    if kind == "throughput_bit_s" and row["State"] != "D":
        return "not downloading"
    return None


def _or_nan(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _numbers(line: str, number: int, count: int) -> Floats:
    try:
        values = np.array([float(part) for part in line.replace(",", " ").split()])
    except ValueError:
        values = np.empty(0)
    if len(values) != count or not np.isfinite(values).all():
        raise RefusedError(f"expected {count} number(s) in each line", f"line {number}: {line!r:.40}")
    return values
