"""Performance profiles: in what share of runs and episodes each policy's reward is above a level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.comparison import Comparison, Result
from evaluation.estimates.bootstrap import draw
from evaluation.estimates.statistics import as_table
from evaluation.report import style
from evaluation.report.table import number
from wdmoe_env.arrays import FloatArray

_LEVELS = 300
_CONSTANT = 1e-9


def profiles(comparison: Comparison, path: Path) -> str:
    """Draw the share of (run, episode) with more reward than each level, with bands from the bootstrap."""
    figure, axes = style.new_plot(f"How much reward how often · {comparison.scenario.name}")
    names = [result.name for result in comparison.results]
    color, dash = style.colors(names), style.dashes(names)
    shown = _shown(comparison.results)
    levels = _levels([_rewards(result) for result in shown])
    for name, curve in profile_curves(comparison).items():
        axes.fill_between(curve.levels, curve.low, curve.high, color=color[name], alpha=0.18, linewidth=0)
        axes.plot(curve.levels, curve.share, color=color[name], ls=dash[name], lw=2, label=name)
    axes.set_xlim(levels[0], levels[-1])
    axes.set_ylim(0, 1.01)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("reward of an episode, more is better")
    axes.set_ylabel("share with more reward than this")
    axes.grid()
    figure.legend(loc="outside right upper")
    style.save(figure, path)
    outside = ", ".join(
        f"{result.name} (IQM {number(result.estimates['reward'].iqm)})"
        for result in comparison.results
        if result not in shown
    )
    return (
        "Share of all runs and episodes whose reward is above a level: the further right a curve is, the better. Bands "
        "are 95 % intervals at each level, from the bootstrap over runs and episodes."
        f"{f' Outside of the picture: {outside}.' if outside else ''}"
    )


@dataclass(frozen=True, slots=True)
class Profile:
    """Share of (run, episode) with more reward than each of L levels, (L,), with the ends of its 95 % band."""

    levels: FloatArray
    share: FloatArray
    low: FloatArray
    high: FloatArray


def profile_curves(comparison: Comparison) -> dict[str, Profile]:
    """The profile of each policy that has one, where it is not at one end like all others."""
    tables = {result.name: _rewards(result) for result in _shown(comparison.results)}
    levels, found = _levels(list(tables.values())), {}
    for name, table in tables.items():
        resampled = draw(len(table), comparison.results[0].runs[0].clusters).shares_above(table, levels)
        # Where all curves are at one end they would hide each other.
        within = (levels >= table.min() - _step(levels)) & (levels <= table.max() + _step(levels))
        low, high = np.percentile(resampled[:, within], [2.5, 97.5], axis=0)
        share = (table.ravel() > levels[within, np.newaxis]).mean(axis=1)
        found[name] = Profile(levels[within], share, low, high)
    return found


def _shown(results: Sequence[Result]) -> list[Result]:
    """Those that have a curve: not what earns the same everywhere, nor less than nothing, where others are left.

    Plain top-K has 1 by definition, and penalties dwarf all else.
    """
    shown = [
        result for result in results if result.estimates["reward"].iqm >= 0.0 and np.ptp(_rewards(result)) > _CONSTANT
    ]
    return shown or list(results)


def _levels(tables: list[FloatArray]) -> FloatArray:
    """Rewards from where the first curve falls to where the last one has."""
    low, high = min(np.quantile(table, 0.005) for table in tables), max(table.max() for table in tables)
    margin = 0.04 * (high - low) or 0.1
    return np.linspace(low - margin, high + margin, _LEVELS)


def _step(levels: FloatArray) -> float:
    return float(levels[1] - levels[0])


def _rewards(result: Result) -> FloatArray:
    return as_table([run.episodes["reward"] for run in result.runs])
