"""Device features: documented, bounded, the same for permuted devices, and right where they can be worked out."""

from dataclasses import replace

import numpy as np
import pytest
from support.toy import LINEAR, SMALL, preset, random_decision, toy

from wdmoe_env import Simulator
from wdmoe_env.envs.features import FEATURES, LIMIT, PLACES, PRICE_LEVELS, STALE, columns, device_features
from wdmoe_env.interface import plain_sums
from wdmoe_env.system import selection

COLUMN = {name: index for index, name in enumerate(FEATURES)}


def seen(scenario, num_envs=3, steps=2):
    """Return an observation after some steps, and the simulator."""
    simulator, rng = Simulator(scenario, num_envs), np.random.default_rng(0)
    simulator.reset(0)
    for _ in range(steps):
        simulator.step(random_decision(scenario, num_envs, rng))
    return simulator, simulator.observation


def column(table, name):
    return table[:, :, COLUMN[name]]


@pytest.mark.parametrize("name", SMALL)
def test_features_are_finite_and_inside_their_limits(name):
    scenario = preset(name)
    _, observation = seen(scenario)
    table = device_features(observation, scenario)
    assert table.shape == (3, scenario.num_devices, len(FEATURES))
    assert table.dtype == np.float32
    assert np.isfinite(table).all()
    assert np.abs(table).max() <= LIMIT
    assert (np.abs(table) < LIMIT).mean() > 0.99


@pytest.mark.parametrize("gain", [0.0, 1e-30, 1e-3])
@pytest.mark.parametrize("load", [0.0, 0.95])
@pytest.mark.parametrize("name", ["paper", "jetson"])
def test_features_of_extreme_cells_are_finite(name, load, gain):
    scenario = preset(name)
    _, observation = seen(scenario)
    weights = np.zeros_like(observation.gate_weights)
    weights[..., 0], weights[..., 1] = 0.75, 0.25  # six devices without a token
    extreme = replace(
        observation,
        gain_dl=np.full_like(observation.gain_dl, gain),
        gain_ul=np.full_like(observation.gain_ul, gain),
        load=np.full_like(observation.load, load),
        last_device_time=np.zeros_like(observation.last_device_time),
        gate_weights=weights,
        routed=None,
        plain=None,
    )
    table = device_features(extreme, scenario)
    assert np.isfinite(table).all()
    assert np.abs(table).max() <= LIMIT


def test_one_device_in_outage_stands_out():
    scenario = preset("paper")
    _, observation = seen(scenario)
    gain = observation.gain_ul.copy()
    gain[:, 3] = 0.0
    table = device_features(replace(observation, gain_ul=gain), scenario)
    assert (column(table, "token_time").argmax(axis=1) == 3).all()
    assert (column(table, "efficiency_ul")[:, 3] < 1e-3).all()
    np.testing.assert_array_equal(column(table, "device_time")[:, 3], 1.0)


@pytest.mark.parametrize("experts_per_device", [1, 2])
def test_permuted_devices_permute_the_rows(experts_per_device):
    devices = 6
    alike = [{"name": "a", "count": devices, "compute": LINEAR}]
    scenario = toy(devices, devices * experts_per_device, 3, tokens=20, devices=alike)
    _, observation = seen(scenario)
    order = np.random.default_rng(1).permutation(devices)
    experts = np.concatenate([order + devices * k for k in range(experts_per_device)])
    permuted = replace(
        observation,
        gain_dl=observation.gain_dl[:, order],
        gain_ul=observation.gain_ul[:, order],
        load=observation.load[:, order],
        last_device_time=observation.last_device_time[:, order],
        gate_weights=observation.gate_weights[:, :, experts],
        routed=None,
        plain=None,
    )
    expected = device_features(observation, scenario)[:, order]
    np.testing.assert_allclose(device_features(permuted, scenario), expected, atol=1e-6)


def test_the_routing_of_the_simulator_changes_nothing():
    scenario = preset("paper")
    _, observation = seen(scenario)
    without = device_features(replace(observation, routed=None, plain=None), scenario)
    np.testing.assert_array_equal(device_features(observation, scenario), without)


def test_every_column_has_its_place_by_name():
    order = np.arange(len(FEATURES))
    np.testing.assert_array_equal(np.concatenate([np.atleast_1d(order[place]) for place in PLACES.values()]), order)
    scenario = preset("mobile")
    _, observation = seen(scenario)
    found = columns(observation, plain_sums(observation, 2), scenario, scenario.compute_model)
    assert found.keys() == PLACES.keys()
    table = device_features(observation, scenario)
    for name in PLACES:
        if name in FEATURES:
            expected = np.broadcast_to(found[name], (3, 8)).clip(-LIMIT, LIMIT).astype(np.float32)
            np.testing.assert_array_equal(column(table, name), expected, err_msg=name)


