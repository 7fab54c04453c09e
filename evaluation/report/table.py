"""The tables of a comparison, one row a policy."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from evaluation.comparison import Comparison
from evaluation.estimates.statistics import Interval

COLUMNS = {
    "latency_ms": "latency (ms)",
    "predicted_ms": "predicted",
    "prediction_error": "error",
    "latency_vs_top_k": "vs top-k",
    "predicted_vs_top_k": "predicted",
    "wlr": "WLR (1/s)",
    "wlr_token": "token WLR",
    "wlr_device": "device WLR",
    "retained_mass": "retained mass",
    "reward": "reward",
    "optimality": "of bound",
    "bits_per_byte": "bits/byte",
    "bits_vs_top_k": "bits vs top-k",
    "perplexity": "perplexity",
    "decision_us": "decision (µs)",
}
"""Headings of the metrics that tables show, where there are any; all others are in the summary."""
_RATIOS = ("wlr", "wlr_token", "wlr_device")
"""Forms of the weight-to-latency ratio: in the terminal, all but the first have room only in a table of their own."""
_RATIO_CAPTION = (
    "WLR: kept gate weight over the layer's latency, this project's form and the reward's default\n"
    "token WLR: as in an independent re-implementation of the paper's algorithm; it rewards dropping by itself\n"
    "device WLR: kept gate weight over each device's own time, summed"
)
_RATIO_WIDTH = 106
"""Room for the lines below the table of ratios."""
_SHARES = ("optimality", "prediction_error")
_FINE = ("bits_per_byte", "bits_vs_top_k")
"""Metrics whose differences are small, but matter."""


def build_table(comparison: Comparison) -> Table:
    """Return the terminal's table of one scenario: means, and below each its 95 % interval."""
    shown = {name: column for name, column in columns(comparison).items() if name not in _RATIOS[1:]}
    return _table(comparison, shown, heading(comparison), _caption(comparison))


def build_ratio_table(comparison: Comparison) -> Table:
    """Return the terminal's table of the three forms of the weight-to-latency ratio, as `build_table`."""
    shown = {name: COLUMNS[name] for name in _RATIOS}
    title = f"{comparison.scenario.name} · forms of the weight-to-latency ratio, 1/s"
    return _table(comparison, shown, title, _RATIO_CAPTION, _RATIO_WIDTH)


def _table(
    comparison: Comparison, shown: dict[str, str], title: str, caption: str, min_width: int | None = None
) -> Table:
    table = Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        min_width=min_width,
    )
    table.add_column("policy", style="bold", no_wrap=True)
    for column in shown.values():
        table.add_column(column, justify="right")
    for result in comparison.results:
        table.add_row(escape(result.name), *[_cell(name, result.estimates[name].of_mean) for name in shown])
    return table


def columns(comparison: Comparison) -> dict[str, str]:
    """Metrics that a scenario's table shows, and their headings."""
    return {name: heading for name, heading in COLUMNS.items() if name in comparison.results[0].estimates}


def texts(metric: str, found: Interval) -> tuple[str, str]:
    """Value and interval of a metric as tables show them."""
    write, unit = (percent, " %") if metric in _SHARES else (_fine if metric in _FINE else number, "")
    return f"{write(found.value)}{unit}", f"{write(found.low)}–{write(found.high)}"  # noqa: RUF001 - an en dash


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


def _fine(value: float) -> str:
    return f"{value:.4f}"


def percent(share: float) -> str:
    """A share in percent as tables show it: no decimals where penalties have made it less than -1.

    >>> percent(0.98765), percent(-3.0123)
    ('98.8', '-301')
    """
    return f"{100 * share:,.{0 if share < -1.0 else 1}f}"


def _cell(metric: str, found: Interval) -> str:
    mean, ends = texts(metric, found)
    return f"{mean}\n[dim]{ends}[/dim]"


def _caption(comparison: Comparison) -> str:
    text = "latency: of a forward pass; vs top-k: paired ratio; below each mean its 95 % interval"
    if comparison.bound is not None:
        steps = f"{comparison.bound.steps:,} sampled steps"
        text += f"\nof bound: reward as a share of the proven most, mean over {steps}"
    if "predicted_ms" in comparison.results[0].estimates:
        text += (
            "\npredicted: by the simulator for these decisions; error: the layers' median |measured / predicted - 1|"
        )
    if (reading := comparison.reading) is not None:
        text += (
            f"\nbits: what the model takes to predict the text, in streams of {reading.streams.tokens.shape[1]} tokens "
            f"from {reading.documents} document{'s' * (reading.documents > 1)}; vs top-k: paired ratio"
        )
    return text
