"""The testbed variant: what it learns, what it drops, and that it looks at nothing else."""

import dataclasses

import numpy as np
import pytest

import baselines
from baselines.wdmoe_testbed import relief
from wdmoe_env import Simulator, load_scenario
from wdmoe_env.interface import Observation
from wdmoe_env.system import selection

SCENARIO = load_scenario("paper", gating={"bank_passes": 2})
DEVICES, TOKENS = 8, 64


def observe(last_device_time, seed=0, num_envs=1):
    weights = np.random.default_rng(seed).dirichlet(np.full(8, 0.5), (num_envs, TOKENS))
    nothing = np.zeros((num_envs, DEVICES))
    layer = np.zeros(num_envs, dtype=int)
    return Observation(nothing, nothing, weights, nothing, last_device_time, layer, nothing, nothing)


def fresh(**options):
    policy = baselines.make("wdmoe-testbed", **options)
    policy.reset(SCENARIO, 1)
    return policy


def loads(decision):
    return selection.tokens_per_expert(decision.selection)


def test_starts_with_top_k():
    observation = observe(np.zeros((1, DEVICES)))
    np.testing.assert_array_equal(fresh().decide(observation).selection, selection.top_k(observation.gate_weights, 2))


def test_relieves_the_bottleneck_down_to_the_next_slowest():
    policy = fresh()
    before = loads(policy.decide(observe(np.zeros((1, DEVICES)))))
    token_time = np.full(DEVICES, 0.01)
    token_time[3], token_time[5] = 0.03, 0.02
    observation = observe(before * token_time, seed=1)
    plain = selection.top_k(observation.gate_weights, 2)
    decision = policy.decide(observation)
    dropped = plain & ~decision.selection
    predicted = selection.tokens_per_expert(plain)[0] * token_time
    slow = predicted.argmax()
    expected = int(np.ceil((predicted[slow] - np.sort(predicted)[-2]) / token_time[slow] - 1e-9))
    assert 0 < expected < 40
    assert dropped[0].sum(axis=0).tolist() == [expected if device == slow else 0 for device in range(DEVICES)]
    weights = observation.gate_weights[0, :, slow]
    assert weights[dropped[0, :, slow]].max() <= weights[decision.selection[0, :, slow]].min()
    after = loads(decision)[0] * token_time
    assert after[slow] <= np.sort(predicted)[-2] < after[slow] + token_time[slow]


def test_measurements_are_averaged():
    policy = fresh(smoothing=0.25, fraction=0.0)
    before = loads(policy.decide(observe(np.zeros((1, DEVICES)))))
    policy.decide(observe(before * 0.01))  # the same gate weights: the same loads again
    policy.decide(observe(before * 0.03))
    np.testing.assert_allclose(policy._token_time, 0.75 * 0.01 + 0.25 * 0.03)


def test_idle_devices_keep_their_average():
    policy = fresh(fraction=0.0)
    tokens = loads(policy.decide(observe(np.zeros((1, DEVICES)))))
    policy.decide(observe(tokens * 0.01))
    measured = tokens * 0.02
    measured[0, 2] = 0.0
    policy.decide(observe(measured))
    assert policy._token_time[0, 2] == pytest.approx(0.01)
    assert policy._token_time[0, 3] > 0.01


def test_a_new_episode_forgets():
    policy = fresh()
    tokens = loads(policy.decide(observe(np.zeros((1, DEVICES)))))
    policy.decide(observe(tokens * np.linspace(0.01, 0.1, DEVICES)))
    observation = observe(np.zeros((1, DEVICES)), seed=2)
    np.testing.assert_array_equal(policy.decide(observation).selection, selection.top_k(observation.gate_weights, 2))


def test_fraction_drops_that_share():
    policy = fresh(fraction=0.25)
    before = loads(policy.decide(observe(np.zeros((1, DEVICES)))))
    observation = observe(before * np.array([1, 1, 1, 9, 1, 1, 1, 1]) * 0.01)
    expected = before.copy()
    expected[0, 3] -= np.floor(0.25 * before[0, 3])
    np.testing.assert_array_equal(loads(policy.decide(observation)), expected)


def test_channel_and_load_are_not_looked_at():
    simulator = Simulator(load_scenario("mobile", gating={"bank_passes": 2}), 3)
    policies = [baselines.make("wdmoe-testbed") for _ in range(2)]
    for policy in policies:
        policy.reset(simulator.scenario, 3)
    observation = simulator.reset(0)
    for step in range(6):
        noise = np.random.default_rng(step).random((4, 3, DEVICES))
        other = dataclasses.replace(observation, gain_dl=noise[0], gain_ul=noise[1], load=0.9 * noise[2])
        decision, blind = (policy.decide(seen) for policy, seen in zip(policies, (observation, other), strict=True))
        np.testing.assert_array_equal(decision.selection, blind.selection)
        np.testing.assert_array_equal(decision.bandwidth, blind.bandwidth)
        observation = simulator.step(decision).observation


def test_never_drops_a_tokens_last_expert():
    weights = np.array([[[0.5, 0.3, 0.2], [0.3, 0.5, 0.2], [0.1, 0.2, 0.7]]])
    chosen = np.array([[[True, True, False], [True, False, False], [True, False, True]]])
    slow = np.array([[True, True, False]])  # two experts on the slow device
    everything = relief(weights, chosen, slow, np.array([99.0]))
    np.testing.assert_array_equal(everything, [[[False, True, False], [False] * 3, [True, False, False]]])
    one = relief(weights, chosen, slow, np.array([1.0]))
    np.testing.assert_array_equal(one, [[[False] * 3, [False] * 3, [True, False, False]]])
    assert not relief(weights, chosen, slow, np.array([0.0])).any()
