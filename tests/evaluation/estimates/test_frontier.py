from __future__ import annotations

import numpy as np
import pytest

from baselines.bound import Frontier
from evaluation.estimates.frontier import lower_hull, mean_frontier
from wdmoe_env.arrays import FloatArray


def random_lines(rng: np.random.Generator, cells: int, points: int, convex: bool) -> Frontier:
    width, slope = rng.uniform(0.1, 1.0, (cells, points - 1)), rng.exponential(size=(cells, points - 1))
    slope = np.sort(slope, axis=1) if convex else slope
    mass = np.concatenate([np.zeros((cells, 1)), np.cumsum(width, axis=1)], axis=1)
    mass /= mass[:, -1:]
    latency = rng.uniform(0.1, 0.5, (cells, 1)) + np.concatenate(
        [np.zeros((cells, 1)), np.cumsum(np.diff(mass, axis=1) * slope, axis=1)], axis=1
    )
    return Frontier(mass, latency)


def on_lines(lines: Frontier, masses: FloatArray) -> FloatArray:
    """Mean latency of (T, N) masses of N cells: (T,)."""
    each = [np.interp(masses[:, n], lines.mass[n], lines.latency[n]) for n in range(masses.shape[1])]
    return np.mean(each, axis=0)


@pytest.mark.parametrize("convex", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_no_mixture_of_masses_is_below_the_mean_frontier(seed: int, convex: bool) -> None:
    rng = np.random.default_rng(seed)
    lines = random_lines(rng, cells=3, points=4, convex=convex)
    curve = mean_frontier(lines)
    masses = rng.uniform(size=(20_000, 3)) ** rng.choice([0.2, 1.0, 5.0], size=(20_000, 1))
    assert (on_lines(lines, masses) >= curve.at(masses.mean(axis=1)) - 1e-12).all()


@pytest.mark.parametrize("seed", range(5))
def test_brute_force_reaches_the_mean_frontier_of_convex_lines(seed: int) -> None:
    lines = random_lines(np.random.default_rng(seed), cells=2, points=4, convex=True)
    curve, wanted = mean_frontier(lines), np.linspace(0.0, 1.0, 21)
    one = np.linspace(0.0, 1.0, 4001)
    for mass in wanted:
        other = 2.0 * mass - one
        possible = (other >= 0.0) & (other <= 1.0)
        best = on_lines(lines, np.stack([one, other], axis=1)[possible]).min()
        assert best == pytest.approx(curve.at(np.array([mass]))[0], abs=2e-3)


def test_mean_frontier_by_hand() -> None:
    # Mass costs 1 and then 4 in the first cell, 2 everywhere in the second one.
    lines = Frontier(np.array([[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]]), np.array([[1.0, 1.5, 3.5], [0.0, 1.0, 2.0]]))
    curve = mean_frontier(lines)
    np.testing.assert_allclose(curve.at(np.array([0.0, 0.25, 0.75, 1.0])), [0.5, 0.75, 1.75, 2.75])


def test_one_convex_line_is_its_own_frontier() -> None:
    lines = random_lines(np.random.default_rng(0), cells=1, points=6, convex=True)
    curve = mean_frontier(lines)
    np.testing.assert_allclose(curve.mass, lines.mass[0])
    np.testing.assert_allclose(curve.latency, lines.latency[0])


def test_lower_hull_leaves_out_what_is_above_and_keeps_the_lower_of_two() -> None:
    mass, latency = np.array([0.0, 0.5, 0.5, 0.75, 1.0]), np.array([0.0, 0.4, 0.3, 0.9, 1.0])
    across, up = lower_hull(mass, latency)
    assert across.tolist() == [0.0, 0.5, 1.0]
    assert up.tolist() == [0.0, 0.3, 1.0]
