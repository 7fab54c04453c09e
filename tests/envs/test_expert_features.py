"""Expert features: bounded, the device's beside the expert's own, and the same for permuted experts."""

from dataclasses import replace

import numpy as np
import pytest
from support.toy import LINEAR, SMALL, preset, random_decision, toy

from wdmoe_env import Simulator
from wdmoe_env.envs.expert_features import EXPERT_FEATURES, OWN, PLACES, columns, expert_features
from wdmoe_env.envs.features import FEATURES, LIMIT, PRICE_LEVELS, device_features
from wdmoe_env.interface import plain_sums
from wdmoe_env.system import selection
from wdmoe_env.system.compute import compute_time

COLUMN = {name: index for index, name in enumerate(EXPERT_FEATURES)}


def seen(scenario, num_envs=3):
    """An observation after a step."""
    simulator = Simulator(scenario, num_envs)
    simulator.reset(0)
    return simulator.step(random_decision(scenario, num_envs, np.random.default_rng(0))).observation


def column(table, name):
    return table[:, :, COLUMN[name]]


@pytest.mark.parametrize("name", [*SMALL, "toy"])
def test_features_are_finite_and_the_first_ones_are_those_of_the_device(name):
    scenario = toy(3, 8, 2) if name == "toy" else preset(name)
    observation = seen(scenario)
    table = expert_features(observation, scenario)
    assert table.shape == (3, scenario.model.experts, len(EXPERT_FEATURES))
    assert table.dtype == np.float32
    assert np.isfinite(table).all()
    assert np.abs(table).max() <= LIMIT
    of_devices = device_features(observation, scenario)[:, scenario.hosts]
    np.testing.assert_array_equal(table[:, :, : len(FEATURES)], of_devices)


@pytest.mark.parametrize("gain", [0.0, 1e-3])
@pytest.mark.parametrize("load", [0.0, 0.95])
def test_features_of_extreme_cells_are_finite(load, gain):
    scenario = toy(3, 8, 2, host=[0, 0, 0, 0, 1, 1, 2, 2])
    observation = seen(scenario)
    weights = np.zeros_like(observation.gate_weights)
    weights[..., 0], weights[..., 1] = 0.75, 0.25  # two devices and six experts without a token
    gains = dict.fromkeys(("gain_dl", "gain_ul"), np.full_like(observation.gain_dl, gain))
    loads = np.full_like(observation.load, load)
    table = expert_features(
        replace(observation, **gains, load=loads, gate_weights=weights, routed=None, plain=None), scenario
    )
    assert np.isfinite(table).all()
    assert np.abs(table).max() <= LIMIT
    assert 0.0 <= column(table, "opening").min() <= column(table, "opening").max() <= 1.0


def test_hand_checked_columns():
    scenario = toy(3, 8, 2, tokens=30, host=[0, 0, 0, 0, 1, 1, 2, 2])
    observation = seen(scenario)
    table, weights = expert_features(observation, scenario), observation.gate_weights
    plain = selection.top_k(weights, 2)
    tokens, kept = plain.sum(axis=1), weights * plain
    mass, per_device = kept.sum(axis=1), tokens @ np.eye(3)[scenario.hosts]
    np.testing.assert_allclose(column(table, "expert_tokens"), np.sqrt(tokens / 7.5) / 2, rtol=1e-5)
    np.testing.assert_allclose(
        column(table, "expert_mass"), np.sqrt(mass / mass.mean(axis=1, keepdims=True)) / 2, rtol=1e-5
    )
    np.testing.assert_allclose(column(table, "expert_share"), tokens / per_device[:, scenario.hosts], rtol=1e-5)
    np.testing.assert_allclose(column(table, "hosted")[0], np.log([4, 4, 4, 4, 2, 2, 2, 2]) / 3, rtol=1e-5)
    for price in PRICE_LEVELS:
        cheap = plain & (weights <= price)
        np.testing.assert_allclose(
            column(table, f"expert_dropped_{price}"), cheap.sum(axis=1) / np.maximum(tokens, 1), rtol=1e-5
        )
        lost = np.sqrt((kept * cheap).sum(axis=1) / mass.mean(axis=1, keepdims=True))
        np.testing.assert_allclose(column(table, f"expert_lost_{price}"), lost, rtol=1e-4, atol=1e-6)
    # What it costs to use them all, and nothing but that, where no token is sent or computed: device 0 alone has it.
    opening = column(table, "opening")
    assert (opening[:, 4:] == 0.0).all()
    busy = compute_time(tokens.astype(float), observation.load, scenario.compute_model)[:, 0]
    share = table[:, 0, COLUMN["compute_share"]]
    fixed = scenario.compute_model.fixed_s[0] / (1.0 - observation.load[:, 0])
    np.testing.assert_allclose(opening[:, 0], fixed * share / busy, rtol=1e-4)


def test_permuted_experts_of_permuted_devices_permute_the_rows():
    alike = [{"name": "a", "count": 4, "compute": {**LINEAR}}]
    scenario = toy(4, 8, 3, tokens=20, devices=alike)
    observation, rng = seen(scenario), np.random.default_rng(1)
    devices = rng.permutation(4)
    # Expert e lives on device e mod 4: each device's two trade places with those of another, in either order.
    swapped = rng.integers(0, 2, 4)
    experts = np.concatenate([devices + 4 * swapped, devices + 4 * (1 - swapped)])
    fields = {
        name: getattr(observation, name)[:, devices]
        for name in ("gain_dl", "gain_ul", "average_gain_dl", "average_gain_ul", "load", "last_device_time")
    }
    weights = observation.gate_weights[:, :, experts]
    permuted = replace(observation, **fields, gate_weights=weights, routed=None, plain=None)
    expected = expert_features(observation, scenario)[:, experts]
    np.testing.assert_allclose(expert_features(permuted, scenario), expected, atol=1e-6)


def test_every_column_has_its_place_by_name():
    scenario = preset("mobile")
    observation = seen(scenario)
    found = columns(observation, plain_sums(observation, 2), scenario, scenario.compute_model)
    assert found.keys() == PLACES.keys()
    assert list(EXPERT_FEATURES) == [*FEATURES, *OWN]
    order = np.arange(len(EXPERT_FEATURES))
    np.testing.assert_array_equal(np.concatenate([np.atleast_1d(order[place]) for place in PLACES.values()]), order)
