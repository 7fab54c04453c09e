"""Who waits for whom: how often each device is the slowest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from evaluation.comparison import Comparison, Result
from evaluation.report import style
from wdmoe_env import Scenario
from wdmoe_env.arrays import FloatArray, IntArray

_SHOWN_DEVICES = 12
_ALIKE = "if all were alike"


def bottlenecks(comparison: Comparison, path: Path) -> str:
    """Draw in what share of layers each device, or kind of device in a large cell, is the one that is waited for."""
    labels, group = device_groups(comparison.scenario)
    figure, axes = style.new_plot(f"Who waits for whom · {comparison.scenario.name}", width=8.6)
    names = [result.name for result in comparison.results]
    color, width = style.colors(names), 0.8 / len(names)
    place, sizes = np.arange(len(labels)), np.bincount(group)
    for index, result in enumerate(comparison.results):
        share = slowest_shares(result, group)
        offset = (index - (len(names) - 1) / 2) * width
        axes.bar(place + offset, share, width * 0.9, color=color[result.name], label=result.name)
    alike: dict[str, Any] = {"color": style.INK, "lw": 1.2, "ls": (0, (3, 2)), "label": _ALIKE}
    axes.hlines(sizes / sizes.sum(), place - 0.45, place + 0.45, **alike)
    axes.set_xticks(place, labels, rotation=20 if sum(map(len, labels)) > 90 else 0)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("share of layers that wait for it")
    axes.grid(axis="y")
    axes.tick_params(axis="x", length=0, labelcolor=style.INK)
    handles, names = axes.get_legend_handles_labels()
    # The line comes first in matplotlib's order, yet it is read last.
    order = sorted(range(len(names)), key=lambda index: names[index] == _ALIKE)
    figure.legend(
        [handles[index] for index in order], [names[index] for index in order],
        loc="outside lower center", ncols=min(5, len(names)),
    )  # fmt: skip
    style.save(figure, path)
    who = "each device" if len(labels) == comparison.scenario.num_devices else "each kind of device"
    return (
        f"Share of layers in which {who} is the slowest, the one that all others wait for; devices that finish "
        "together share a layer."
    )


def slowest_shares(result: Result, group: IntArray) -> FloatArray:
    """Share of layers in which the slowest device is of each group, mean over runs."""
    return np.asarray(np.bincount(group, weights=np.mean([run.slowest for run in result.runs], axis=0)))


def device_groups(scenario: Scenario) -> tuple[list[str], IntArray]:
    """Labels, and the (U,) label of each device: its own in a small cell, its group's in a large one."""
    if scenario.num_devices <= _SHOWN_DEVICES:
        return list(scenario.device_names), np.arange(scenario.num_devices)
    counts = [group.count for group in scenario.devices]
    labels = [f"{group.name} (×{group.count})" for group in scenario.devices]  # noqa: RUF001 - a multiplication sign
    groups: NDArray[np.int64] = np.repeat(np.arange(len(counts)), counts)
    return labels, groups
