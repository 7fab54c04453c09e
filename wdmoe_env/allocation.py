"""How the band is split for a selection: in equal shares, or exactly for the channels and loads that are known."""

from __future__ import annotations

import numpy as np

from wdmoe_env.arrays import BoolArray, FloatArray
from wdmoe_env.interface import Observation
from wdmoe_env.scenario import Scenario
from wdmoe_env.system import bandwidth, selection
from wdmoe_env.system.compute import compute_time
from wdmoe_env.system.latency import carrier_to_noise_density


def uniform(scenario: Scenario, num_envs: int) -> FloatArray:
    """Equal shares of the band for all devices, with or without tokens: (N, U) Hz."""
    return np.full((num_envs, scenario.num_devices), scenario.radio.bandwidth_hz / scenario.num_devices)


def allocate_for(chosen: BoolArray, observation: Observation, scenario: Scenario) -> FloatArray:
    """The split of least latency for a (N, J, E) selection, as far as the observation knows the cell: (N, U) Hz."""
    tokens, computation = demand(chosen, observation, scenario)
    radio = scenario.radio_link
    return bandwidth.split(
        tokens, computation, carrier_to_noise_density(observation.gain_dl, observation.gain_ul, radio), radio
    )


def demand(chosen: BoolArray, observation: Observation, scenario: Scenario) -> tuple[FloatArray, FloatArray]:
    """What a (N, J, E) selection asks of each device: (N, U) tokens, and (N, U) seconds of computing."""
    per_expert = selection.tokens_per_expert(chosen)
    compute = scenario.compute_model if observation.compute is None else observation.compute
    return compute.per_device(per_expert), compute_time(per_expert, observation.load, compute)
