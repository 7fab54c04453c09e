"""Encodings of observations: inside their spaces, scaled as documented."""

import numpy as np
import pytest
from gymnasium.spaces import flatten
from gymnasium.vector.utils import batch_space
from support.toy import SMALL, preset

from wdmoe_env import Decision, Simulator
from wdmoe_env.envs.codecs import observation_codec
from wdmoe_env.system import selection


def start(scenario, num_envs=2, seed=0):
    simulator = Simulator(scenario, num_envs)
    return simulator, simulator.reset(seed)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["dict", "flat", "device", "expert"])
@pytest.mark.parametrize("name", SMALL)
def test_observations_lie_in_their_space_and_are_copies(name, encoding):
    scenario = preset(name)
    simulator, observation = start(scenario, 2)
    codec = observation_codec(encoding, scenario)
    space = batch_space(codec.space, 2)
    first = codec.encode(observation)
    kept = {k: v.copy() for k, v in first.items()} if encoding == "dict" else first.copy()
    for _ in range(3):
        assert codec.encode(simulator.observation) in space
        chosen = selection.top_k(simulator.observation.gate_weights, scenario.model.top_k)
        split = np.full((2, scenario.num_devices), scenario.radio.bandwidth_hz / scenario.num_devices)
        simulator.step(Decision(chosen, split))
    np.testing.assert_equal(first, kept)


def test_the_dict_scales_as_documented():
    scenario = preset("paper")
    _, observation = start(scenario, 2)
    encoded = observation_codec("dict", scenario).encode(observation)
    decibel = 10.0 * np.log10(observation.gain_dl)
    np.testing.assert_allclose(encoded["gain_dl"] * 60.0 - 100.0, decibel, atol=1e-4)
    np.testing.assert_allclose(encoded["gate_weights"].sum(axis=-1), 1.0, atol=1e-5)
    assert not encoded["last_device_time"].any()
    assert not encoded["layer"].any()


def test_flat_is_the_dict_as_gymnasium_flattens_it():
    scenario = preset("paper")
    _, observation = start(scenario, 2)
    fields, vector = (observation_codec(name, scenario) for name in ("dict", "flat"))
    encoded = fields.encode(observation)
    for n in range(2):
        one = {name: values[n] for name, values in encoded.items()}
        np.testing.assert_array_equal(vector.encode(observation)[n], flatten(fields.space, one))
