"""Plots of a comparison, each drawn from what `compare` returned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from evaluation import style
from evaluation.comparison import Comparison, Result
from evaluation.device_plot import bottlenecks
from evaluation.learning_curve import learning_curve
from wdmoe_env.interface import FloatArray

_POINTS = 400
_LOG_SPREAD = 15.0
_FAR = 2.0
_MARKERS = "osD^vPXhp*"


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture and the sentence below it."""

    name: str
    path: Path
    caption: str


def draw_all(comparison: Comparison, folder: Path) -> list[Plot]:
    """Draw every plot of one scenario into `folder`; one that has nothing to show is left out."""
    drawn = []
    for draw in (latency, trade_off, layer_latency, bottlenecks, learning_curve):
        name = f"{comparison.scenario.name}-{draw.__name__.replace('_', '-')}"
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
    limit = 1.45 * max(result.estimates["latency_ms"].high for result in _near(results))
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


def trade_off(comparison: Comparison, path: Path) -> str:
    """Draw latency against retained gate mass: each episode as a dot, the mean as a marker."""
    figure, axes = style.new_plot(f"Latency against what is kept of the model · {comparison.scenario.name}")
    color = style.colors([result.name for result in comparison.results])
    floor, near = comparison.scenario.reward.mass_floor, _near(comparison.results)
    axes.axhline(floor, color=style.MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
    axes.text(
        0.995, floor, f"floor {floor:g}", transform=axes.get_yaxis_transform(), ha="right", va="bottom",
        fontsize=9, color=style.MUTED,
    )  # fmt: skip
    for index, result in enumerate(near):
        _cloud(axes, result, color[result.name], _MARKERS[index % len(_MARKERS)])
    latencies, masses = ([_episodes(result, key) for result in near] for key in ("latency_ms", "retained_mass"))
    axes.set_xlim(_padded(*np.percentile(np.concatenate(latencies), [0, 99])))
    axes.set_ylim(_padded(min(floor, np.percentile(np.concatenate(masses), 0.2)), 1.0))
    style.separated(axes.xaxis)
    axes.set_xlabel("latency of a forward pass (ms), less is better")
    axes.set_ylabel("retained gate mass, more is better")
    axes.grid()
    figure.legend(loc="outside right upper")
    style.save(figure, path)
    return (
        "Latency against retained gate mass: a dot is an episode, a marker a policy's mean; the best place is the top "
        f"left corner, and the reward punishes what lies below the dashed floor.{_outside(comparison.results)}"
    )


def layer_latency(comparison: Comparison, path: Path) -> str:
    """Draw the distribution of single layers' latency."""
    figure, axes = style.new_plot(f"How long a layer takes · {comparison.scenario.name}")
    names = [result.name for result in comparison.results]
    color, dash = style.colors(names), style.dashes(names)
    values = {result.name: _layer_ms(result) for result in comparison.results}
    near = np.array([np.percentile(values[result.name], [0.2, 99]) for result in _near(comparison.results)])
    low, high = near[:, 0].min(), near[:, 1].max()
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


def _cloud(axes: Axes, result: Result, color: str, marker: str) -> None:
    across, up = _episodes(result, "latency_ms"), _episodes(result, "retained_mass")
    axes.scatter(across[:_POINTS], up[:_POINTS], s=9, color=color, alpha=0.3, linewidths=0)
    look: dict[str, Any] = {"color": color, "ms": 10, "mec": "white", "mew": 1.3, "zorder": 4, "ls": ""}
    mean = result.estimates["latency_ms"].mean, result.estimates["retained_mass"].mean
    axes.plot(*mean, marker, label=result.name, **look)


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin


def _near(results: Sequence[Result]) -> list[Result]:
    """Those that axes are scaled to: not the ones that take more than twice top-k's time, where others are left."""
    near = [result for result in results if result.estimates["latency_vs_top_k"].mean <= _FAR]
    return near or list(results)


def _outside(results: Sequence[Result]) -> str:
    near = [result.name for result in _near(results)]
    far = [
        f"{result.name} ({result.estimates['latency_ms'].mean:,.0f} ms, {result.estimates['retained_mass'].mean:.3f})"
        for result in results
        if result.name not in near
    ]
    return f" Outside of the picture: {', '.join(far)}." if far else ""


def _label(result: Result) -> str:
    value, ratio = result.estimates["latency_ms"].mean, result.estimates["latency_vs_top_k"].mean
    text = f"{value:,.0f} ms" if value >= 10 else f"{value:.2f} ms"
    if ratio > _FAR:
        return f"{text}  ({ratio:.1f} times top-k)"
    change = f"{100 * abs(ratio - 1):.0f} %"
    return text if change == "0 %" else f"{text}  ({'−' if ratio < 1 else '+'}{change})"  # noqa: RUF001 - a minus


def _episodes(result: Result, metric: str) -> FloatArray:
    return np.concatenate([run.episodes[metric] for run in result.runs])


def _layer_ms(result: Result) -> FloatArray:
    return np.concatenate([run.steps["latency"].ravel() for run in result.runs]).astype(np.float64) * 1e3
