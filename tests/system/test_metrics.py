"""Metrics against loops written from the formulas of docs/explanation/system-model.md."""

import numpy as np
import pytest

from wdmoe_env.system import metrics, selection
from wdmoe_env.system.compute import ComputeModel
from wdmoe_env.system.layer import LayerTimes, weight_to_latency

ENVS, TOKENS, EXPERTS, DEVICES, K = 3, 10, 6, 3, 2
HOST = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(EXPERTS, 0.5), (ENVS, TOKENS))
    chosen = selection.repair(weights, rng.random(weights.shape) < 0.3, K)
    device_time = rng.uniform(0.01, 0.1, (ENVS, DEVICES))
    return weights, chosen, device_time


def layer_of(weights, chosen, device_time):
    routing = selection.routing(weights, chosen)
    compute = ComputeModel(np.zeros(DEVICES), np.ones(DEVICES), HOST)
    tokens = compute.per_device(routing.tokens)
    times = LayerTimes(tokens, np.zeros_like(device_time), np.where(tokens > 0, device_time, 0.0), device_time.max(1))
    return routing, times, compute


def test_retained_mass(case):
    weights, chosen, _ = case
    routing, _, _ = layer_of(*case)
    kept, plain = np.zeros(ENVS), np.zeros(ENVS)
    for env, token in np.ndindex(ENVS, TOKENS):
        kept[env] += weights[env, token, chosen[env, token]].sum()
        plain[env] += np.sort(weights[env, token])[-K:].sum()
    np.testing.assert_allclose(metrics.retained_mass(routing.mass, plain), kept / plain, rtol=1e-6)


def test_wlr(case):
    weights, chosen, device_time = case
    routing, times, compute = layer_of(*case)
    expected = [(weights[env] * chosen[env]).sum() / device_time[env].max() for env in range(ENVS)]
    np.testing.assert_allclose(weight_to_latency("wlr", routing, times, compute, TOKENS), expected, rtol=1e-6)


def test_wlr_token(case):
    weights, chosen, device_time = case
    routing, times, compute = layer_of(*case)
    expected = np.zeros(ENVS)
    for env in range(ENVS):
        load = np.bincount(HOST, weights=chosen[env].sum(axis=0), minlength=DEVICES)
        of_token = []
        for token in range(TOKENS):
            ratios = [
                weights[env, token, expert] / (device_time[env, HOST[expert]] / load[HOST[expert]])
                for expert in np.flatnonzero(chosen[env, token])
            ]
            of_token.append(np.mean(ratios))
        expected[env] = np.mean(of_token)
    np.testing.assert_allclose(weight_to_latency("wlr_token", routing, times, compute, TOKENS), expected, rtol=1e-6)


def test_wlr_device(case):
    weights, chosen, device_time = case
    routing, times, compute = layer_of(*case)
    expected = np.zeros(ENVS)
    for env, expert in np.ndindex(ENVS, EXPERTS):
        expected[env] += (weights[env, :, expert] * chosen[env, :, expert]).sum() / device_time[env, HOST[expert]]
    np.testing.assert_allclose(weight_to_latency("wlr_device", routing, times, compute, TOKENS), expected, rtol=1e-6)


def test_devices_without_tokens_count_nothing():
    mass, share = np.array([[0.5, 0.0]]), np.array([[0.4, 0.0]])
    assert metrics.wlr_device(mass, np.array([[2.0, 0.0]])) == pytest.approx([0.25])
    assert metrics.wlr_token(share, np.array([[0.1, 0.0]]), tokens=4) == pytest.approx([1.0])


RETAINED = np.array([1.0, 0.95, 0.9, 0.9])


@pytest.mark.parametrize(
    ("reference", "scale", "expected"),
    [
        (2.0, "linear", [1.5, 1.5, 1.0 - 20.0 * 0.05, 0.5 - 20.0 * 0.05]),
        (1.0, "linear", [3.0, 3.0, 2.0 - 20.0 * 0.05, 1.0 - 20.0 * 0.05]),
        (2.0, "log", [np.log(1.5), np.log(1.5), 0.0 - 20.0 * 0.05, np.log(0.5) - 20.0 * 0.05]),
        (1.0, "log", [np.log(3.0), np.log(3.0), np.log(2.0) - 20.0 * 0.05, np.log(1.0) - 20.0 * 0.05]),
    ],
)
def test_reward_is_the_ratio_and_below_the_floor_at_most_plain_routings(reference, scale, expected):
    ratio, plain = np.array([3.0, 3.0, 3.0, 1.0]), np.full(4, 2.0)
    reward = metrics.reward(ratio, np.full(4, reference), RETAINED, 0.95, 20.0, plain, scale)
    np.testing.assert_allclose(reward, expected, atol=2.1e-5)


def test_reward_above_the_floor_is_the_ratio_bit_for_bit():
    ratio, plain = np.random.default_rng(0).uniform(0.1, 9.0, (2, 500))
    np.testing.assert_array_equal(metrics.reward(ratio, plain, np.full(500, 0.95), 0.95, 20.0), ratio / plain)


def test_bottleneck_is_the_slowest_device():
    assert metrics.bottleneck(np.array([[0.1, 0.3, 0.2], [0.0, 0.0, 0.1]])).tolist() == [1, 2]
