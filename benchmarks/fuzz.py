"""Fuzzing: random, broken and extreme input of every kind that people hand over, and what comes of it.

Each case must be taken with a right result or refused by an error of the project's own that says what is wrong. Counted
besides: results that are wrong, errors from inside a library, and cases that take over ten seconds. With --show the
faults are printed, each with the seed of its case; `--kinds NAME --first SEED --cases 1` tries one again.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks import harness
from benchmarks.fuzz_cases import OUTCOMES, Row, Tried, try_cases
from benchmarks.fuzz_targets import TARGETS

from wdmoe_env.workers import places
from wdmoe_env.workers.units import PoolError, Unit, UnitError, results

COLUMNS: Final = ("kind", "cases", *OUTCOMES, "slowest, s")
CHUNK: Final = 200
"""Cases that are tried together, in one process."""


@dataclass(frozen=True)
class Options(harness.Options):
    """How much is tried."""

    cases: int = 10_000
    """In all; each kind has its share, see `benchmarks/fuzz_targets.py`."""
    first: int = 0
    """Seed of the first case of each kind; the others follow."""
    kinds: tuple[str, ...] = tuple(TARGETS)
    """Which kinds are tried."""
    show: int = 10
    """Faults that are printed."""
    jobs: int | None = None
    """Processes that cases are tried in; by default this one alone, with --on one for each core there."""
    on: str | None = None
    """Where: ray, or ray://HOST:PORT; by default this machine."""


def main(options: Options) -> int:
    unknown = [kind for kind in options.kinds if kind not in TARGETS]
    if unknown or options.cases < 1:
        raise ValueError(
            f"kinds is {unknown}, cases {options.cases}: expected some of {', '.join(TARGETS)}, at least 1"
        )
    faults: Counter[str] = Counter()
    peak = 0.0
    with harness.Report(options, COLUMNS) as report:
        for kind, tried in everything(options):
            row = Row(kind)
            for some in tried:
                row.add(some.row)
                peak = max(peak, some.peak_mib)
                for seed, outcome, detail in some.faults:
                    faults[f"{kind}: {detail}"] += 1
                    if faults.total() <= options.show:
                        print(f"{kind}, seed {seed}: {outcome}: {detail}", file=sys.stderr, flush=True)
            counts = [f"{count:,}" for count in row.outcomes.values()]
            report.add(asdict(row), [kind, f"{row.cases:,}", *counts, f"{row.slowest_s:.2f}"])
        report.note(
            f"peak memory {peak:,.0f} MiB; {faults.total()} faults", {"peak_mib": peak, "faults": faults.total()}
        )
    return 1 if faults else 0


def everything(options: Options) -> Iterator[tuple[str, list[Tried]]]:
    """What came of each kind, in order, wherever it was tried.

    Raises:
        ValueError: a place to try cannot be had, or is lost.
    """
    asked = {kind: list(chunks(kind, options)) for kind in options.kinds}
    if options.on is None and (options.jobs or 1) == 1:
        for kind, units in asked.items():
            yield kind, [try_cases(*unit.arguments) for unit in units]
        return
    try:
        with places.opened(options.on, options.jobs) as pool:
            found = results(pool, [unit for units in asked.values() for unit in units], ())
    except (PoolError, UnitError) as error:
        raise ValueError(str(error)) from error
    for kind, units in asked.items():
        yield kind, [found[unit.name] for unit in units]


def chunks(kind: str, options: Options) -> Iterator[Unit]:
    """The cases of a kind as units of work."""
    whole = sum(TARGETS[kind][0] for kind in options.kinds)
    end = options.first + max(round(options.cases * TARGETS[kind][0] / whole), 1)
    for first in range(options.first, end, CHUNK):
        yield Unit(f"{kind}, seeds from {first}", try_cases, (kind, first, min(CHUNK, end - first)))


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
