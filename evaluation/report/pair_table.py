"""The table of pairs: how much more reward a policy has than another one, and how often it has more."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from evaluation.comparison import Comparison, Result
from evaluation.episodes.contenders import REFERENCE
from evaluation.estimates.improvement import Pair
from evaluation.estimates.statistics import Interval
from evaluation.report.table import texts

COLUMNS = ("policy", "against", "mean reward", "P(more reward)")
STRONGEST = "price"
_ROBUST = {"reward": "reward", "optimality": "of bound"}
_WIDTH = 100
"""Room for the lines below the table."""
_CAPTION = "mean reward: difference as a share of the other's; P: chance of more reward in the same episode"


def shown_pairs(comparison: Comparison) -> list[Pair]:
    """Pairs that are worth a row: each trained policy against each baseline.

    Without baselines it is each trained policy against each other one, and without trained policies each baseline
    against `price`, or against plain top-K where that is missing too.
    """
    trained = [result.name for result in comparison.results if result.contender.trained]
    baselines = [result.name for result in comparison.results if not result.contender.trained]
    shown = trained or baselines
    others = baselines or trained
    if not trained:
        sources = [result.contender.source for result in comparison.results]
        others = [next((source for source in (STRONGEST, REFERENCE) if source in sources), "")]
    return [pair for pair in comparison.pairs if pair.policy in shown and pair.other in others]


def build_pair_table(comparison: Comparison) -> Table | None:
    """Return the table of one scenario's trained policies; None where there is none, or nobody to compare it with."""
    trained = [result for result in comparison.results if result.contender.trained]
    pairs = shown_pairs(comparison)
    if not trained or not pairs:
        return None
    caption = "\n".join([_CAPTION, *map(_robust, trained)])
    table = Table(
        title=f"{comparison.scenario.name} · trained policies against others, in reward",
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        min_width=_WIDTH,
    )
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if index < 2 else "right", no_wrap=True)
    for pair in pairs:
        cells = [f"{value} [dim]{ends}[/dim]".strip() for value, ends in pair_texts(pair)]
        table.add_row(f"[bold]{escape(pair.policy)}[/bold]", escape(pair.other), *cells)
    return table


def pair_texts(pair: Pair) -> tuple[tuple[str, str], tuple[str, str]]:
    """Change of the mean and probability, each with its interval, as tables show them."""
    chance = pair.probability
    probability = f"{chance.value:.2f}", f"{chance.low:.2f}–{chance.high:.2f}"  # noqa: RUF001 - an en dash
    return ("–", "") if pair.change is None else _change(pair.change), probability  # noqa: RUF001


def _change(change: Interval) -> tuple[str, str]:
    decimals = 1 if abs(change.value) >= 0.1 else 2
    value, low, high = (f"{100 * end:+,.{decimals}f}" for end in (change.value, change.low, change.high))
    return f"{value} %", f"{low} to {high}"


def _robust(result: Result) -> str:
    """The interquartile means that a claim about a trained policy is made from."""
    parts = []
    for metric, word in _ROBUST.items():
        if metric in result.estimates:
            value, ends = texts(metric, result.estimates[metric].of_iqm)
            parts.append(f"{word} {value} ({ends})")
    runs = len(result.runs)
    return f"IQM of {escape(result.name)} over {runs} run{'s' * (runs > 1)} and all episodes: {', '.join(parts)}"
