"""Fuzzing: random, broken and extreme input of every kind that people hand over, and what comes of it.

Each case must be taken with a right result or refused by an error of the project's own that says what is wrong. Counted
besides: results that are wrong, errors from inside a library, and cases that take over ten seconds. With --show the
faults are printed, each with the seed of its case; `--kinds NAME --first SEED --cases 1` tries one again.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import harness
from benchmarks.fuzz_targets import TARGETS, Target, WrongError

from agents import StorageError
from evaluation.episodes.errors import EvaluationError

ROOT: Final = Path(__file__).resolve().parents[1]
NAMED: Final = (ValueError, TypeError, StorageError, EvaluationError)
OUTCOMES: Final = ("right", "refused", "wrong", "raw error", "hang")
COLUMNS: Final = ("kind", "cases", *OUTCOMES, "slowest, s")
PATIENCE_S: Final = 10


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


@dataclass
class Row:
    """What came of one kind."""

    kind: str
    cases: int = 0
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    slowest_s: float = 0.0


class _HangError(BaseException):
    """A case takes too long; not an Exception, so that nobody takes it for one of theirs."""


def main(options: Options) -> int:
    warnings.simplefilter("ignore")
    unknown = [kind for kind in options.kinds if kind not in TARGETS]
    if unknown or options.cases < 1:
        raise ValueError(
            f"kinds is {unknown}, cases {options.cases}: expected some of {', '.join(TARGETS)}, at least 1"
        )
    faults: Counter[str] = Counter()
    whole = sum(TARGETS[kind][0] for kind in options.kinds)
    with harness.Report(options, COLUMNS) as report, tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            share, target = TARGETS[kind]
            count = max(round(options.cases * share / whole), 1)
            row = Row(kind)
            for seed in range(options.first, options.first + count):
                outcome, detail = attempt(target, seed, Path(folder), row)
                row.cases += 1
                row.outcomes[outcome] += 1
                if outcome not in ("right", "refused"):
                    faults[f"{kind}: {detail}"] += 1
                    if faults.total() <= options.show:
                        print(f"{kind}, seed {seed}: {outcome}: {detail}", file=sys.stderr, flush=True)
            counts = [f"{count:,}" for count in row.outcomes.values()]
            report.add(asdict(row), [kind, f"{row.cases:,}", *counts, f"{row.slowest_s:.2f}"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        report.note(
            f"peak memory {peak:,.0f} MiB; {faults.total()} faults", {"peak_mib": peak, "faults": faults.total()}
        )
    return 1 if faults else 0


def attempt(target: Target, seed: int, folder: Path, row: Row) -> tuple[str, str]:
    """The outcome of one case, and what went wrong."""
    import time

    began = time.perf_counter()
    try:
        with timed(), np.errstate(all="ignore"):
            return ("right" if target(np.random.default_rng(seed), folder) else "refused"), ""
    except _HangError:
        return "hang", f"took over {PATIENCE_S} s"
    except WrongError as error:
        return "wrong", str(error)[:200]
    except NAMED as error:
        return ("refused", "") if ours(error) else ("raw error", told(error))
    except Exception as error:
        return "raw error", told(error)
    finally:
        row.slowest_s = max(row.slowest_s, time.perf_counter() - began)


def ours(error: Exception) -> bool:
    """Whether a statement of the project raised an error, and says why."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = Path(last.filename)
    inside = place.is_relative_to(ROOT) and ".venv" not in place.parts
    # What a library's compiled code raises has no place of its own: there the line calls it.
    return inside and (last.line or "").startswith("raise") and bool(str(error).strip())


def told(error: Exception) -> str:
    """Type, place and words of an error."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {str(error)[:160]}"


@contextmanager
def timed() -> Iterator[None]:
    """End what takes too long."""

    def end(*_: Any) -> None:
        raise _HangError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
