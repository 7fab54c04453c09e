"""Physical bounds that tell a wrong unit from a slow or a fast device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from wdmoe_env.hardware.boards.catalogue import board_names, load_board
from wdmoe_env.hardware.latency.measurement import Measurement

# No single device comes near these.
ABSURD_FLOPS, ABSURD_BANDWIDTH = 1e16, 1e14
# Slower than one core of a small computer. What starts the work may add so much.
SLOWEST_FLOPS, SLOWEST_BANDWIDTH, SLOWEST_START = 5e8, 5e8, 0.1
# Of a board in the catalogue more is known: so many times its specified time, and a start of so many seconds.
BOARD_TOLERANCE, BOARD_START, BOARD_SPEEDUP = 100.0, 0.02, 4.0
POWER_W = (1e-3, 1e4)
_UNITS = ((1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds"))


def latency_bounds(row: Measurement) -> tuple[float, float]:
    """Shortest and longest latency that is physically plausible for a row, s.

    Any device: at least ``max(flops / 1e16, weight bytes / 1e14)`` and at most ``0.1 + flops / 5e8 + bytes / 5e8``. A
    board of the catalogue: at least a quarter of ``flops / peak``, and at most ``0.02 + 100 (flops / peak + bytes /
    bandwidth)`` with its specified figures.
    """
    if row.board in board_names():
        board = load_board(row.board)
        arithmetic, memory = row.flops / board.spec_peak, row.bytes / board.spec_bandwidth
        return arithmetic / BOARD_SPEEDUP, BOARD_START + BOARD_TOLERANCE * (arithmetic + memory)
    low = max(row.flops / ABSURD_FLOPS, row.weight_bytes / ABSURD_BANDWIDTH)
    return low, SLOWEST_START + row.flops / SLOWEST_FLOPS + row.bytes / SLOWEST_BANDWIDTH


def implausible(rows: Sequence[Measurement]) -> Iterator[tuple[int, str, str]]:
    """Yield (index, column, what was expected) for every value of valid rows that cannot be in the stated unit.

    A single run may stall for any time, so of runs of the same shape the median is judged.
    """
    runs: dict[object, list[float]] = {}
    for row in rows:
        runs.setdefault(_repeats(row), []).append(row.latency_s)
    typical = {key: median(latencies) for key, latencies in runs.items()}
    for index, row in enumerate(rows):
        usual = typical[_repeats(row)] if row.trials == 1 else row.latency_s
        low, high = latency_bounds(row)
        if row.latency_s < low or min(usual, row.latency_s) > high:
            work = f"{row.flops:.2g} FLOP and {row.bytes:.2g} B on {row.board!r}"
            hint = _hint(row.latency_s, low, high)
            yield index, "latency_s", f"seconds: {work} take {low:.2g} to {high:.2g} s{hint}"
        for column, expected in _inconsistent(row):
            yield index, column, expected


def _repeats(row: Measurement) -> object:
    return row.board, row.power_mode, row.shape, row.precision, row.trials == 1


def _inconsistent(row: Measurement) -> Iterator[tuple[str, str]]:
    """Yield what does not fit the row's own latency."""
    runs = max(row.trials, 2)
    # No sample of so many positive values has a larger deviation.
    if row.std_s is not None and row.std_s > row.latency_s * runs**0.5:
        yield "std_s", f"seconds, at most latency_s * sqrt(trials) = {row.latency_s * runs**0.5:.3g}; check the unit"
    if row.min_s is not None and row.min_s > row.latency_s * 1.001:
        yield "min_s", f"seconds, at most latency_s = {row.latency_s:.3g}; check the unit"
    if row.trial is not None and row.trials != 1:
        yield "trials", "1, as trial says that the row is a single run"
    if row.energy_j is not None and not POWER_W[0] <= (watts := row.energy_j / row.latency_s) <= POWER_W[1]:
        yield (
            "energy_j",
            f"joules: with latency_s this is {watts:.3g} W, plausible are {POWER_W[0]:g} to {POWER_W[1]:g} W",
        )


def _hint(value: float, low: float, high: float) -> str:
    for factor, unit in _UNITS:
        if value > high and low <= value / factor <= high:
            return f"; it looks like {unit}: divide by {factor:.0f}"
    return ""
