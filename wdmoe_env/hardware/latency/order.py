"""In which order the runs of a recording happened: wall clocks may be set back, counts of trials only rise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from wdmoe_env.hardware.latency.measurement import Measurement


def in_order(rows: Sequence[Measurement]) -> list[int]:
    """Indices of rows as they happened, where the rows say so, else as they stand.

    Rows of one recording, whose `trial` says which run each was, go by that, and by `time_s` within a trial. Where a
    trial of the same tokens repeats, several recordings lie in one table: these go by `time_s`, as do rows without one.
    """
    timed = all(row.time_s is not None for row in rows)
    trials = {(row.trial, row.tokens) for row in rows}
    by_trial = all(row.trial is not None for row in rows) and len(trials) == len(rows)

    def key(i: int) -> tuple[float, float]:
        return (rows[i].trial or 0) if by_trial else 0, (rows[i].time_s or 0.0) if timed else 0.0

    return sorted(range(len(rows)), key=key)


def set_back(rows: Sequence[Measurement]) -> list[tuple[int, float]]:
    """Where the clock was set back: rows, as they stand, where `time_s` falls though `trial` rises; and by how much."""
    found = []
    for i, (before, row) in enumerate(pairwise(rows), start=1):
        if None not in (before.trial, row.trial, before.time_s, row.time_s):
            rises, fall = (row.trial or 0) > (before.trial or 0), (before.time_s or 0.0) - (row.time_s or 0.0)
            if rises and fall > 0.0:
                found.append((i, fall))
    return found