def test_hand_checked_columns():
    scenario = preset("paper")
    simulator, observation = seen(scenario)
    table = device_features(observation, scenario)
    radio = scenario.radio_link
    share = radio.bandwidth_hz / 8
    snr = radio.bs_power_w * observation.gain_dl / (radio.noise_w_per_hz * share)
    plain = selection.top_k(observation.gate_weights, 2)
    tokens = plain.sum(axis=1)
    np.testing.assert_allclose(column(table, "efficiency_dl"), np.log2(1 + snr) / 20, rtol=1e-5)
    np.testing.assert_allclose(column(table, "load"), observation.load)
    np.testing.assert_allclose(column(table, "tokens"), 0.5 * tokens / 16, rtol=1e-6)
    np.testing.assert_allclose(column(table, "mass").mean(axis=1), 0.5, rtol=1e-5)
    np.testing.assert_array_equal(column(table, "device_time").max(axis=1), 1.0)
    np.testing.assert_allclose(column(table, "depth"), 2 / 31, rtol=1e-6)
    last = observation.last_device_time
    np.testing.assert_allclose(column(table, "last_device_time"), last / last.max(axis=1, keepdims=True), rtol=1e-6)
    for price in PRICE_LEVELS:
        dropped = (plain & (observation.gate_weights <= price)).sum(axis=1) / np.maximum(tokens, 1)
        np.testing.assert_allclose(column(table, f"dropped_{price}"), dropped, atol=1e-6)
        weights = np.where(plain, observation.gate_weights, 0.0)
        lost = np.where(weights <= price, weights, 0.0).sum(axis=1) * 8 / weights.sum(axis=(1, 2))[:, None]
        np.testing.assert_allclose(column(table, f"lost_{price}"), np.sqrt(lost), rtol=1e-4, atol=1e-5)
    outcome = simulator.step(random_decision(scenario, 3, np.random.default_rng(0)))
    expected = 0.5 * np.log10(outcome.metrics["latency_top_k"] / 1e-2)
    np.testing.assert_allclose(column(table, "latency"), np.tile(expected[:, None], 8), rtol=1e-5)


def test_slower_on_average_compares_recent_gains_with_the_known_ones():
    scenario = preset("mobile")
    _, observation = seen(scenario)
    weaker = replace(observation, average_gain_dl=0.1 * observation.gain_dl, average_gain_ul=0.1 * observation.gain_ul)
    same = replace(observation, average_gain_dl=observation.gain_dl, average_gain_ul=observation.gain_ul)
    assert column(device_features(weaker, scenario), "slower_on_average").min() > 0.1
    np.testing.assert_array_equal(column(device_features(same, scenario), "slower_on_average"), 0.0)


def test_columns_on_stale_gains_tell_averages_and_links_apart():
    scenario = preset("mobile")
    _, observation = seen(scenario)
    gain = np.full_like(observation.gain_dl, 1e-9)
    level = {"gain_dl": gain, "gain_ul": gain, "average_gain_dl": gain, "average_gain_ul": gain}
    alike = device_features(replace(observation, **level), scenario)
    for name in STALE:
        np.testing.assert_allclose(column(alike, name), 0.0, atol=1e-6)
    other = {**level, "gain_dl": 4.0 * gain, "average_gain_dl": 16.0 * gain, "average_gain_ul": 0.25 * gain}
    table = device_features(replace(observation, **other), scenario)
    np.testing.assert_allclose(column(table, "average_dl"), 0.5 * np.log(4.0), rtol=1e-5)
    np.testing.assert_allclose(column(table, "average_ul"), 0.5 * np.log(0.25), rtol=1e-5)
    np.testing.assert_allclose(column(table, "imbalance"), 0.5 * np.log(4.0), rtol=1e-5)
    swapped = {**other, "average_gain_dl": other["average_gain_ul"], "average_gain_ul": other["average_gain_dl"]}
    again = device_features(replace(observation, **swapped), scenario)
    np.testing.assert_allclose(column(table, "slower_on_both"), column(again, "slower_on_both"), atol=1e-6)
    assert np.all(column(table, "slower_on_average") > column(again, "slower_on_average"))


@pytest.mark.parametrize("name", ["paper", "jetson"])
def test_columns_on_stale_gains_are_0_where_gains_are_known(name):
    _, observation = seen(preset(name))
    table = device_features(observation, preset(name))
    for stale in STALE:
        np.testing.assert_array_equal(column(table, stale), 0.0)


def test_compute_share_and_demand():
    scenario = preset("jetson", load={"mean": 0.0, "std": 0.0, "thermal_slowdown": 0.0})
    _, observation = seen(scenario)
    table = device_features(observation, scenario)
    tokens = selection.top_k(observation.gate_weights, 2).sum(axis=1)
    model = scenario.compute_model
    busy = np.where(tokens > 0, model.fixed_s + tokens * model.token_s, 0.0)
    times = column(table, "device_time") * 10.0 ** (2.0 * column(table, "latency")) * 1e-2
    np.testing.assert_allclose(column(table, "compute_share"), busy / times, rtol=1e-4)
    sending = times - busy
    expected = np.log(sending / sending.mean(axis=1, keepdims=True)) / 3.0
    np.testing.assert_allclose(column(table, "demand"), expected, atol=1e-4)
