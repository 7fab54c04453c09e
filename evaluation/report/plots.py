"""Plots of a comparison, each drawn from what `compare` returned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from evaluation.comparison import Comparison, Result
from evaluation.report import style
from evaluation.report.device_plot import bottlenecks
from evaluation.report.learning_curve import learning_curve
from evaluation.report.loss_plot import loss
from evaluation.report.profile_plot import profiles
from evaluation.report.trade_off_plot import FAR, near, trade_off
from wdmoe_env.arrays import FloatArray

_POINTS = 400
_LOG_SPREAD = 15.0


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture and the sentence below it."""

    name: str
    path: Path
    caption: str


def name_of(scenario: str, draw: Callable[..., str | None]) -> str:
    """What a plot of a scenario is called."""
    return f"{scenario}-{draw.__name__.replace('_', '-')}"


def draw_all(comparison: Comparison, folder: Path) -> list[Plot]:
    """Draw every plot of one scenario into `folder`; one that has nothing to show is left out."""
    drawn = []
    for draw in DRAWN:
        name = name_of(comparison.scenario.name, draw)
        path = folder / f"{name}.png"
        with style.applied():
            caption = draw(comparison, path)
        if caption is not None:
            drawn.append(Plot(name, path, caption))
    return drawn


def latency(comparison: Comparison, path: Path) -> str:
    """Draw the latency of a forward pass by policy, with intervals."""
    results = comparison.results
    height = 1.3 + 0.5 * len(results)
    figure, axes = style.new_plot(f"Latency of a forward pass · {comparison.scenario.name}", height=height)
    color = style.colors([result.name for result in results])
    limit = 1.45 * max(result.estimates["latency_ms"].high for result in near(results))
    for row, result in enumerate(results):
        value = result.estimates["latency_ms"]
        cut = value.high > limit
        axes.barh(row, min(value.mean, limit), color=color[result.name], height=0.62)
        if not cut:
            spread = [[value.mean - value.low], [value.high - value.mean]]
            axes.errorbar(value.mean, row, xerr=spread, color=style.INK, capsize=3.5, lw=1.4)
        end = 0.985 * limit if cut else value.high + 0.012 * limit
        text = _label(result) + ("  »" if cut else "")
        axes.text(end, row, text, va="center", ha="right" if cut else "left", fontsize=9.5)
    axes.set_yticks(range(len(results)), [result.name for result in results])
    axes.invert_yaxis()
    axes.set_xlim(0, limit)
    style.separated(axes.xaxis)
    axes.set_xlabel("latency of a forward pass (ms), mean with 95 % interval")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0, labelsize=10.5, labelcolor=style.INK)
    style.save(figure, path)
    return (
        "Latency of a forward pass, mean over held-out episodes with its 95 % interval; less is better. Changes are "
        "means of the ratio to top-k in the same episode."
    )


def layer_latency(comparison: Comparison, path: Path) -> str:
    """Draw the distribution of single layers' latency."""
    figure, axes = style.new_plot(f"How long a layer takes · {comparison.scenario.name}")
    names = [result.name for result in comparison.results]
    color, dash = style.colors(names), style.dashes(names)
    values = {result.name: layer_ms(result) for result in comparison.results}
    ends = np.array([np.percentile(values[result.name], [0.2, 99]) for result in near(comparison.results)])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    share = np.linspace(0, 1, 4 * _POINTS + 1)
    for name, value in values.items():
        axes.plot(np.quantile(value, share), share, color=color[name], ls=dash[name], lw=2, label=name)
    if high > _LOG_SPREAD * low:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    style.separated(axes.xaxis)
    axes.set_xlim(0.9 * low, 1.1 * high)
    axes.set_ylim(0, 1.01)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("latency of a layer (ms)")
    axes.set_ylabel("share of layers that take at most this")
    axes.grid()
    figure.legend(loc="outside right upper")
    style.save(figure, path)
    return (
        "Distribution of the latency of single layers, its slowest percent cut off: the further left a curve is, the "
        "faster, and the steeper, the steadier."
    )


def _label(result: Result) -> str:
    value, ratio = result.estimates["latency_ms"].mean, result.estimates["latency_vs_top_k"].mean
    text = f"{value:,.0f} ms" if value >= 10 else f"{value:.2f} ms"
    if ratio > FAR:
        return f"{text}  ({ratio:.1f} times top-k)"
    change = f"{100 * abs(ratio - 1):.0f} %"
    return text if change == "0 %" else f"{text}  ({'−' if ratio < 1 else '+'}{change})"  # noqa: RUF001 - a minus


def layer_ms(result: Result) -> FloatArray:
    """Milliseconds of every layer of all runs."""
    return np.concatenate([run.steps["latency"].ravel() for run in result.runs]).astype(np.float64) * 1e3


DRAWN = (latency, trade_off, loss, profiles, layer_latency, bottlenecks, learning_curve)
"""In the order of the report."""
