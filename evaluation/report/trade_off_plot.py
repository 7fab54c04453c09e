"""Latency against retained gate mass, and how far the proof leaves room for anyone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from evaluation.comparison import Comparison, Result
from evaluation.estimates.certified import Certified
from evaluation.report import style
from wdmoe_env.arrays import FloatArray

FAR = 2.0
"""What takes more than so many times plain top-K's latency is not in the picture where others are left."""
_POINTS = 400
_MARKERS = "osD^vPXhp*"
_LOG_SPREAD = 5.0
_ROOM = 0.16
"""Part of the width that is left free left of the frontier, at least."""
_CURVE, _CLOSED = "#b3364b", "#fbeff1"


def trade_off(comparison: Comparison, path: Path) -> str:
    """Draw latency against retained gate mass: each episode as a dot, the mean as a marker, the frontier as a line."""
    figure, axes = style.new_plot(f"Latency against what is kept of the model · {comparison.scenario.name}")
    color = style.colors([result.name for result in comparison.results])
    floor, shown, bound = comparison.scenario.reward.mass_floor, near(comparison.results), comparison.bound
    for index, result in enumerate(shown):
        _cloud(axes, result, color[result.name], _MARKERS[index % len(_MARKERS)])
    latencies, masses = ([episodes(result, key) for result in shown] for key in ("latency_ms", "retained_mass"))
    low, high = _padded(min(floor, np.percentile(np.concatenate(masses), 0.2)), 1.0)
    axes.set_ylim(low, high)
    fastest = None if bound is None else float(np.interp(low, bound.mass, bound.latency_ms))
    slow, slowest = np.percentile(np.concatenate(latencies), [0, 99])
    _scale(axes, slow, slowest, fastest)
    if bound is not None:
        _frontier(axes, bound)
    _floor(axes, floor)
    axes.set_xlabel("latency of a forward pass (ms), less is better")
    axes.set_ylabel("retained gate mass, more is better")
    axes.grid()
    figure.legend(loc="outside right upper")
    style.save(figure, path)
    return (
        "Latency against retained gate mass: a dot is an episode, a marker a policy's mean; the best place is the top "
        f"left corner, and the reward punishes what lies below the dashed floor.{_explained(bound)}"
        f"{_outside(comparison.results)}"
    )


def near(results: Sequence[Result]) -> list[Result]:
    """Those that axes are scaled to: not the ones that take more than twice top-k's time, where others are left."""
    close = [result for result in results if result.estimates["latency_vs_top_k"].mean <= FAR]
    return close or list(results)


def _cloud(axes: Axes, result: Result, color: str, marker: str) -> None:
    across, up = episodes(result, "latency_ms"), episodes(result, "retained_mass")
    axes.scatter(across[:_POINTS], up[:_POINTS], s=9, color=color, alpha=0.3, linewidths=0, zorder=2)
    look: dict[str, Any] = {"color": color, "ms": 10, "mec": "white", "mew": 1.3, "zorder": 4, "ls": ""}
    mean = result.estimates["latency_ms"].mean, result.estimates["retained_mass"].mean
    axes.plot(*mean, marker, label=result.name, **look)


def _scale(axes: Axes, low: float, high: float, fastest: float | None) -> None:
    """Scale the axis of latencies, from `low` to `high` and so that the words left of the frontier have room."""
    logarithmic = high > _LOG_SPREAD * low
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    there, back = (np.log, np.exp) if logarithmic else (float, float)
    left, right = _padded(there(low), there(high))
    if fastest is not None:
        left = min(left, (there(fastest) - _ROOM * right) / (1.0 - _ROOM))
    axes.set_xlim(back(left), back(right))
    style.separated(axes.xaxis)


def _floor(axes: Axes, floor: float) -> None:
    axes.axhline(floor, color=style.MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
    axes.text(
        0.995, floor, f"floor {floor:g}", transform=axes.get_yaxis_transform(), ha="right", va="bottom",
        fontsize=9, color=style.MUTED,
    )  # fmt: skip


def _frontier(axes: Axes, bound: Certified) -> None:
    """Draw the frontier, and shade what lies left of it."""
    left, right = axes.get_xlim()
    axes.fill_betweenx(bound.mass, left, np.clip(bound.latency_ms, left, right), color=_CLOSED, linewidth=0, zorder=0)
    axes.plot(bound.latency_ms, bound.mass, color=_CURVE, lw=1.8, zorder=3, label="proven frontier")
    axes.text(
        0.018, 0.5, "no policy's\nmean can\nbe here\n(proven)", transform=axes.transAxes, ha="left", va="center",
        fontsize=9, color=_CURVE, linespacing=1.35, zorder=3,
    )  # fmt: skip


def _explained(bound: Certified | None) -> str:
    if bound is None:
        return ""
    cells = "" if bound.shared else ", the least over the states that these policies met"
    return (
        f" Left of the line no policy's mean can be: it is the mean of proven bounds, estimated from {bound.steps:,} "
        f"sampled steps{cells}. Markers are means over all steps, and dots of single episodes may lie left of it."
    )


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin


def _outside(results: Sequence[Result]) -> str:
    shown = [result.name for result in near(results)]
    far = [
        f"{result.name} ({result.estimates['latency_ms'].mean:,.0f} ms, {result.estimates['retained_mass'].mean:.3f})"
        for result in results
        if result.name not in shown
    ]
    return f" Outside of the picture: {', '.join(far)}." if far else ""


def episodes(result: Result, metric: str) -> FloatArray:
    """A metric of all runs' episodes, one after the other."""
    return np.concatenate([run.episodes[metric] for run in result.runs])
