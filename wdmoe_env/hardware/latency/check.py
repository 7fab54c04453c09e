"""Find warm-up, duplicates, outliers and clocks set back in a table of measurements; drop only what is asked for."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.hardware.latency.measurement import Measurement
from wdmoe_env.hardware.latency.order import in_order, set_back

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Kind = Literal["warm-up", "duplicates", "outliers", "clock"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# A row is suspect when a row of the same run with at least as much work took less than a third of its time.
WARM_UP_FACTOR = 3.0
# Warm-up hardly depends on the size: without an order of runs, so many rows must lie so close to their median.
WARM_UP_ROWS, WARM_UP_LEVEL = 3, 0.25
# How much more work than the suspects such a shape may hold.
WARM_UP_WORK = 8.0
# Robust standard deviations from the median, with 5 rows or more; nearer than 20 % is never an outlier.
OUTLIER_SCORE, OUTLIER_MIN_ROWS, OUTLIER_MIN_LOG = 5.0, 5, float(np.log(1.2))
_MAD_TO_STD = 1.4826


@dataclass(frozen=True)
class Finding:
    """One suspect row: its place in the table (0 is the first), the kind of fault, and why."""

    index: int
    kind: Kind
    reason: str


def check(rows: Sequence[Measurement]) -> list[Finding]:
    """Suspect rows, by kind and then by place; a row may be suspect for several reasons.

    - warm-up: within one run (board, mode, operation, precision, timer, source), another row with at least as many
      FLOPs and bytes took less than a third of the time. Where trial or time_s give the order, this counts for the
      unbroken start of a run. Where nothing does, for 3 rows or more of about the same time, and for shapes as small
      that took as long.
    - duplicates: equal to an earlier row in every column.
    - outliers: more than 5 robust standard deviations (1.4826 MAD of the logarithm) and more than 20 % from the median
      of the rows of the same board, mode, shape, precision, weight bits and timer, where there are 5 or more.
    - clock: within one run, time_s falls from one row to the next though trial rises: the clock was set back.
    """
    return [*_warm_up(rows), *_duplicates(rows), *_outliers(rows), *_clock(rows)]


def drop(rows: Sequence[Measurement], findings: Iterable[Finding], kinds: Iterable[str]) -> list[Measurement]:
    """Rows without those that were found suspect of the given kinds; ValueError for an unknown kind."""
    chosen = set(kinds)
    if unknown := sorted(chosen - set(KINDS)):
        raise ValueError(f"drop={', '.join(unknown)!r} is unknown, expected some of {', '.join(KINDS)}")
    dropped = {finding.index for finding in findings if finding.kind in chosen}
    return [row for index, row in enumerate(rows) if index not in dropped]


def _groups(keys: Iterable[Hashable]) -> Iterable[list[int]]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    return groups.values()


def _duplicates(rows: Sequence[Measurement]) -> list[Finding]:
    first: dict[Measurement, int] = {}
    found = []
    for index, row in enumerate(rows):
        if row in first:
            found.append(Finding(index, "duplicates", f"same as data row {first[row] + 1}"))
        else:
            first[row] = index
    return found


def _outliers(rows: Sequence[Measurement]) -> list[Finding]:
    found = []
    keys = ((r.board, r.power_mode, r.shape, r.precision, r.weight_bits, r.timer) for r in rows)
    for group in _groups(keys):
        if len(group) < OUTLIER_MIN_ROWS:
            continue
        logs = np.log([rows[i].latency_s for i in group])
        off = np.abs(logs - np.median(logs))
        limit = max(OUTLIER_SCORE * _MAD_TO_STD * float(np.median(off)), OUTLIER_MIN_LOG)
        for i in map(int, np.flatnonzero(off > limit)):
            ratio = np.exp(logs[i] - np.median(logs))
            found.append(Finding(group[i], "outliers", f"{ratio:.2f} times the median of {len(group)} such rows"))
    return sorted(found, key=lambda finding: finding.index)


def _clock(rows: Sequence[Measurement]) -> list[Finding]:
    found = []
    keys = ((r.board, r.power_mode, r.operation, r.precision, r.weight_bits, r.timer, r.source) for r in rows)
    for group in _groups(keys):
        for place, seconds in set_back([rows[i] for i in group]):
            reason = f"time_s falls by {seconds:g} s, though trial rises: the clock was set back"
            found.append(Finding(group[place], "clock", reason))
    return sorted(found, key=lambda finding: finding.index)


def _warm_up(rows: Sequence[Measurement]) -> list[Finding]:
    found = []
    keys = ((r.board, r.power_mode, r.operation, r.precision, r.weight_bits, r.timer, r.source) for r in rows)
    for group in _groups(keys):
        found += _warm_up_of_run(rows, group)
    return sorted(found, key=lambda finding: finding.index)


def _warm_up_of_run(rows: Sequence[Measurement], group: Sequence[int]) -> list[Finding]:
    run = [rows[i] for i in group]
    work = np.array([(row.flops, row.bytes) for row in run])
    seconds = np.array([row.latency_s for row in run])
    rival = _fastest_rival(work, seconds)
    slow = seconds > WARM_UP_FACTOR * rival
    if not slow.any():
        return []
    if any(row.trial is not None or row.time_s is not None for row in run):
        slow = _unbroken_start(run, slow)
    else:
        level = float(np.median(seconds[slow]))
        near = np.abs(seconds / level - 1) < WARM_UP_LEVEL
        slow &= near
        if slow.sum() < WARM_UP_ROWS:
            return []
        slow |= near & (work <= WARM_UP_WORK * work[slow].max(axis=0)).all(axis=1)
    return [
        Finding(
            group[i], "warm-up", f"{1e6 * seconds[i]:.0f} us, but as much work or more took {1e6 * rival[i]:.0f} us"
        )
        if seconds[i] > WARM_UP_FACTOR * rival[i]
        else Finding(group[i], "warm-up", f"{seconds[i] * 1e6:.0f} us whatever the size, as rows that are warm-up")
        for i in map(int, np.flatnonzero(slow))
    ]


def _unbroken_start(run: Sequence[Measurement], slow: Bools) -> Bools:
    start = list(itertools.takewhile(lambda i: slow[i], in_order(run)))
    return np.isin(np.arange(len(run)), start)


def _fastest_rival(work: Floats, seconds: Floats) -> Floats:
    """(rows,) least time of any row with at least as much work, itself included."""
    fastest = np.empty_like(seconds)
    # Row by row: a table of all pairs would not fit for long recordings.
    unique, inverse = np.unique(work, axis=0, return_inverse=True)
    least = np.full(len(unique), np.inf)
    np.minimum.at(least, inverse.ravel(), seconds)
    for i, shape in enumerate(unique):
        fastest[inverse.ravel() == i] = least[(unique >= shape).all(axis=1)].min()
    return fastest
