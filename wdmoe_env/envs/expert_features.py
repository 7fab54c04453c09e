"""Expert features: a table (E, F), one row an expert, that holds its device's features and its own.

As in `wdmoe_env.envs.features` scaling is fixed here, and one formula, `columns`, serves NumPy and torch.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import IntArray
from wdmoe_env.envs import features
from wdmoe_env.envs.features import TINY, fill, mean, places_of
from wdmoe_env.interface import Observation, plain_sums
from wdmoe_env.scenario import Scenario
from wdmoe_env.system.compute import ComputeModel, compute_time
from wdmoe_env.system.latency import carrier_to_noise_density, rate, token_time
from wdmoe_env.system.selection import PRICE_LEVELS, PlainSums

OWN: Final[dict[str, str]] = {
    "expert_tokens": "root of its tokens under plain top-K over those of an even spread over experts; over 2",
    "expert_mass": "root of its gate mass under plain top-K over that of an even spread over experts; over 2",
    "expert_share": "share of its device's tokens that are its own, under plain top-K",
    "opening": "time that its device takes to use it at all, over the device's time under plain top-K",
    "hosted": "ln of the number of experts that its device hosts; over 3",
    **{
        f"expert_dropped_{price}": f"share of its tokens whose gate weight is at most {price}" for price in PRICE_LEVELS
    },
    **{
        f"expert_lost_{price}": "root of the gate mass of those tokens over an expert's mean mass"
        for price in PRICE_LEVELS
    },
}
"""Name and meaning of each column that is the expert's own."""
EXPERT_FEATURES: Final[dict[str, str]] = {**features.FEATURES, **OWN}
"""Name and meaning of each column, in order: those of the expert's device, then its own."""
PLACES: Final = places_of(EXPERT_FEATURES, (*features.FAMILIES, "expert_dropped", "expert_lost"))
"""Columns of each entry of `columns`, in order."""


def expert_features(observation: Observation, scenario: Scenario) -> NDArray[np.float32]:
    """Features of every expert: (N, E, F), finite, within -LIMIT to LIMIT."""
    plain = plain_sums(observation, scenario.model.top_k)
    table = np.zeros((*plain.tokens.shape, len(EXPERT_FEATURES)), dtype=np.float32)
    return fill(table, PLACES, columns(observation, plain, scenario, scenario.compute_model))


def columns(seen: Any, plain: PlainSums, scenario: Scenario, compute: ComputeModel, xp: Any = np) -> dict[str, Any]:
    """What stands in the columns, by name: (N, E); 1 in the place of E, or of N, where all have the same.

    Of a family (N, L, E). Arguments are those of `features.columns`; names that are missing stand for 0.
    """
    of_devices = features.columns(seen, plain, scenario, compute, xp)
    spread = {name: _of_experts(values, compute.host) for name, values in of_devices.items()}
    return spread | _own(seen, plain, scenario, compute, xp)


def _own(seen: Any, plain: PlainSums, scenario: Scenario, compute: ComputeModel, xp: Any) -> dict[str, Any]:
    """The columns of `OWN`."""
    levels, host = len(PRICE_LEVELS), compute.host
    tokens, mass, at_most = plain.tokens, plain.mass, plain.table[:, 2:]
    even = seen.gate_weights.shape[1] * scenario.model.top_k / scenario.model.experts
    times, opening = _times(seen, plain, scenario, compute, xp), compute.fixed_s / (1.0 - seen.load)
    return {
        "expert_tokens": 0.5 * xp.sqrt(tokens / even),
        "expert_mass": 0.5 * xp.sqrt(mass / mean(mass)),
        "expert_share": tokens / xp.maximum(compute.per_device(tokens), 1.0)[..., host],
        # A device without tokens takes no time: there an expert costs all of it.
        "opening": (opening / xp.maximum(xp.maximum(times, opening), TINY))[..., host],
        "hosted": xp.log(compute.hosting.sum(0)[host])[None] / 3.0,
        "expert_dropped": at_most[:, :levels] / xp.maximum(tokens, 1.0)[:, None],
        "expert_lost": xp.sqrt(at_most[:, levels:] / mean(mass)[:, None]),
    }


def _times(seen: Any, plain: PlainSums, scenario: Scenario, compute: ComputeModel, xp: Any) -> Any:
    """Time of each device under plain top-K with equal shares of the band: (N, U) s."""
    radio, band = scenario.radio_link, scenario.radio_link.bandwidth_hz / scenario.num_devices
    token_comm_time = token_time(
        rate(band, carrier_to_noise_density(seen.gain_dl, seen.gain_ul, radio, xp), xp), radio, xp
    )
    return compute.per_device(plain.tokens) * token_comm_time + compute_time(plain.tokens, seen.load, compute, xp)


def _of_experts(values: Any, host: IntArray) -> Any:
    """Values of devices, (..., U), as those of the experts that they host; what is the same for all, (N, 1), stays."""
    return values if values.shape[-1] == 1 else values[..., host]
