"""Device features: the compact (U, F) table that an agent sees, one row a device, each column about -1 to 1.

Everything comes from the Observation. Scaling is fixed here, so that nothing outside has to be normalised, saved
beside a model or forgotten at evaluation.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import FloatArray
from wdmoe_env.interface import Observation, plain_sums
from wdmoe_env.scenario import Scenario
from wdmoe_env.system.compute import compute_time
from wdmoe_env.system.latency import LN2, rate, snr_bandwidth, token_time
from wdmoe_env.system.selection import PRICE_LEVELS

LIMIT: Final = 4.0
TINY: Final = 1e-12
LEAST_RATIO: Final = float(np.exp(-6.0))

FEATURES: Final[dict[str, str]] = {
    "efficiency_dl": "downlink spectral efficiency at an equal share of the band, bit/s/Hz, over 20",
    "efficiency_ul": "uplink spectral efficiency at an equal share of the band, bit/s/Hz, over 20",
    "token_time": "ln of the time to send one token there and back, over the devices' mean; over 3",
    "compute_share": "share of the device's time that is computation, under plain top-K with equal shares",
    "load": "share of the device's compute that is taken",
    "tokens": "tokens under plain top-K over those of an even spread; over 2",
    "mass": "gate mass under plain top-K over that of an even spread; over 2",
    "device_time": "time of the device under plain top-K with equal shares, over the slowest device's",
    "demand": "ln of the device's communication time under plain top-K, over the devices' mean; over 3",
    **{f"dropped_{price}": f"share of its tokens whose gate weight is at most {price}" for price in PRICE_LEVELS},
    **{f"lost_{price}": "root of the gate mass of those tokens over a device's mean mass" for price in PRICE_LEVELS},
    "slower_on_average": "ln of token_time at the average of recent gains over that at the known gains",
    "slower_on_both": "the same, where both links have the mean of their averages (of ln gain): they share the path",
    "average_dl": "ln of the average of recent downlink gains over the known gain; over 2",
    "average_ul": "the same for the uplink",
    "imbalance": "ln of the known downlink gain over the known uplink gain; over 2",
    "last_device_time": "time of the device in the step before, over the slowest device's",
    "latency": "log10 of the latency of plain top-K with equal shares, over 10 ms; over 2; the same for all devices",
    "depth": "depth of the layer, from 0 to 1; the same for all devices",
}
"""Name and meaning of each column, in order."""
DROPPED: Final = slice(9, 9 + len(PRICE_LEVELS))
LOST: Final = slice(DROPPED.stop, DROPPED.stop + len(PRICE_LEVELS))
STALE: Final = slice(LOST.stop, LOST.stop + 5)
"""Columns that tell how the known gains may err; 0 where gains are known at once and without error."""


def device_features(observation: Observation, scenario: Scenario) -> NDArray[np.float32]:
    """Features of every device: (N, U, F), finite, within -LIMIT to LIMIT."""
    compute, radio, last_layer = scenario.compute_model, scenario.radio_link, max(scenario.model.layers - 1, 1)
    band = radio.bandwidth_hz / scenario.num_devices
    reach = snr_bandwidth(observation.gain_dl, observation.gain_ul, radio)
    rates = rate(band, reach)
    plain = plain_sums(observation, scenario.model.top_k)
    per_device = compute.per_device(plain.table)
    tokens, mass = per_device[:, 0], per_device[:, 1]
    sending_one = token_time(rates, radio)
    computing = compute_time(plain.tokens, observation.load, compute)
    sending = tokens * sending_one
    times = sending + computing
    slowest = _largest(times)
    even_tokens = 2.0 * scenario.traffic.tokens * scenario.model.top_k / scenario.num_devices

    below = per_device[:, 2:].reshape(len(tokens), 2, len(PRICE_LEVELS), -1)

    table = np.empty((*tokens.shape, len(FEATURES)), dtype=np.float32)
    table[:, :, 0:2] = rates.transpose(1, 2, 0) / (band * LN2 * 20.0)
    table[:, :, 2] = _log_ratio(sending_one)
    table[:, :, 3] = computing / np.maximum(times, TINY)
    table[:, :, 4] = observation.load
    table[:, :, 5] = tokens / even_tokens
    table[:, :, 6] = mass * (0.5 / _mean(mass))
    table[:, :, 7] = times / slowest
    table[:, :, 8] = _log_ratio(sending)
    table[:, :, DROPPED] = (below[:, 0] / np.maximum(tokens, 1.0)[:, None]).transpose(0, 2, 1)
    table[:, :, LOST] = np.sqrt(below[:, 1] / _mean(mass)[:, None]).transpose(0, 2, 1)
    table[:, :, STALE] = _stale(observation, scenario, reach, sending_one)
    table[:, :, -3] = observation.last_device_time / np.maximum(_largest(observation.last_device_time), TINY)
    table[:, :, -2] = 0.5 * np.log10(slowest / 1e-2)
    table[:, :, -1] = observation.layer[:, None] / last_layer
    return np.clip(table, -LIMIT, LIMIT, out=table)


def _stale(
    observation: Observation, scenario: Scenario, reach: FloatArray, sending_one: FloatArray
) -> FloatArray | float:
    """The `STALE` columns, (N, U, 5): what recent estimates and the other link say of the (2, N, U) reach."""
    channel, radio = scenario.channel, scenario.radio_link
    if not channel.uncertain:
        return 0.0
    band = radio.bandwidth_hz / scenario.num_devices
    average = snr_bandwidth(observation.average_gain_dl, observation.average_gain_ul, radio)
    both = np.sqrt(np.prod(average / radio.power_over_noise, axis=0)) * radio.power_over_noise
    slower = [np.log(token_time(rate(band, seen), radio) / sending_one) for seen in (average, both)]
    drift = 0.5 * np.log(average / reach)
    known = reach / radio.power_over_noise
    return np.stack([*slower, *drift, 0.5 * np.log(known[0] / known[1])], axis=-1)


def _mean(values: FloatArray) -> FloatArray:
    """Mean over devices, as a column."""
    return np.add.reduce(values, axis=-1, keepdims=True) / values.shape[-1]


def _largest(values: FloatArray) -> FloatArray:
    """Largest over devices, as a column."""
    return np.maximum.reduce(values, axis=-1, keepdims=True)


def _log_ratio(values: FloatArray) -> FloatArray:
    """Log of values over their mean over devices, over 3; at least -2, also where a value is 0."""
    return np.log(np.maximum(values / _mean(values), LEAST_RATIO)) / 3.0
