"""The mass floor: give tokens back to plain routing until a selection keeps enough of its gate mass."""

from __future__ import annotations

import numpy as np

from wdmoe_env.interface import BoolArray, FloatArray, GateArray
from wdmoe_env.system.selection import by_expert

MARGIN = 1e-6
"""Share of plain routing's mass that is kept beyond the floor: the weights are summed in single precision."""
TINY = 1e-9


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
    mass = (weights * wanted).sum(axis=(1, 2), dtype=np.float64)
    lacking = (floor + MARGIN) * (weights * routed).sum(axis=(1, 2), dtype=np.float64) - mass
    short = np.flatnonzero(lacking > 0.0)
    if not short.size:
        return selection
    weights, wanted, routed = weights[short], wanted[short], routed[short]
    change = routed.astype(weights.dtype) - wanted
    won = np.maximum((weights * change).sum(axis=1), 0.0)
    paid = np.matmul(price[short, None].astype(weights.dtype), change)[:, 0]
    returns = _cheapest(won, paid, lacking[short])
    kept = by_expert(selection).copy()
    kept[short] = np.where(returns[:, None], routed, wanted)
    return kept.swapaxes(1, 2)


def _cheapest(won: GateArray, paid: GateArray, lacking: FloatArray) -> BoolArray:
    """Mark tokens, (N, J), that win the (N,) mass that is lacking and pay little for it."""
    order = np.argsort(np.where(won > TINY, paid / np.maximum(won, TINY), np.inf), axis=1)
    sums = np.take_along_axis(won, order, axis=1).cumsum(axis=1, dtype=np.float64)
    below = sums < lacking[:, None]
    returns = np.empty(won.shape, dtype=np.bool_)
    np.put_along_axis(returns, order, below, axis=1)
    left = lacking - np.max(sums, axis=1, where=below, initial=0.0)
    last = np.where(~returns & (won >= left[:, None]), paid, np.inf).argmin(axis=1)
    returns[np.arange(len(won)), last] = True
    return returns
