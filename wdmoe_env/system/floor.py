r"""The mass floor: give tokens back to plain routing until a selection keeps enough of its gate mass.

Which tokens is a covering knapsack problem: for returned tokens R, gains :math:`g_j` of gate mass and costs
:math:`c_j` at the prices,

.. math:: \min_R \sum_{j \in R} c_j \quad \text{s.t.} \quad \sum_{j \in R} g_j \ge
    m_{floor} M - \sum_{j,e} w_{je} q_{je}

with M the mass of plain routing. It is solved greedily, by :math:`c_j / g_j` (Dantzig 1957): good, not always optimal.
"""

from __future__ import annotations

import numpy as np

from wdmoe_env.arrays import BoolArray, FloatArray, GateArray
from wdmoe_env.system.selection import by_expert

MARGIN = 1e-6
"""Share of plain routing's mass that is kept beyond the floor: the weights are summed in single precision."""
TINY = 1e-9
HUGE = 1e30
"""More than any price, and than any price over `TINY`."""


def keep_floor(
    gate_weights: GateArray, selection: BoolArray, plain: BoolArray, price: FloatArray, floor: float
) -> BoolArray:
    """Return the selection, with tokens back at plain routing in cells that keep too little gate mass. (N, J, E) bool.

    Those tokens go back first that pay least at the prices for the mass that it wins, as long as they do not win more
    than is lacking; the last one is the one that pays least of those that win what is lacking then.

    Args:
        gate_weights: (N, J, E).
        selection: (N, J, E) bool, what is wanted.
        plain: (N, J, E) bool, plain top-K routing.
        price: (N, E) of each expert, in units of gate weight.
        floor: retained gate mass to keep, 0 to 1.
    """
    weights, wanted, routed = by_expert(gate_weights), by_expert(selection), by_expert(plain)
    deficit = (floor + MARGIN) * _mass(weights, routed) - _mass(weights, wanted)
    if not np.any(deficit > 0.0):
        return selection
    change = (routed.view(np.int8) - wanted.view(np.int8)).astype(weights.dtype)
    mass_gain = np.maximum(np.einsum("nej,nej->nj", weights, change), 0.0)
    cost = np.matmul(price.astype(weights.dtype, order="C")[:, None], change)[:, 0]
    returns = _greedy_cover(mass_gain, cost, deficit)
    return (wanted ^ ((wanted ^ routed) & returns[:, None])).swapaxes(1, 2)


def _mass(weights: GateArray, chosen: BoolArray) -> FloatArray:
    """Gate mass of a selection, (N,), both (N, E, J); in double precision, in which such sums are nearly exact."""
    return np.einsum("nej->n", weights * chosen, dtype=np.float64)


def _greedy_cover(mass_gain: GateArray, cost: GateArray, deficit: FloatArray) -> BoolArray:
    """Mark tokens, (N, J), whose gains of mass cover the (N,) deficit at little cost; none where there is none."""
    cells = np.arange(len(mass_gain))
    order = _last(mass_gain <= TINY, cost / np.maximum(mass_gain, TINY)).argsort(axis=1)
    order += mass_gain.shape[1] * cells[:, None]
    sums = mass_gain.ravel()[order].cumsum(axis=1, dtype=np.float64)
    below = sums < deficit[:, None]
    returns = np.empty(mass_gain.shape, dtype=np.bool_)
    returns.ravel()[order] = below
    left = deficit - np.maximum.reduce(sums, axis=1, where=below, initial=0.0)
    final = _last(returns | (mass_gain < left[:, None]), cost).argmin(axis=1)
    returns[cells, final] |= deficit > 0.0
    return returns


def _last(mask: BoolArray, values: GateArray) -> GateArray:
    """The values, and where the mask is set something larger than any; a sum, as `np.where` is slow at random masks."""
    return values + mask * values.dtype.type(HUGE)
