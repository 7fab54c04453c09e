"""What `evaluate.py` prints at its end: tables, warnings, and where the report is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from baselines.bound import UNBOUNDED
from evaluation.comparison import Comparison
from evaluation.episodes.plan import BOUNDED_METRIC, Plan
from evaluation.episodes.reading import FEW_DOCUMENTS
from evaluation.estimates.statistics import FEW_RUNS
from evaluation.report import outputs
from evaluation.report.pair_table import build_pair_table
from evaluation.report.table import build_ratio_table, build_table
from wdmoe_env import Scenario

MIN_WIDTH, MIN_WIDTH_READING = 120, 160
FEW_EPISODES = 20


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Say so, where rich would end the process."""
        raise BrokenPipeError


def show(comparisons: Sequence[Comparison], plan: Plan, out: Path) -> None:
    """Print the tables of each scenario, what to be careful with, and where the report is.

    Raises:
        OSError: nobody reads them.
    """
    console = _Console(file=sys.stdout)
    width = MIN_WIDTH if comparisons[0].reading is None else MIN_WIDTH_READING
    console = console if console.is_terminal else _Console(file=sys.stdout, width=width)
    for comparison in comparisons:
        console.print(build_table(comparison))
        console.print(build_ratio_table(comparison))
        if (pairs := build_pair_table(comparison)) is not None:
            console.print(pairs)
        for note in _notes(comparison, plan):
            print(note)
    for warning in _warnings(comparisons, plan):
        print(f"warning: {warning}")
    print(f"report: {out / outputs.REPORT}")


def print_table(comparison: Comparison) -> None:
    """Print the table of one comparison."""
    console = _Console(file=sys.stdout)
    (console if console.is_terminal else _Console(file=sys.stdout, width=MIN_WIDTH)).print(build_table(comparison))


def _notes(comparison: Comparison, plan: Plan) -> Iterator[str]:
    """What one scenario's tables do not say."""
    scenario, reading = comparison.scenario, comparison.reading
    if plan.bound_steps and comparison.bound is None:
        yield f"{scenario.name}: {_why_unbounded(scenario)}, so nothing is compared with one"
    if reading is not None and not reading.by_document:
        few = f"{reading.documents} document{'s' * (reading.documents > 1)}"
        yield f"warning: {scenario.name}: intervals speak for {few} alone; give at least {FEW_DOCUMENTS}"


def _why_unbounded(scenario: Scenario) -> str:
    metric = scenario.reward.metric
    if not scenario.bounded:
        return UNBOUNDED
    if metric != BOUNDED_METRIC:
        return f"no bound is known for reward.metric {metric!r}"
    return f"a share of the bound says nothing with reward.scale {scenario.reward.scale!r}"


def _warnings(comparisons: Sequence[Comparison], plan: Plan) -> Iterator[str]:
    """Intervals that are too narrow, as they come from too little."""
    if plan.episodes < FEW_EPISODES:
        yield f"intervals from {plan.episodes} episodes are too narrow; use at least {FEW_EPISODES}"
    for name, runs in ((result.name, len(result.runs)) for result in comparisons[0].results):
        if 1 < runs < FEW_RUNS:
            yield f"intervals from {runs} training runs of {name} are too narrow; use at least {FEW_RUNS}"
