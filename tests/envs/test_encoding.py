"""Encoders: an action that is made of a decision means that decision again, or the nearest that it can say."""

from dataclasses import replace

import numpy as np
import pytest
from support.toy import preset, random_decision, toy

import baselines
from wdmoe_env import Decision, Simulator, allocation
from wdmoe_env.envs.codecs import action_codec
from wdmoe_env.envs.encoding import ENCODERS, encode
from wdmoe_env.system import metrics, selection

FREE = {"reward": {"mass_floor": 0.0}}


def start(scenario, num_envs=3, seed=0):
    simulator = Simulator(scenario, num_envs)
    return simulator, simulator.reset(seed)


def again(name, decision, observation, scenario):
    actions = encode(name, decision, observation, scenario)
    return action_codec(name, scenario).decode(actions, observation)


@pytest.mark.parametrize("make_scenario", [lambda: preset("paper"), lambda: toy(3, 7, 4)])
def test_native_says_every_decision(make_scenario):
    scenario = make_scenario()
    _, observation = start(scenario)
    decision = random_decision(scenario, 3, np.random.default_rng(0))
    found = again("native", decision, observation, scenario)
    np.testing.assert_array_equal(found.selection, decision.selection)
    np.testing.assert_allclose(found.bandwidth, decision.bandwidth, rtol=1e-6)


@pytest.mark.parametrize("make_scenario", [lambda: preset("paper"), lambda: toy(3, 7, 4)])
def test_token_says_every_selection_and_exact_splits(make_scenario):
    scenario = make_scenario()
    _, observation = start(scenario)
    policy = baselines.make("wdmoe")
    policy.reset(scenario, 3)
    decision = policy.decide(observation)
    found = again("token", decision, observation, scenario)
    np.testing.assert_array_equal(found.selection, decision.selection)
    np.testing.assert_allclose(found.bandwidth, decision.bandwidth, rtol=1e-5)


def test_token_brings_shares_nearer_that_are_too_far_apart():
    scenario = toy(2, 2, 1)
    _, observation = start(scenario, 1)
    both = np.zeros((1, 6, 2), dtype=bool)
    both[0, :3, 0] = both[0, 3:, 1] = True
    band = scenario.radio.bandwidth_hz
    decision = replace(random_decision(scenario, 1, np.random.default_rng(0)), selection=both)
    decision = replace(decision, bandwidth=np.array([[0.9999, 0.0001]]) * band)
    found = again("token", decision, observation, scenario).bandwidth[0]
    np.testing.assert_allclose(found[0] / found[1], np.exp(6.0), rtol=1e-5)


@pytest.mark.parametrize("name", ["price", "expert-price"])
def test_prices_come_near_to_what_one_price_kept(name):
    scenario = preset("paper", **FREE)
    simulator, observation = start(scenario)
    policy = baselines.make("constant-price", price=0.2)
    policy.reset(scenario, 3)
    decision = policy.decide(observation)
    found = again(name, decision, observation, scenario)
    # A token that keeps one expert alone may go to another device, whose price was told apart by other weights.
    assert (found.selection != decision.selection).mean() < 0.005
    reward = simulator.preview(found)["reward"] / simulator.preview(decision)["reward"]
    np.testing.assert_allclose(reward, 1.0, rtol=0.02)


@pytest.mark.parametrize("split", ["residual", "learned"])
@pytest.mark.parametrize("name", ["price", "expert-price"])
def test_logits_say_the_split(name, split):
    scenario = preset("mobile", bandwidth=split)
    _, observation = start(scenario)
    plain = selection.top_k(observation.gate_weights, 2)
    exact = allocation.allocate_for(plain, observation, scenario)
    shares = exact * np.exp(np.random.default_rng(0).uniform(-0.5, 0.5, exact.shape))
    shares *= scenario.radio.bandwidth_hz / shares.sum(axis=1, keepdims=True)
    found = again(name, Decision(plain, shares), observation, scenario)
    np.testing.assert_array_equal(found.selection, plain)
    np.testing.assert_allclose(found.bandwidth, shares, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "make_scenario"), [("price", lambda: preset("paper")), ("expert-price", lambda: preset("many-experts"))]
)
def test_prices_come_near_to_what_the_optimizer_keeps(name, make_scenario):
    scenario = make_scenario()
    simulator, observation = start(scenario, 2)
    policy = baselines.make("price")
    policy.reset(scenario, 2)
    decision = policy.decide(observation)
    found = again(name, decision, observation, scenario)
    assert (found.selection != decision.selection).mean() < 0.05
    reward = simulator.preview(found)["reward"] / simulator.preview(decision)["reward"]
    assert reward.min() > 0.9
    assert simulator.preview(found)["retained_mass"].min() >= scenario.reward.mass_floor - 1e-6


@pytest.mark.parametrize("name", list(ENCODERS))
def test_any_decision_has_an_action_within_the_space(name):
    scenario = toy(3, 7, 4, bandwidth="residual")
    simulator, observation = start(scenario)
    decision = random_decision(scenario, 3, np.random.default_rng(1))
    actions = encode(name, decision, observation, scenario)
    space = action_codec(name, scenario).space
    for n in range(3):
        assert ({key: values[n] for key, values in actions.items()} if name == "native" else actions[n]) in space
    assert set(simulator.step(again(name, decision, observation, scenario)).metrics) == set(metrics.SCHEMA)


def test_where_nothing_is_dropped_prices_are_0():
    scenario = preset("paper")
    _, observation = start(scenario, 1)
    plain = selection.top_k(observation.gate_weights, 2)
    decision = replace(random_decision(scenario, 1, np.random.default_rng(0)), selection=plain)
    np.testing.assert_array_equal(encode("price", decision, observation, scenario), -1.0)


def test_an_encoding_of_ones_own_has_no_encoder():
    scenario = toy(2, 2, 1)
    _, observation = start(scenario, 1)
    decision = random_decision(scenario, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="action is 'mine', expected one of native, token, price, expert-price"):
        encode("mine", decision, observation, scenario)
