"""The least mean latency for a mean retained mass, from the frontiers of single steps.

A policy may keep more mass in one step and less in another, so the frontier of means is not the mean of frontiers. Let
f_i be the frontier of step i, and g_i the largest convex function below it. Whatever masses m_i are kept in N steps,

    mean of latencies  >=  mean of f_i(m_i)  >=  mean of g_i(m_i)  >=  G(mean of m_i),

where G(m) is the least of `mean of g_i(m_i)` over all masses of mean m: the infimal convolution of the g_i / N. For
piecewise linear g_i it joins all their segments, each 1/N of its length, in the order of their slopes: mass is bought
where it costs the least time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from baselines.bound import Frontier
from wdmoe_env.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Curve:
    """A convex line through Q points.

    Attributes:
        mass: (Q,) mean retained mass, rising.
        latency: (Q,) least mean latency.
    """

    mass: FloatArray
    latency: FloatArray

    def at(self, mass: FloatArray) -> FloatArray:
        """Latency at any masses within the curve."""
        return np.interp(mass, self.mass, self.latency)


def mean_frontier(lines: Frontier) -> Curve:
    """Return G of the module's description, for N steps that weigh the same."""
    hulls = [lower_hull(mass, latency) for mass, latency in zip(lines.mass, lines.latency, strict=True)]
    width, latency_increase = (np.concatenate([np.diff(hull[part]) for hull in hulls]) for part in (0, 1))
    order = np.argsort(latency_increase / width, kind="stable")
    start_mass, start_latency = (np.mean([hull[part][0] for hull in hulls]) for part in (0, 1))
    count = len(hulls)
    return Curve(
        start_mass + np.concatenate([[0.0], np.cumsum(width[order])]) / count,
        start_latency + np.concatenate([[0.0], np.cumsum(latency_increase[order])]) / count,
    )


def lower_hull(mass: FloatArray, latency: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points of the largest convex function below a line through (P,) points of rising mass."""
    hull: list[tuple[float, float]] = []
    for point in sorted(zip(mass.tolist(), latency.tolist(), strict=True)):
        if hull and point[0] <= hull[-1][0]:
            continue  # of points of the same mass the first is the lowest
        while len(hull) > 1 and not _turns_up(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    across, up = np.array(hull).T
    return across, up


def _turns_up(first: tuple[float, float], second: tuple[float, float], third: tuple[float, float]) -> bool:
    """Whether the line through three points gets steeper at the second."""
    before = (second[1] - first[1]) * (third[0] - second[0])
    return before < (third[1] - second[1]) * (second[0] - first[0])
