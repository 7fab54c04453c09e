"""Import the benchmark tables of branes-ai/graphs into our schema, dropping what cannot be trusted and saying so."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wdmoe_env.hardware.latency.check import check
from wdmoe_env.hardware.latency.measurement import Measurement, Operation, significant

ORIGIN = "branes-ai/graphs@b6c5e82"
BOARDS = {
    "jetson_orin_agx_gpu": "agx-orin-64gb",
    "jetson_orin_nx_16gb_gpu": "orin-nx-16gb",
    "jetson_orin_nano_gpu": "orin-nano-8gb",
}
OPERATIONS: dict[str, tuple[Operation, str]] = {
    "blas2_gemv": ("gemv", "fp16"),
    "blas3_gemm": ("gemm_burst", "fp16"),
    "stream_add": ("stream_add", "fp32"),
}
GEMM_SIZES = (32, 64, 128, 256, 512, 1024, 2048)
# 200 MB and more, the size of an expert's weights; smaller streams are bound by their launch.
MIN_STREAM_ELEMENTS = 1 << 24
IDLE_CLOCK_MHZ = 306
# The event-timed GEMMs below this are small shapes, most of them warm-up artefacts.
MIN_EVENT_SECONDS = 1e-3
MAX_RELATIVE_STD = 0.5


@dataclass
class Imported:
    """Rows that were kept, how many were dropped for which reason, and what else the reader should know."""

    rows: list[Measurement] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def __add__(self, other: "Imported") -> "Imported":
        """Both one after the other."""
        return Imported(self.rows + other.rows, self.dropped + other.dropped, self.notes + other.notes)


def import_calibrations(path: Path) -> Imported:
    """Read calibrations.csv: GEMV, GEMM and STREAM by board and power mode, host-timed, 10 trials."""
    result, idle, sizes = Imported(), Counter[str](), dict[tuple[str, str], set[int]]()
    for raw in _read(path):
        board, mode = BOARDS.get(raw["board"]), raw["power_mode"].removeprefix("MODE_")
        if board is None or raw["op"] not in OPERATIONS:
            result.dropped["board or operation that the fit does not use"] += 1
            continue
        size = int(raw["shape"].split("x")[0])
        reason = _unusable(raw, size)
        if raw["op"] == "blas3_gemm":
            sizes.setdefault((board, mode), set()).update(() if reason else (size,))
        if reason:
            result.dropped[reason] += 1
            continue
        idle[f"{board} {mode}"] += int(raw["sm_clock_mhz"]) == IDLE_CLOCK_MHZ
        result.rows.append(_calibration(raw, board, mode, size))
    result.notes += [f"{key}: {n} rows carry the idle clock, {IDLE_CLOCK_MHZ} MHz" for key, n in idle.items() if n]
    for (board, mode), found in sizes.items():
        if missing := [str(size) for size in GEMM_SIZES if size not in found]:
            result.notes.append(f"{board} {mode}: no usable fp16 GEMM of size {', '.join(missing)}")
    return result


def import_event_shapes(path: Path, board: str, power_mode: str) -> Imported:
    """Read a table of ``MxKxN`` GEMM latencies timed by CUDA events; it does not name the power mode itself."""
    rows = [_event_row(raw, board, power_mode, path.name) for raw in _read(path)]
    warm_up = {finding.index for finding in check(rows) if finding.kind == "warm-up"}
    result = Imported()
    for index, row in enumerate(rows):
        if index in warm_up:
            result.dropped["event-timed GEMM that is a warm-up artefact: about as long whatever the size"] += 1
        elif row.latency_s < MIN_EVENT_SECONDS:
            result.dropped["event-timed GEMM under 1 ms: too small for an expert"] += 1
        else:
            result.rows.append(row)
    return result


def _event_row(raw: dict[str, str], board: str, power_mode: str, name: str) -> Measurement:
    tokens, hidden, intermediate = map(int, raw["shape"].split("x"))
    return Measurement(
        board=board,
        power_mode=power_mode,
        operation="gemm",
        tokens=tokens,
        hidden=hidden,
        intermediate=intermediate,
        precision=raw["dtype"],  # type: ignore[arg-type]  # validated by the model
        timer="event",
        latency_s=significant(float(raw["latency_s"])),
        trials=int(raw["trial_count"]),
        energy_j=significant(float(raw["energy_j"])) or None,
        source=f"{ORIGIN} {name}",
    )


def import_gemm_sweep(path: Path, board: str, power_mode: str) -> Imported:
    """Read the sweep of ``(batch, M, K) @ (K, N)`` with one shared weight, so tokens = batch * M; 100 runs, host."""
    result = Imported()
    for raw in _read(path):
        mean, std = (float(raw["empirical_time_ms"]) / 1e3, float(raw["empirical_time_std_ms"]) / 1e3)
        reason = "precision other than fp16" if raw["precision"] != "fp16" else _noisy(mean, std)
        if reason:
            result.dropped[reason] += 1
            continue
        result.rows.append(
            Measurement(
                board=board,
                power_mode=power_mode,
                operation="gemm",
                tokens=int(raw["batch_size"]) * int(raw["M"]),
                hidden=int(raw["K"]),
                intermediate=int(raw["N"]),
                precision="fp16",
                timer="host",
                latency_s=significant(mean),
                std_s=significant(std),
                trials=100,
                source=f"{ORIGIN} {path.name}",
            )
        )
    return result


def import_directory(directory: Path) -> Imported:
    """All the tables that the shipped measurements come from; the modes are those that the authors report."""
    result = import_calibrations(directory / "calibrations.csv")
    for name in ("orin_nano_8gb_linear.csv", "orin_nano_8gb_matmul.csv"):
        result += import_event_shapes(directory / name, "orin-nano-8gb", "15W")
    return result + import_gemm_sweep(directory / "agx_orin_50w_gemm_sweep.csv", "agx-orin-64gb", "50W")


def _read(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _unusable(raw: dict[str, str], size: int) -> str | None:
    """Why a calibration row is left out, or None."""
    if raw["precision"] != OPERATIONS[raw["op"]][1]:
        return "precision other than the one fitted"
    if raw["op"] == "stream_add" and size < MIN_STREAM_ELEMENTS:
        return "stream smaller than an expert's weights"
    return _noisy(float(raw["mean_ms"]), float(raw["std_ms"]))


def _noisy(mean: float, std: float) -> str | None:
    return "standard deviation over half of the mean" if std > MAX_RELATIVE_STD * mean else None


def _calibration(raw: dict[str, str], board: str, mode: str, size: int) -> Measurement:
    operation, precision = OPERATIONS[raw["op"]]
    tokens, hidden, intermediate = {"gemv": (1, size, size), "stream_add": (size, 2, 1)}.get(
        operation, (size, size, size)
    )
    return Measurement(
        board=board,
        power_mode=mode,
        operation=operation,
        tokens=tokens,
        hidden=hidden,
        intermediate=intermediate,
        precision=precision,  # type: ignore[arg-type]  # validated by the model
        timer="host",
        latency_s=significant(float(raw["mean_ms"]) / 1e3),
        std_s=significant(float(raw["std_ms"]) / 1e3),
        min_s=significant(float(raw["min_ms"]) / 1e3),
        trials=int(raw["trials"]),
        source=f"{ORIGIN} calibrations.csv {raw['date']}",
    )
