"""The table of a comparison, one row a policy."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from evaluation.comparison import Comparison
from evaluation.statistics import Estimate

COLUMNS = {
    "latency_ms": "latency (ms)",
    "latency_vs_top_k": "vs top-k",
    "wlr": "WLR (1/s)",
    "retained_mass": "retained mass",
    "reward": "reward",
    "decision_us": "decision (µs)",
}
"""Headings of the metrics that tables show; all others are in the summary."""


def build_table(comparison: Comparison) -> Table:
    """Return the table of one scenario: means, and below each its 95 % interval."""
    table = Table(
        title=heading(comparison),
        caption="latency: of a forward pass; vs top-k: paired ratio; below each mean its 95 % interval",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("policy", style="bold", no_wrap=True)
    for column in COLUMNS.values():
        table.add_column(column, justify="right")
    for result in comparison.results:
        table.add_row(escape(result.name), *[_cell(result.estimates[name]) for name in COLUMNS])
    return table


def heading(comparison: Comparison) -> str:
    """Name and size of a scenario's comparison."""
    scenario, episodes = comparison.scenario, len(comparison.results[0].runs[0].chunk)
    return f"{scenario.name} · {episodes} held-out episode{'s' * (episodes > 1)}, the same for every policy"


def number(value: float) -> str:
    """A value as tables show it: four digits, three of them decimals at most.

    >>> number(1.23456), number(612.3456), number(4321.9), number(0.5)
    ('1.235', '612.3', '4,322', '0.500')
    """
    size = abs(value)
    decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    return f"{value:,.{decimals}f}"


def interval(estimate: Estimate) -> str:
    """The 95 % interval as tables show it."""
    return f"{number(estimate.low)} – {number(estimate.high)}"  # noqa: RUF001 - an en dash


def _cell(estimate: Estimate) -> str:
    return f"{number(estimate.mean)}\n[dim]{interval(estimate)}[/dim]"
