"""Import radio logs: UCC 5G drive tests, `seconds Mbit/s` files and Mahimahi traces."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

from wdmoe_env.files.tables import text_of
from wdmoe_env.hardware.radio.traces import KINDS, Floats, Kind, RadioTrace

UCC_COLUMNS = {"snr_db": "SNR", "rsrp_dbm": "RSRP", "throughput_bit_s": "DL_bitrate"}
UCC_UNIT = {"snr_db": 1.0, "rsrp_dbm": 1.0, "throughput_bit_s": 1e3}
# 2G and 3G report another quantity under the name of RSRP, and no SNR.
UCC_MODES = ("5G", "LTE")
UCC_MISSING = ("-", "")
# What the phone reports when it has no cell.
NO_CELL_RSRP = -200.0
APPLICATIONS = ("Netflix", "Amazon_Prime")
MAX_GAP_S, MIN_STRETCH_S = 10.0, 60.0
PACKET_BITS = 1500 * 8
MAX_LOG_BYTES = 200_000_000


class RefusedError(ValueError):
    """A log was refused; the message is the reason, the same for like logs."""


@dataclass
class ImportedLogs:
    """Traces of all logs, how many logs gave any, how many were refused for which reason, and what was set right."""

    traces: list[RadioTrace] = field(default_factory=list)
    logs: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)


def import_logs(path: Path, kind: str = "snr_db") -> ImportedLogs:
    """Import a log, every log in a folder, or every CSV in a zip file. A log that is refused is counted by its reason.

    Of a UCC log `kind` is taken; `seconds Mbit/s` files and Mahimahi traces hold throughput.

    Raises:
        ValueError: the kind is unknown, or the path holds no log.
    """
    _known(kind)
    result = ImportedLogs()
    for name, text in _texts(path, result):
        try:
            traces = import_text(text, name, kind, result.notes)
        except ValueError as error:
            result.refused[str(error) if isinstance(error, RefusedError) else str(error).removeprefix(f"{name}: ")] += 1
            continue
        result.accepted += 1
        result.traces += traces
    result.logs = result.accepted + result.refused.total()
    if not result.logs:
        raise ValueError(f"{path} holds no log, expected .csv, .txt, .log, .trace or .down files")
    return result


def import_text(text: str, name: str, kind: str, notes: Counter[str] | None = None) -> list[RadioTrace]:
    """Traces of one log, whose format is told by its first line.

    Raises:
        ValueError: the log is of no known format, faulty or implausible; the message is the reason.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise RefusedError("the log is empty")
    if "Timestamp" in lines[0] and "NetworkMode" in lines[0]:
        return import_ucc(text, name, kind, Counter() if notes is None else notes)
    fields = len(lines[0].replace(",", " ").split())
    if fields == 1:
        return [import_mahimahi(lines, name)]
    if fields == 2:
        return import_pairs(lines, name)
    raise RefusedError(f"unknown format: the first line has {fields} fields, expected a UCC header, one number or two")


def import_ucc(text: str, name: str, kind: str, notes: Counter[str]) -> list[RadioTrace]:
    """Stretches of 60 s and more of a UCC 5G log without a gap over 10 s, of rows in 5G or LTE.

    '-' and RSRP -200 are missing values; samples of the same second are averaged; where the clock runs backwards a new
    stretch begins. Throughput is taken where the phone was downloading, and not from application logs.
    """
    if kind == "throughput_bit_s" and any(part in name for part in APPLICATIONS):
        raise RefusedError("throughput is limited by the application (Netflix, Amazon Prime), not by the link")
    seconds, values = _ucc_samples(text, kind, notes)
    if not seconds:
        raise RefusedError(f"no row in 5G or LTE with {UCC_COLUMNS[kind]}")
    breaks = [0, *(i for i in range(1, len(seconds)) if seconds[i] < seconds[i - 1]), len(seconds)]
    notes["the clock runs backwards: a new stretch begins"] += len(breaks) - 2
    stretches: list[RadioTrace] = []
    for start, end in pairwise(breaks):
        times, place = np.unique(np.array(seconds[start:end]), return_inverse=True)
        notes["samples of the same second, averaged"] += end - start - len(times)
        means = np.asarray(np.bincount(place, weights=values[start:end]) / np.bincount(place), dtype=np.float64)
        for part in np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > MAX_GAP_S) + 1):
            if times[part[-1]] - times[part[0]] >= MIN_STRETCH_S:
                own = f"{name}[{len(stretches)}]"
                stretches.append(RadioTrace(times[part] - times[part[0]], means[part], _known(kind), None, own))
    if not stretches:
        raise RefusedError(f"no stretch of {MIN_STRETCH_S:g} s in 5G or LTE without a gap over {MAX_GAP_S:g} s")
    return stretches


