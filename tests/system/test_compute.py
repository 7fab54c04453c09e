"""Computation: the linear and the roofline model by hand, with several experts on a device."""

from typing import Any

import numpy as np
import pytest
from scipy import optimize

from wdmoe_env import load_scenario
from wdmoe_env.system.compute import ComputeModel, affine_minorant, compute_time

LINEAR = ComputeModel(fixed_s=np.zeros(2), token_s=np.array([0.01, 0.02]), host=np.array([0, 1]))
ROOFLINE = ComputeModel(fixed_s=np.array([1.0, 2.0]), token_s=np.array([0.01, 0.02]), host=np.array([0, 1, 0, 1]))


def test_linear_time_is_in_proportion_to_tokens():
    time = compute_time(np.array([[10.0, 0.0], [20.0, 5.0]]), np.zeros((2, 2)), LINEAR)
    np.testing.assert_allclose(time, [[0.1, 0.0], [0.2, 0.1]])


def test_load_slows_down():
    time = compute_time(np.array([[10.0, 10.0]]), np.array([[0.5, 0.75]]), LINEAR)
    np.testing.assert_allclose(time, [[0.2, 0.8]])


def test_roofline_reads_the_weights_of_every_used_expert():
    tokens = np.array([[10.0, 0.0, 5.0, 0.0], [1.0, 1.0, 0.0, 3.0]])
    time = compute_time(tokens, np.array([[0.0, 0.0], [0.0, 0.5]]), ROOFLINE)
    np.testing.assert_allclose(time, [[2 * 1.0 + 15 * 0.01, 0.0], [1.0 + 0.01, (2 * 2.0 + 4 * 0.02) / 0.5]])


def test_per_device_sums_and_per_expert_repeats():
    assert not ROOFLINE.one_to_one
    assert LINEAR.one_to_one
    np.testing.assert_array_equal(ROOFLINE.per_device(np.array([[1.0, 2.0, 3.0, 4.0]])), [[4.0, 6.0]])
    np.testing.assert_array_equal(ROOFLINE.per_expert(np.array([[1.0, 2.0]])), [[1.0, 2.0, 1.0, 2.0]])
    np.testing.assert_array_equal(ROOFLINE.hosting, [[1, 0], [0, 1], [1, 0], [0, 1]])


def test_one_to_one_needs_every_expert_on_its_own_device():
    swapped = ComputeModel(np.zeros(2), np.ones(2), np.array([1, 0]))
    assert not swapped.one_to_one
    np.testing.assert_array_equal(swapped.per_device(np.array([[1.0, 2.0]])), [[2.0, 1.0]])


def test_paper_preset_by_hand():
    compute = load_scenario("paper").compute_model
    flops = (6 * 4096 + 5) * 14336  # 352 MFLOP, with 4 FLOPs for SiLU
    assert flops == pytest.approx(352e6, rel=1e-2)
    np.testing.assert_allclose(compute.token_s, flops / np.array([5e12] * 2 + [10e12] * 4 + [20e12] * 2))
    assert not compute.fixed_s.any()


def highest_line(seconds, at):
    """Most that an affine function below `seconds`, without a negative part, can be at `at`: by linear programming."""
    tokens = np.arange(1.0, len(seconds) + 1.0)
    rows = np.stack([np.ones_like(tokens), tokens], axis=1)
    found: Any = optimize.linprog([-1.0, -at], A_ub=rows, b_ub=seconds, bounds=[(0, None)] * 2)
    return -found.fun


@pytest.mark.slow
@pytest.mark.parametrize("at", [1.0, 2.5, 7.0, 12.0])
def test_affine_minorant_is_the_highest_one_there(at):
    rng = np.random.default_rng(0)
    tokens = np.arange(1.0, 13.0)[:, None]
    rising = np.cumsum(rng.exponential(size=(12, 20)), axis=0)
    seconds = np.concatenate([rising, rng.uniform(1.0, 2.0, (12, 20)), rising[::-1], 3.0 + rising**2], axis=1)
    fixed, per_token = affine_minorant(seconds, at)
    assert (fixed + tokens * per_token <= seconds * (1.0 + 1e-12)).all()
    assert min(fixed.min(), per_token.min()) >= 0.0
    np.testing.assert_allclose(fixed + at * per_token, [highest_line(one, at) for one in seconds.T], rtol=1e-7)


@pytest.mark.parametrize("at", [0.1, 1.0, 3.3, 6.0, 9.0])
@pytest.mark.parametrize("line", [(2.0, 0.5), (0.0, 0.7), (1.0, 0.0), (1e-3, 1e-5)])
def test_affine_minorant_of_an_affine_function_is_itself(line, at):
    tokens = np.arange(1.0, 7.0)[:, None, None]
    fixed, per_token = affine_minorant(line[0] + line[1] * np.tile(tokens, (1, 2, 3)), at)
    np.testing.assert_allclose(fixed, np.full((2, 3), line[0]), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(per_token, np.full((2, 3), line[1]), rtol=1e-9, atol=1e-14)


def test_affine_minorant_of_a_single_token():
    fixed, per_token = affine_minorant(np.full((1, 2), 3.0), 0.5)
    np.testing.assert_array_equal(fixed + per_token, [3.0, 3.0])
