"""Frontiers of latency against retained mass: lines through points, and the higher of two of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wdmoe_env.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Frontier:
    """Proven least latency against retained gate mass: a line through points for each of N cells.

    No decision that keeps a retained mass of `mass` or more, in any cell, takes less than `latency`; between two points
    the straight line through them holds.

    Attributes:
        mass: (N, P) retained gate mass, rising.
        latency: (N, P) seconds, no less than any decision takes.
    """

    mass: FloatArray
    latency: FloatArray


def raised(line: Frontier, least: FloatArray) -> Frontier:
    """The higher of a frontier and the (N,) seconds that any decision takes, with a point where they cross."""
    if (line.latency >= least[:, None]).all():
        return line
    points = [(line.mass[:, 0], np.maximum(line.latency[:, 0], least))]
    for left, right in pairwise(range(line.mass.shape[1])):
        (start, low), (end, high) = ((line.mass[:, at], line.latency[:, at]) for at in (left, right))
        part = np.clip((least - low) / np.where(high == low, 1.0, high - low), 0.0, 1.0)
        points += [
            (start + part * (end - start), np.maximum(low + part * (high - low), least)),
            (end, np.maximum(high, least)),
        ]
    return Frontier(*(np.stack(values, axis=1) for values in zip(*points, strict=True)))


def higher_of(
    ends: tuple[float, float], first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]
) -> list[tuple[FloatArray, FloatArray]]:
    """An interval's start, where two lines over it cross, and its end, with the higher of their values: (N,) each."""
    before, after = first[0] - second[0], first[1] - second[1]
    cross = np.clip(before / np.where(before == after, 1.0, before - after), 0.0, 1.0)
    height = [line[0] + cross * (line[1] - line[0]) for line in (first, second)]
    (left, right), (start, end) = ends, (np.maximum(first[at], second[at]) for at in (0, 1))
    return [
        (np.full_like(start, left), start),
        (left + cross * (right - left), np.maximum(*height)),
        (np.full_like(end, right), end),
    ]
