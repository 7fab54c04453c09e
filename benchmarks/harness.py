"""What all benchmarks share: options, rows as a table or as JSON, faults in one line, threads, timing.

A benchmark has a dataclass `Options`, a function `main(options)` that adds its rows to a `Report`, and at its end
`sys.exit(harness.command(main, Options, __doc__))`.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, is_dataclass
from types import TracebackType
from typing import Any, Final, TypeVar

import tyro
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from evaluation.episodes.errors import EvaluationError
from wdmoe_env.console.output import tolerate_locale
from wdmoe_env.files.safe import StorageError

FAULTS: Final = (EvaluationError, StorageError, ValueError, OSError)
"""What is told in one line: an option, a file or a policy is at fault."""
WIDTH: Final = 200
"""Columns of the terminal that tables are made for, so that no cell is cut."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every benchmark can be asked for."""

    json: bool = False
    """Print one JSON object a row instead of a table."""


OptionsT = TypeVar("OptionsT", bound=Options)


class Report:
    """Rows of a benchmark: JSON objects as they come, or a table at the end. Used as a context.

    Args:
        options: of the benchmark.
        columns: heads of the table.
        title: stands above the table.
        text: how many columns hold text, from the left; the others are numbers.
    """

    def __init__(self, options: Options, columns: Sequence[str], *, title: str | None = None, text: int = 1) -> None:
        self._json, self._notes = options.json, list[str]()
        self.table = Table(title=title, highlight=False)
        for index, column in enumerate(columns):
            self.table.add_column(column, justify="left" if index < text else "right", no_wrap=True)

    def add(self, row: Any, cells: Iterable[str], *, end_section: bool = False) -> None:
        """Add a row: a dataclass or a mapping, and what the table shows of it."""
        self.print_row(row)
        self.table.add_row(*cells, end_section=end_section)

    def heading(self, text: str) -> None:
        """Begin a section of the table, with a line of its own."""
        self.section()
        self.table.add_row(f"[bold]{text}")

    def section(self) -> None:
        """Begin a section of the table."""
        self.table.add_section()

    def note(self, text: str, row: Any = None) -> None:
        """Add a line below the table; with --json the row, if there is one, is printed in its place."""
        if row is not None:
            self.print_row(row)
        self._notes.append(text)

    def print_row(self, row: Any) -> None:
        """With --json, print a row that the table does not show."""
        if self._json:
            values: Mapping[str, Any] = asdict(row) if is_dataclass(row) and not isinstance(row, type) else row
            print(json.dumps(values), flush=True)

    def __enter__(self) -> Report:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and not self._json:
            Console(width=WIDTH).print(self.table)
            print(*self._notes, sep="\n", end="\n" if self._notes else "")


def command(
    main: Callable[[OptionsT], int | None],
    kind: type[OptionsT],
    description: str | None,
    arguments: Sequence[str] | None = None,
    *,
    one_thread: bool = False,
) -> int:
    """Read the options, run, and return the exit status; faults are one line on standard error.

    Args:
        main: the benchmark; what it returns is the exit status, None is 0.
        kind: its options.
        description: what `--help` says.
        arguments: those of the command line, unless given.
        one_thread: NumPy, SciPy and PyTorch compute on one core.
    """
    tolerate_locale()
    options = tyro.cli(kind, description=description, args=arguments)
    try:
        with threadpool_limits(1) if one_thread else nullcontext():
            return main(options) or 0
    except FAULTS as fault:
        print(f"error: {' '.join(str(fault).split())}", file=sys.stderr)
        return 2


def median_seconds(
    work: Callable[[], object],
    repeats: int,
    limit_s: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median of the run times of `work`, seconds; the first run counts only if it takes all of the time alone.

    Args:
        work: what is timed.
        repeats: runs that count.
        limit_s: no more runs are started after so long.
        clock: `time.process_time` leaves out what other programs take.
    """
    spent: list[float] = []
    while not spent or (len(spent) <= repeats and sum(spent) < limit_s):
        start = clock()
        work()
        spent.append(clock() - start)
    return statistics.median(spent[1:] or spent)
