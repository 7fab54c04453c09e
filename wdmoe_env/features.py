"""Device features: the compact (U, F) table that an agent sees, one row a device, each column about -1 to 1.

Everything comes from the Observation. Scaling is fixed here, so that nothing outside has to be normalised, saved
beside a model or forgotten at evaluation.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.interface import FloatArray, Observation
from wdmoe_env.scenario import Scenario
from wdmoe_env.system import selection
from wdmoe_env.system.latency import communication_time, rate, snr_bandwidth
from wdmoe_env.system.layer import layer_times

LIMIT: Final = 4.0
PRICE_LEVELS: Final = (0.045, 0.08, 0.125, 0.18, 0.245, 0.32)

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
    "last_device_time": "time of the device in the step before, over the slowest device's",
    "latency": "log10 of the latency of plain top-K with equal shares, over 10 ms; over 2; the same for all devices",
    "depth": "depth of the layer, from 0 to 1; the same for all devices",
}
"""Name and meaning of each column, in order."""


def device_features(observation: Observation, scenario: Scenario) -> NDArray[np.float32]:
    """Features of every device: (N, U, F), finite, within -LIMIT to LIMIT."""
    compute, radio = scenario.compute_model, scenario.radio_link
    uniform = np.full(observation.load.shape, radio.bandwidth_hz / scenario.num_devices)
    reach = snr_bandwidth(observation.gain_dl, observation.gain_ul, radio)
    efficiency = rate(uniform, reach) / (uniform * np.log(2.0) * 20.0)
    token_time = communication_time(uniform, reach, radio)

    plain = selection.by_expert(selection.routed(observation, scenario.model.top_k))
    kept = selection.by_expert(observation.gate_weights) * plain
    ones = np.ones(kept.shape[2], dtype=np.float32)
    per_expert = selection.tokens_per_expert(plain.swapaxes(1, 2))
    idle = kept.shape[2] - per_expert
    times = layer_times(per_expert, uniform, reach, observation.load, compute, radio)
    tokens, mass = times.tokens, compute.per_device(kept @ ones)
    sending = tokens * token_time
    slowest = times.latency[:, None]
    most_tokens = np.maximum(tokens, 1.0)
    dropped = [
        compute.per_device((kept <= price).astype(np.float32) @ ones - idle) / most_tokens for price in PRICE_LEVELS
    ]
    before = observation.last_device_time
    last_layer = max(scenario.model.layers - 1, 1)
    columns: list[FloatArray] = [
        efficiency[0],
        efficiency[1],
        _log_ratio(token_time),
        times.computation / np.maximum(times.device, 1e-12),
        observation.load,
        0.5 * tokens / tokens.mean(axis=-1, keepdims=True),
        0.5 * mass / mass.mean(axis=-1, keepdims=True),
        times.device / slowest,
        _log_ratio(sending),
        *dropped,
        before / np.maximum(before.max(axis=-1, keepdims=True), 1e-12),
        np.broadcast_to(0.5 * np.log10(slowest / 1e-2), tokens.shape),
        np.broadcast_to(observation.layer[:, None] / last_layer, tokens.shape),
    ]
    table = np.empty((*tokens.shape, len(columns)), dtype=np.float32)
    for index, column in enumerate(columns):
        table[:, :, index] = column
    return np.clip(table, -LIMIT, LIMIT, out=table)


def _log_ratio(values: FloatArray) -> FloatArray:
    """Ln of values over their mean over devices, over 3; at least -2 where a value is 0."""
    return np.log(np.maximum(values / values.mean(axis=-1, keepdims=True), np.exp(-6.0))) / 3.0