def import_pairs(lines: list[str], name: str) -> list[RadioTrace]:
    """Trace of lines of `seconds Mbit/s`, split at gaps over 10 s."""
    pairs = np.array([_numbers(line, i, 2) for i, line in enumerate(lines, start=1)])
    trace = RadioTrace(pairs[:, 0] - pairs[0, 0], pairs[:, 1] * 1e6, "throughput_bit_s", None, name)
    return trace.split(MAX_GAP_S)


def import_mahimahi(lines: list[str], name: str, bin_s: float = 0.1) -> RadioTrace:
    """Throughput of a Mahimahi trace: each line is the ms at which a packet of 1500 bytes may be delivered.

    Packets are counted in bins of bin_s. The last time is the length of the trace: Mahimahi repeats it from there.
    """
    times = np.array([_numbers(line, i, 1)[0] for i, line in enumerate(lines, start=1)])
    if (np.diff(times) < 0).any() or times[0] < 0:
        raise RefusedError("Mahimahi trace: the milliseconds decrease, expected 0 or more, never falling")
    if (times != np.round(times)).any():
        raise RefusedError("Mahimahi trace: a time is no whole number of milliseconds; are these seconds?")
    bins = max(int(np.ceil(times[-1] / (1e3 * bin_s))), 2)
    # A packet at the very end belongs to the last bin.
    count = np.bincount(np.minimum((times / (1e3 * bin_s)).astype(np.int64), bins - 1), minlength=bins)
    rate = count.astype(np.float64) * PACKET_BITS / bin_s
    return RadioTrace(np.arange(bins, dtype=np.float64) * bin_s, rate, "throughput_bit_s", None, name)


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
    reader = csv.DictReader(text.splitlines())
    if missing := [
        c for c in ("NetworkMode", "RSRP", "State", UCC_COLUMNS[kind]) if c not in (reader.fieldnames or ())
    ]:
        raise RefusedError(f"UCC log without column {', '.join(missing)}")
    for raw in reader:
        if reason := _ucc_unusable(raw, kind):
            notes[f"rows left out: {reason}"] += 1
            continue
        try:
            stamp = datetime.strptime(raw["Timestamp"], "%Y.%m.%d_%H.%M.%S")
            value = float(raw[UCC_COLUMNS[kind]]) * UCC_UNIT[kind]
        except (TypeError, ValueError):
            raise RefusedError("UCC log with a time stamp or value that cannot be read") from None
        origin = origin or stamp
        seconds.append((stamp - origin).total_seconds())
        values.append(value)
    return seconds, values


def _ucc_unusable(raw: dict[str, str], kind: str) -> str | None:
    if raw["NetworkMode"] not in UCC_MODES:
        return "neither 5G nor LTE"
    if raw[UCC_COLUMNS[kind]] in UCC_MISSING:
        return f"no {UCC_COLUMNS[kind]}"
    if raw["RSRP"] not in UCC_MISSING and float(raw["RSRP"]) <= NO_CELL_RSRP:
        return "no cell (RSRP -200)"
    if kind == "throughput_bit_s" and raw["State"] != "D":
        return "not downloading"
    return None


def _numbers(line: str, number: int, count: int) -> Floats:
    try:
        values = np.array([float(part) for part in line.replace(",", " ").split()])
    except ValueError:
        values = np.empty(0)
    if len(values) != count or not np.isfinite(values).all():
        raise RefusedError(f"line {number}: {line!r:.40}, expected {count} number(s)")
    return values


def _texts(path: Path, result: ImportedLogs) -> Iterator[tuple[str, str]]:
    """Name and text of each log at a path."""
    if path.suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    # Nothing is unpacked to disk. __MACOSX holds no logs but attributes of files.
                    if info.filename.endswith(".csv") and not info.filename.startswith("__MACOSX"):
                        if info.file_size > MAX_LOG_BYTES:
                            result.refused[f"larger than {MAX_LOG_BYTES:g} bytes"] += 1
                            continue
                        yield info.filename, archive.read(info).decode("utf-8-sig", "replace")
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path} is no whole zip file ({error})") from None
        return
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    suffixes = (".csv", ".txt", ".log", ".trace", ".down", ".up")
    for file in files:
        if file.is_file() and (file == path or file.suffix in suffixes):
            try:
                yield str(file), text_of(file)
            except ValueError as error:
                result.refused[str(error).removeprefix(f"{file} ")] += 1
