"""Where the strong dual's search starts: at the prices of devices alone, or at what most cells' prices have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from baselines.joint.facility import Prices, first_prices
from baselines.joint.prices import find_prices
from baselines.joint.problem import JointProblem, least_fixed, net_weights
from baselines.joint.proof import share_of_time
from wdmoe_env.arrays import FloatArray, GateArray

STEPS: Final = 24
"""Points that the search for the devices' prices tries."""


def starts(problem: JointProblem, least: FloatArray, most: FloatArray) -> Iterator[Prices]:
    """Yield prices for each cell, where gate mass between a (N,) least and most is wanted.

    Where a device hosts several experts, the prices of devices say nothing of which of them are open: there the search
    starts at none of them.
    """
    count, devices = problem.fixed_s.shape
    if not problem.compute.one_to_one:
        yield from (first_prices(problem.weights.shape[2], devices, mass) for mass in problem.plain_mass.tolist())
        return
    fixed_s = least_fixed(problem, least)
    found = find_prices(problem, least, most, fixed_s, STEPS)
    net = net_weights(problem, found.price)
    usable_s = share_of_time(fixed_s, found.latency) * found.latency[:, None]
    band = (found.price * usable_s * problem.links.token_rate(found.bandwidth).slope).max(axis=1) * problem.links.band
    for index in range(count):
        token = _token_prices(net[index], problem.top_k)
        yield Prices(token, found.price[index].copy(), np.zeros(devices), band[index : index + 1].copy())


def _token_prices(net: GateArray, top_k: int) -> FloatArray:
    """Prices (J,) of tokens' places at which each takes its best of (E, J) net weights: at least one, at most K."""
    ranked = -np.sort(-net.astype(np.float64), axis=0)
    beyond = ranked[top_k] if len(ranked) > top_k else np.full_like(ranked[0], -np.inf)
    crowded = 0.5 * (ranked[top_k - 1] + np.maximum(beyond, 0.0))
    return np.where(ranked[0] < 0.0, ranked[0], np.where(ranked[top_k - 1] > 0.0, crowded, 0.0))
