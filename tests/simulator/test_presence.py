"""Devices that come and go in the simulator."""

from __future__ import annotations

import numpy as np
import pytest

import baselines
from baselines import bound
from wdmoe_env import Decision, Scenario, Simulator, allocation, load_scenario
from wdmoe_env.simulator.state import from_tree, to_tree
from wdmoe_env.system.availability import mask_gates, next_presence

STEPS = 40


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """Half of the paper's devices are gone half of the time."""
    device = {"compute": {"kind": "linear", "flops_per_s": 1e13}}
    coming = {"up_s": 0.05, "down_s": 0.05}
    devices = [
        {"name": "stays", "count": 4, **device},
        {"name": "comes and goes", "count": 4, "availability": coming, **device},
    ]
    return load_scenario("paper", devices=devices, model={"layers": 4})


def test_presets_have_no_such_process() -> None:
    simulator = Simulator(load_scenario("paper"))
    simulator.reset(0)
    assert simulator.cell.present is None


def test_what_is_gone_has_no_weight_and_no_channel(scenario: Scenario) -> None:
    simulator = Simulator(scenario, 8)
    observation = simulator.reset(0)
    gone = 0
    for _ in range(STEPS):
        there = simulator.cell.present
        assert there is not None
        assert there[:, :4].all()
        gone += (~there).sum()
        experts = there[:, scenario.hosts]
        assert (observation.gate_weights.sum(axis=1)[~experts] == 0.0).all()
        assert np.allclose(observation.gate_weights.sum(axis=-1), 1.0, atol=1e-5)
        assert ((observation.gain_dl > 0.0) == there).all()
        assert observation.routed is not None
        assert not (observation.routed.any(axis=1) & ~experts).any()
        outcome = simulator.step(Decision(observation.routed, allocation.uniform(scenario, 8)))
        assert np.allclose(outcome.metrics["latency"], outcome.metrics["latency_top_k"])
        assert np.allclose(outcome.metrics["retained_mass"], 1.0)
        observation = outcome.observation
    assert 0.3 < gone / (8 * 4 * STEPS) < 0.7


@pytest.mark.parametrize(
    "name", ["top-k", "top-k+bandwidth", "wdmoe", "wdmoe-testbed", "dynamic-skipping", "price", "random"]
)
def test_every_policy_goes_on(name: str, scenario: Scenario) -> None:
    simulator, policy = Simulator(scenario, 4), baselines.make(name)
    policy.reset(scenario, 4)
    observation = simulator.reset(1)
    for _ in range(12):
        outcome = simulator.step(policy.decide(observation))
        assert all(np.isfinite(values).all() for values in outcome.metrics.values())
        assert name == "random" or (outcome.metrics["latency"] < 1.0).all()
        observation = outcome.observation


def test_tokens_for_what_is_gone_go_to_the_next_best(scenario: Scenario) -> None:
    simulator = Simulator(scenario, 4)
    observation = simulator.reset(3)
    there = simulator.cell.present
    assert there is not None
    selection = np.zeros(observation.gate_weights.shape, dtype=bool)
    selection[..., 4:6] = True
    living = there[:, scenario.hosts]
    assert not living[:, 4:6].all()
    found = simulator.preview(Decision(selection, allocation.uniform(scenario, 4)))
    # Two experts a token all the same, at least one of which is there.
    assert np.allclose(found["experts_per_token"], 2.0)


def test_the_bound_holds(scenario: Scenario) -> None:
    simulator, policy = Simulator(scenario, 4), baselines.make("price")
    policy.reset(scenario, 4)
    observation = simulator.reset(5)
    for _ in range(6):
        most = bound.reward_bound(simulator.true_observation(), scenario, reference=simulator.reference())
        outcome = simulator.step(policy.decide(observation))
        assert (outcome.metrics["reward"] <= most * (1.0 + 1e-9)).all()
        observation = outcome.observation


def test_states_are_restored(scenario: Scenario) -> None:
    simulator = Simulator(scenario, 3)
    simulator.reset(2)
    state = simulator.state()
    again = Simulator(scenario, 3)
    again.reset(9)
    seen = again.restore(from_tree(to_tree(state), again.state()))
    assert (seen.gate_weights == simulator.observation.gate_weights).all()


def test_the_chain_forgets_as_time_passes() -> None:
    rng, up, down = np.random.default_rng(0), np.array([3.0]), np.array([1.0])
    shape = 20_000, 1
    for elapsed, start, expected in ((0.0, True, 1.0), (0.0, False, 0.0), (np.inf, False, 0.75), (1.0, True, 0.8159)):
        before = np.full(shape, start)
        # One that would be left alone stays: two devices a cell, the other always there.
        after = next_presence(
            np.hstack([before, np.ones(shape, bool)]),
            np.hstack([rng.random(shape), np.zeros(shape)]),
            np.full((shape[0], 1), elapsed),
            np.concatenate([up, [1.0]]),
            np.concatenate([down, [0.0]]),
        )
        assert abs(after[:, 0].mean() - expected) < 0.015
        assert after[:, 1].all()


def test_one_device_always_stays() -> None:
    uniform = np.array([[0.9, 0.8, 0.99]])
    after = next_presence(np.zeros((1, 3), bool), uniform, np.zeros((1, 1)), np.ones(3), np.ones(3))
    assert after.tolist() == [[False, True, False]]


def test_weights_of_what_is_there_sum_to_one() -> None:
    gates = np.array([[[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]]], dtype=np.float32)
    masked = mask_gates(gates, np.array([[False, True, True]]))
    assert np.allclose(masked, [[[0.0, 0.6, 0.4], [0.0, 0.5, 0.5]]])
