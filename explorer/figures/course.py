"""The course of an episode: latency that adds up, and each layer's reward beside what is proved to be the most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from explorer.figures.style import COLOURS, GREY, INK, Figure, axis, layout, plain, rounded
from wdmoe_env.arrays import FloatArray

DASHES = "solid", "dash", "dot"


@dataclass(frozen=True, slots=True)
class Course:
    """One of those that are compared, over an episode.

    Attributes:
        label: what the page calls it.
        place: 0, 1 or 2: its colour.
        latency: (T,) seconds of each layer.
        reward: (T,) of each layer.
    """

    label: str
    place: int
    latency: FloatArray
    reward: FloatArray


def course(courses: Sequence[Course], plain_s: FloatArray, most: FloatArray, texts: Mapping[str, str]) -> Figure:
    """Both as lines over the steps.

    Args:
        courses: who is compared.
        plain_s: (T,) seconds of plain top-K with equal shares, in the cells of the first.
        most: (T,) proven most reward in the cells of the first; NaN where nothing is proved yet.
        texts: of the page's language.
    """
    steps = list(range(len(plain_s)))
    together = [_line(steps, 1e3 * np.cumsum(one.latency), one, "y") for one in courses]
    grey = {"color": GREY, "width": 1.4, "dash": "dash"}
    plain_line = _scatter(steps, 1e3 * np.cumsum(plain_s), texts["plain"], grey, "y", "ms")
    rewards = [_line(steps, one.reward, one, "y2") for one in courses]
    proven = _scatter(steps, most, texts["proven_most"], {"color": INK, "width": 1.2, "dash": "dot"}, "y2", "")
    return {
        "data": [plain_line, *together, proven, *rewards],
        "layout": layout(
            360,
            hovermode="x unified",
            xaxis=axis(texts["axis_step"], anchor="y2", range=[-0.5, len(steps) - 0.5]),
            yaxis=axis(texts["axis_latency"], domain=[0.56, 1.0], rangemode="tozero"),
            yaxis2=axis(texts["axis_reward"], domain=[0.0, 0.44], range=_range(courses, most)),
        ),
    }


def _range(courses: Sequence[Course], most: FloatArray) -> list[float]:
    """Of rewards; a layer that went badly wrong lies below it, as it would flatten all else."""
    values = np.concatenate([*(one.reward for one in courses), most[np.isfinite(most)]])
    low, middle, high = float(values.min()), float(np.median(values)), float(values.max())
    low = max(low, middle - 3.0 * max(high - middle, 0.1))
    room = 0.06 * max(high - low, 1e-3)
    return [low - room, high + room]


def _line(steps: list[int], values: FloatArray, one: Course, yaxis: str) -> dict[str, Any]:
    line = {"color": COLOURS[one.place], "width": 2, "dash": DASHES[one.place]}
    return _scatter(steps, values, plain(one.label), line, yaxis, "ms" if yaxis == "y" else "")


def _scatter(
    steps: list[int], values: FloatArray, name: str, line: dict[str, Any], yaxis: str, unit: str
) -> dict[str, Any]:
    known = [None if np.isnan(value) else number for value, number in zip(values, rounded(values), strict=True)]
    hover = f"{name}: %{{y:.4g}} {unit}<extra></extra>"
    look = {"type": "scatter", "mode": "lines", "line": line, "hovertemplate": hover, "name": name}
    return look | {"x": steps, "y": known, "yaxis": yaxis, "xaxis": "x"}
