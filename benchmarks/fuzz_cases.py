"""Cases of fuzzing: what one is, and what comes of it. A module of its own, which other processes can import."""

from __future__ import annotations

import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.fuzz_targets import TARGETS, Target, WrongError

from agents import StorageError
from evaluation.episodes.errors import EvaluationError

ROOT: Final = Path(__file__).resolve().parents[1]
NAMED: Final = (ValueError, TypeError, StorageError, EvaluationError)
OUTCOMES: Final = ("right", "refused", "wrong", "raw error", "hang")
PATIENCE_S: Final = 10


@dataclass
class Row:
    """What came of one kind."""

    kind: str
    cases: int = 0
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    slowest_s: float = 0.0

    def add(self, other: Row) -> None:
        """Count the cases of another row too."""
        self.cases += other.cases
        self.outcomes = {outcome: count + other.outcomes[outcome] for outcome, count in self.outcomes.items()}
        self.slowest_s = max(self.slowest_s, other.slowest_s)


@dataclass(frozen=True)
class Tried:
    """What came of some cases of one kind: a unit of work.

    Attributes:
        row: how many of each outcome.
        faults: (seed, outcome, what went wrong) of each that was not right.
        peak_mib: of the process that tried them.
    """

    row: Row
    faults: list[tuple[int, str, str]]
    peak_mib: float


class _HangError(BaseException):
    """A case takes too long; not an Exception, so that nobody takes it for one of theirs."""


def try_cases(kind: str, first: int, count: int) -> Tried:
    """Try some cases of a kind: a plain function of its arguments."""
    warnings.simplefilter("ignore")
    row, faults, target = Row(kind), list[tuple[int, str, str]](), TARGETS[kind][1]
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            outcome, detail = attempt(target, seed, Path(folder), row)
            row.cases += 1
            row.outcomes[outcome] += 1
            if outcome not in ("right", "refused"):
                faults.append((seed, outcome, detail))
    return Tried(row, faults, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


def attempt(target: Target, seed: int, folder: Path, row: Row) -> tuple[str, str]:
    """The outcome of one case, and what went wrong."""
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
