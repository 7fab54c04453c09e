"""Encodings of actions: what they mean, that any action is a valid decision, what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector.utils import batch_space
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toy import SMALL, preset, toy

from wdmoe_env import Simulator
from wdmoe_env.envs.codecs import action_codec, observation_codec
from wdmoe_env.system import bandwidth, selection
from wdmoe_env.system.compute import compute_time


def start(scenario, num_envs=2, seed=0):
    simulator = Simulator(scenario, num_envs)
    return simulator, simulator.reset(seed)


def flat(codec, num_envs, value):
    return np.full((num_envs, *(codec.space.shape or ())), value, dtype=np.float32)


SCENARIOS = {
    "paper": lambda **settings: preset("paper", **settings),
    "several experts a device": lambda **settings: toy(3, 7, 4, **settings),
    "one expert a token": lambda **settings: toy(2, 2, 1, **settings),
}


@pytest.mark.slow
@pytest.mark.parametrize("split", ["learned", "optimal", "residual"])
@pytest.mark.parametrize("action", ["native", "token", "price", "expert-price"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), name=st.sampled_from(list(SCENARIOS)), extreme=st.booleans())
def test_any_action_of_the_space_is_a_valid_decision(split, action, seed, name, extreme):
    scenario = SCENARIOS[name](bandwidth=split)
    simulator, observation = start(scenario, 3, seed)
    codec = action_codec(action, scenario)
    space = batch_space(codec.space, 3)
    space.seed(seed)
    sample = space.sample()
    if extreme and action != "native":
        sample = np.sign(sample).astype(np.float32)
    decision = codec.decode(sample, observation)
    per_token = decision.selection.sum(axis=-1)
    assert per_token.min() >= 1
    assert per_token.max() <= scenario.model.top_k
    assert (decision.bandwidth.sum(axis=-1) <= scenario.radio.bandwidth_hz * (1 + 1e-9)).all()
    assert np.isfinite(simulator.step(decision).reward).all()


@pytest.mark.parametrize("name", SMALL)
def test_the_lowest_price_is_plain_top_k(name):
    scenario = preset(name)
    _, observation = start(scenario)
    codec = action_codec("price", scenario)
    chosen = codec.decode(flat(codec, 2, -1.0), observation).selection
    np.testing.assert_array_equal(chosen, selection.top_k(observation.gate_weights, scenario.model.top_k))


@pytest.mark.parametrize("name", SMALL)
def test_without_a_floor_each_token_keeps_its_best_expert_alone_at_the_highest_price(name):
    scenario = preset(name, reward={"mass_floor": 0.0})
    _, observation = start(scenario)
    codec = action_codec("price", scenario)
    chosen = codec.decode(flat(codec, 2, 1.0), observation).selection
    np.testing.assert_array_equal(chosen, selection.top_k(observation.gate_weights, 1))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), device=st.integers(0, 7), price_increase=st.floats(0.0, 2.0))
def test_without_a_floor_a_higher_price_never_brings_a_device_more_tokens(seed, device, price_increase):
    scenario = preset("paper", reward={"mass_floor": 0.0})
    _, observation = start(scenario, 1, seed)
    codec = action_codec("price", scenario)
    action = np.random.default_rng(seed).uniform(-1, 1, (1, 8)).astype(np.float32)
    raised = action.copy()
    raised[0, device] = min(action[0, device] + price_increase, 1.0)
    few, many = (codec.decode(a, observation).selection[0, :, device] for a in (raised, action))
    assert not (few & ~many).any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["price", "expert-price"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), floor=st.sampled_from([0.5, 0.9, 0.95, 1.0]), name=st.sampled_from(list(SCENARIOS)))
def test_no_price_action_breaks_the_floor(kind, seed, floor, name):
    scenario = SCENARIOS[name](reward={"mass_floor": floor})
    simulator, observation = start(scenario, 4, seed)
    codec = action_codec(kind, scenario)
    action = np.random.default_rng(seed).uniform(-1, 1, (4, *(codec.space.shape or ()))).astype(np.float32)
    outcome = simulator.step(codec.decode(action, observation))
    assert outcome.metrics["retained_mass"].min() >= floor - 1e-6


@pytest.mark.parametrize("name", ["paper", "jetson", "mobile"])
def test_optimal_bandwidth_is_the_exact_allocation_for_what_is_known(name):
    scenario = preset(name)
    _, observation = start(scenario)
    codec = action_codec("price", scenario)
    decision = codec.decode(flat(codec, 2, -0.3), observation)
    per_expert = decision.selection.sum(axis=1).astype(float)
    busy = compute_time(per_expert, observation.load, scenario.compute_model)
    tokens = scenario.compute_model.per_device(per_expert)
    split, _ = bandwidth.allocate(tokens, busy, observation.gain_dl, observation.gain_ul, scenario.radio_link)
    np.testing.assert_allclose(decision.bandwidth, split, rtol=1e-12)


@pytest.mark.parametrize("highest", [0.5, 1.0])
def test_the_highest_price_is_the_scenarios(highest):
    scenario = toy(2, 2, 1, tokens=2, price_max=highest, reward={"mass_floor": 0.0})
    _, observation = start(scenario, 1)
    weights = np.array([[[0.9, 0.1], [0.3, 0.7]]], dtype=np.float32)
    observation = replace(observation, gate_weights=weights, routed=None, plain=None)
    codec: Any = action_codec("price", scenario)
    prices = np.array([[highest, 0.15]])
    np.testing.assert_allclose(codec.meaning(codec.encode(prices))[0], prices, rtol=1e-6)
    decision = codec.decode(codec.encode(prices), observation)
    # At 0.5 the first token still gains on the first device, at 1 no token does.
    assert decision.selection[0, :, 0].tolist() == [highest == 0.5, False]


def test_learned_bandwidth_follows_the_logits_and_leaves_out_idle_devices():
    scenario = toy(3, 3, 1, tokens=2, bandwidth="learned")
    simulator, observation = start(scenario, 20)
    codec = action_codec("price", scenario)
    assert codec.space.shape == (6,)
    action = flat(codec, 20, 0.0)
    action[:, 3] = 1.0
    decision = codec.decode(action, observation)
    loaded: Any = decision.selection.any(axis=1)
    assert not loaded.all()
    np.testing.assert_array_equal(decision.bandwidth > 0, loaded)
    np.testing.assert_allclose(decision.bandwidth.sum(axis=1), scenario.radio.bandwidth_hz)
    both = loaded[:, 0] & loaded[:, 1]
    np.testing.assert_allclose(decision.bandwidth[both, 0] / decision.bandwidth[both, 1], np.exp(3.0))
    simulator.step(decision)


def test_residual_bandwidth_corrects_the_exact_split():
    scenario = preset("mobile", bandwidth="residual")
    _, observation = start(scenario, 4)
    codec, optimal = action_codec("price", scenario), action_codec("price", preset("mobile"))
    assert codec.space.shape == (16,)
    action = flat(codec, 4, -0.3)
    exact = optimal.decode(action[:, :8], observation).bandwidth
    action[:, 8:] = 0.7  # the same for all devices changes nothing
    np.testing.assert_allclose(codec.decode(action, observation).bandwidth, exact, rtol=1e-6)
    action[:, 8] = 0.2
    corrected = codec.decode(action, observation).bandwidth
    np.testing.assert_allclose(corrected[:, 0] / corrected[:, 1], exact[:, 0] / exact[:, 1] * np.exp(-0.5), rtol=1e-6)
    np.testing.assert_allclose(corrected.sum(axis=1), scenario.radio.bandwidth_hz)


@pytest.mark.parametrize("split", ["learned", "optimal", "residual"])
@pytest.mark.parametrize("host", [None, [2, 0, 3, 1]])
def test_with_one_expert_a_device_expert_prices_are_device_prices(split, host):
    scenario = toy(4, 4, 2, host=host, bandwidth=split)
    _, observation = start(scenario, 20)
    of_devices, of_experts = (action_codec(name, scenario) for name in ("price", "expert-price"))
    action = np.random.default_rng(0).uniform(-1, 1, (20, *(of_devices.space.shape or ()))).astype(np.float32)
    other = np.concatenate([action[:, :4][:, scenario.hosts], action[:, 4:]], axis=1)
    expected, found = of_devices.decode(action, observation), of_experts.decode(other, observation)
    np.testing.assert_array_equal(found.selection, expected.selection)
    np.testing.assert_array_equal(found.bandwidth, expected.bandwidth)


@pytest.mark.parametrize("split", ["learned", "optimal"])
def test_an_expert_price_closes_one_expert_of_a_device_alone(split):
    scenario = toy(3, 7, 2, tokens=40, reward={"mass_floor": 0.0}, bandwidth=split)
    _, observation = start(scenario, 5)
    codec: Any = action_codec("expert-price", scenario)
    assert codec.num_prices == 7
    assert codec.space.shape == (7 if split == "optimal" else 10,)
    action = flat(codec, 5, -1.0)
    plain = codec.decode(action, observation).selection
    action[:, 4] = 1.0  # expert 1 lives on the same device
    chosen = codec.decode(action, observation).selection
    assert (observation.gate_weights[..., 4][chosen[..., 4]] > 0.5).all()
    assert chosen[..., 4].sum() < 0.5 * plain[..., 4].sum()
    assert (chosen[..., 1] >= plain[..., 1]).all()


def test_token_scores_pick_the_best_positive_ones():
    scenario = toy(2, 4, 2, tokens=3)
    _, observation = start(scenario, 1)
    scores = [[0.9, 0.1, 0.5, -1.0], [-0.5, -0.1, -0.2, -0.9], [-1.0, 0.3, -1.0, -1.0]]
    action = np.concatenate([np.ravel(scores), np.zeros(2)])[None].astype(np.float32)
    chosen = action_codec("token", scenario).decode(action, observation).selection[0]
    np.testing.assert_array_equal(chosen, [[1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 0, 0]])


@pytest.mark.parametrize("action", ["token", "price", "expert-price"])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_whole_numbers_mean_what_they_mean_as_floats(action, dtype):
    scenario = toy(bandwidth="learned")
    codec, observation = action_codec(action, scenario), Simulator(scenario, 4).reset(0)
    values = np.random.default_rng(0).integers(0, 2, (4, *(codec.space.shape or ())))
    whole, floats = (codec.decode(values.astype(kind), observation) for kind in (dtype, np.float32))
    np.testing.assert_array_equal(whole.selection, floats.selection)
    np.testing.assert_array_equal(whole.bandwidth, floats.bandwidth)


def test_a_native_action_is_taken_as_it_is_where_it_is_valid():
    scenario = toy(2, 4, 2, tokens=3)
    _, observation = start(scenario, 1)
    wanted = np.array([[[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1]]], dtype=np.int8)
    action = {"selection": wanted, "bandwidth": np.array([[0.25, 0.5]], dtype=np.float32)}
    decision = action_codec("native", scenario).decode(action, observation)
    np.testing.assert_array_equal(decision.selection, wanted)
    np.testing.assert_allclose(decision.bandwidth, [[25e6, 50e6]])


def test_a_native_action_is_repaired_where_it_is_not_valid():
    scenario = toy(2, 4, 2, tokens=2)
    _, observation = start(scenario, 1)
    wanted = np.array([[[1, 1, 1, 1], [0, 0, 0, 0]]], dtype=np.int8)
    action = {"selection": wanted, "bandwidth": np.array([[1.0, 1.0]], dtype=np.float32)}
    decision = action_codec("native", scenario).decode(action, observation)
    np.testing.assert_array_equal(decision.selection[:, 0], selection.top_k(observation.gate_weights, 2)[:, 0])
    np.testing.assert_array_equal(decision.selection[:, 1], selection.top_k(observation.gate_weights, 1)[:, 1])
    np.testing.assert_allclose(decision.bandwidth, [[50e6, 50e6]])


BAD = {
    "wrong shape": (lambda a: a[:, :-1], r"action has shape \(7,\), expected \(8,\)"),
    "wrong number of environments": (lambda a: a[:1], "action is for 1 environments, expected 2"),
    "NaN": (lambda a: np.where(np.arange(8) == 3, np.nan, a), "action spans nan"),
    "infinity": (lambda a: a + np.inf, "action spans inf"),
    "too large": (lambda a: a + 1.01, r"expected numbers from -1 to 1"),
    "too small": (lambda a: a - 1.01, r"expected numbers from -1 to 1"),
    "text": (lambda a: a.astype(str), "action has dtype <U"),
    "nothing": (lambda a: None, "action has dtype object"),
    "a mask": (lambda a: np.ma.masked_array(a, a == 0.0), "action is a masked array"),
    "lists of different lengths": (lambda a: [[0.0], [0.0, 1.0]], "action is a list that NumPy does not read"),
    "a tensor with a gradient": (
        lambda a: torch.zeros(2, 8, requires_grad=True),
        "action is a torch.Tensor that NumPy does not read",
    ),
    "a tensor of another precision": (lambda a: torch.zeros(2, 8, dtype=torch.bfloat16), "action is a torch.Tensor"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD)
def test_a_bad_price_action_is_refused_by_name(spoil, message):
    scenario = preset("paper")
    _, observation = start(scenario)
    codec = action_codec("price", scenario)
    with pytest.raises(ValueError, match=message):
        codec.decode(spoil(flat(codec, 2, 0.0)), observation)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(3), "expected a dict of 'selection' and 'bandwidth'"),
        ({"selection": np.ones((1, 3, 4))}, "expected a dict"),
        ({"selection": np.ones((1, 3, 4)), "bandwidth": np.ones((1, 3))}, r"action\['bandwidth'\] has shape \(3,\)"),
        ({"selection": np.ones((1, 2, 4)), "bandwidth": np.ones((1, 2))}, r"action\['selection'\] has shape"),
        ({"selection": np.full((1, 3, 4), 0.5), "bandwidth": np.ones((1, 2))}, "only 0 and 1"),
        ({"selection": np.full((1, 3, 4), 2), "bandwidth": np.ones((1, 2))}, r"action\['selection'\] spans"),
        ({"selection": np.ones((1, 3, 4)), "bandwidth": np.full((1, 2), -0.1)}, r"action\['bandwidth'\] spans -0.1"),
        ({"selection": np.ones((1, 3, 4)), "bandwidth": np.full((1, 2), np.nan)}, r"action\['bandwidth'\] spans nan"),
    ],
)
def test_a_bad_native_action_is_refused_by_name(action, message):
    scenario = toy(2, 4, 2, tokens=3)
    _, observation = start(scenario, 1)
    with pytest.raises(ValueError, match=message):
        action_codec("native", scenario).decode(action, observation)


def test_rounding_beyond_the_bounds_is_forgiven():
    scenario = preset("paper")
    _, observation = start(scenario)
    codec = action_codec("price", scenario)
    for edge in (-1.0, 1.0):
        nearly = codec.decode(flat(codec, 2, edge * (1 + 5e-7)), observation)
        np.testing.assert_array_equal(nearly.selection, codec.decode(flat(codec, 2, edge), observation).selection)


@pytest.mark.parametrize("make", [action_codec, observation_codec])
def test_an_unknown_encoding_lists_what_there_is(make):
    with pytest.raises(ValueError, match=r"is 'prise', expected one of \w+, \w+, \w+"):
        make("prise", preset("paper"))
