"""Device features: the compact (U, F) table that an agent sees, one row a device, each column about -1 to 1.

Everything comes from the Observation. Scaling is fixed here, so that nothing outside has to be normalised, saved
beside a model or forgotten at evaluation. One formula, `columns`, serves NumPy and, for exported policies, torch.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import FloatArray
from wdmoe_env.interface import Observation, plain_sums
from wdmoe_env.scenario import Scenario
from wdmoe_env.system.compute import ComputeModel, compute_time
from wdmoe_env.system.latency import LN2, carrier_to_noise_density, rate, token_time
from wdmoe_env.system.selection import PRICE_LEVELS, PlainSums

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
FAMILIES: Final = ("dropped", "lost")
"""Names with a column for each of the `PRICE_LEVELS`."""
STALE: Final = ("slower_on_average", "slower_on_both", "average_dl", "average_ul", "imbalance")
"""Columns that tell how the known gains may err; 0 where gains are known at once and without error."""


def _places() -> dict[str, int | slice]:
    family_of = {f"{family}_{price}": family for family in FAMILIES for price in PRICE_LEVELS}
    at: dict[str, list[int]] = {}
    for index, name in enumerate(FEATURES):
        at.setdefault(family_of.get(name, name), []).append(index)
    return {name: slice(found[0], found[-1] + 1) if name in FAMILIES else found[0] for name, found in at.items()}


PLACES: Final = _places()
"""The column of each entry of `columns`, or the columns of a family, in order."""


def device_features(observation: Observation, scenario: Scenario) -> NDArray[np.float32]:
    """Features of every device: (N, U, F), finite, within -LIMIT to LIMIT."""
    plain = plain_sums(observation, scenario.model.top_k)
    table = np.zeros((*observation.load.shape, len(FEATURES)), dtype=np.float32)
    for name, values in columns(observation, plain, scenario, scenario.compute_model).items():
        table[:, :, PLACES[name]] = values if values.ndim == 2 else values.transpose(0, 2, 1)
    return np.clip(table, -LIMIT, LIMIT, out=table)


def columns(seen: Any, plain: PlainSums, scenario: Scenario, compute: ComputeModel, xp: Any = np) -> dict[str, Any]:
    """What stands in the columns, by name: (N, U), or (N, 1) where it is the same for all devices.

    Of a family (N, L, U), a row for each price. Names that are missing stand for 0.

    Args:
        seen: an Observation, or whatever has its fields with arrays of `xp`.
        plain: what plain top-K routing asks of each expert.
        scenario: what the policy runs in.
        compute: how long its devices compute, with arrays of `xp`.
        xp: namespace of the arrays: NumPy, or `array_api_compat.torch`.
    """
    radio, levels = scenario.radio_link, len(PRICE_LEVELS)
    band = radio.bandwidth_hz / scenario.num_devices
    cn0 = carrier_to_noise_density(seen.gain_dl, seen.gain_ul, radio, xp)
    rates = rate(band, cn0, xp)
    token_comm_time = token_time(rates, radio, xp)
    per_device = compute.per_device(plain.table)
    tokens, mass, at_most = per_device[:, 0], per_device[:, 1], per_device[:, 2:]
    computing = compute_time(plain.tokens, seen.load, compute, xp)
    comm_time = tokens * token_comm_time
    times = comm_time + computing
    slowest, mean_mass = _largest(times, xp), _mean(mass)
    spectral, last = rates / (band * LN2 * 20.0), seen.last_device_time
    found = {
        "efficiency_dl": spectral[0],
        "efficiency_ul": spectral[1],
        "token_time": _log_ratio(token_comm_time, xp),
        "compute_share": computing / xp.maximum(times, TINY),
        "load": seen.load,
        "tokens": tokens / (2.0 * seen.gate_weights.shape[1] * scenario.model.top_k / scenario.num_devices),
        "mass": mass * (0.5 / mean_mass),
        "device_time": times / slowest,
        "demand": _log_ratio(comm_time, xp),
        "dropped": at_most[:, :levels] / xp.maximum(tokens, 1.0)[:, None],
        "lost": xp.sqrt(at_most[:, levels:] / mean_mass[:, None]),
        "last_device_time": last / xp.maximum(_largest(last, xp), TINY),
        "latency": 0.5 * xp.log10(slowest / 1e-2),
        "depth": seen.layer[:, None] / max(scenario.model.layers - 1, 1),
    }
    return found | _stale(seen, scenario, cn0, token_comm_time, xp) if scenario.channel.uncertain else found


def _stale(seen: Any, scenario: Scenario, cn0: FloatArray, token_comm_time: FloatArray, xp: Any) -> dict[str, Any]:
    """The `STALE` columns: what recent estimates and the other link say of the (2, N, U) C/N0."""
    radio = scenario.radio_link
    band, (downlink, uplink) = radio.bandwidth_hz / scenario.num_devices, radio.power_over_noise
    average = carrier_to_noise_density(seen.average_gain_dl, seen.average_gain_ul, radio, xp)
    middle = xp.sqrt((average[0] / downlink) * (average[1] / uplink))
    both = xp.concat(((middle * downlink)[None], (middle * uplink)[None]))
    drift = 0.5 * xp.log(average / cn0)
    return {
        "slower_on_average": xp.log(token_time(rate(band, average, xp), radio, xp) / token_comm_time),
        "slower_on_both": xp.log(token_time(rate(band, both, xp), radio, xp) / token_comm_time),
        "average_dl": drift[0],
        "average_ul": drift[1],
        "imbalance": 0.5 * xp.log((cn0[0] / downlink) / (cn0[1] / uplink)),
    }


def _mean(values: Any) -> Any:
    """Mean over devices, as a column."""
    return values.sum(axis=-1, keepdims=True) / values.shape[-1]


def _largest(values: Any, xp: Any) -> Any:
    """Largest over devices, as a column."""
    # NumPy's method takes half the time of its function; torch's method returns places, too.
    return values.max(axis=-1, keepdims=True) if xp is np else xp.max(values, axis=-1, keepdims=True)


def _log_ratio(values: Any, xp: Any) -> Any:
    """Log of values over their mean over devices, over 3; at least -2, also where a value is 0."""
    return xp.log(xp.maximum(values / _mean(values), LEAST_RATIO)) / 3.0
