"""What tokens ask for at given prices: exactly, and smoothed, so that Newton's method can follow it.

A token that pays a price for each expert gains most mass by the K experts of largest positive `net = weight - price`,
or by the best one if none is positive. The smoothed token may take shares of experts, and is paid `epsilon` for their
binary entropy. Its shares are logistic: `q = 1 / (1 + exp((multiplier - net) / epsilon))`. The multiplier is of the
constraint that the shares sum to between 1 and K: 0 where it is not active, and otherwise such that they sum to that
end of the range.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wdmoe_env.arrays import FloatArray, GateArray

MULTIPLIER_STEPS = 3


class Demand(NamedTuple):
    """Smoothed demand of N cells.

    Attributes:
        shares: (N, E, J) of each token in each expert, 0 to 1.
        active: (N, J) 1 where the token's constraint is active: its shares sum to just 1 or K.
        surplus: (N,) what all tokens gain, entropy included: never less than the exact surplus.
    """

    shares: GateArray
    active: GateArray
    surplus: FloatArray


def exact_surplus(net: GateArray, top_k: int) -> FloatArray:
    """Most that tokens can gain, (N,): the sum over tokens of their best valid selection of (N, E, J) net weights."""
    best = _ordered(net, top_k)
    return (best[:, 0] + np.maximum(best[:, 1:], 0.0).sum(axis=1)).sum(axis=-1, dtype=np.float64)


def smooth_demand(net: GateArray, top_k: int, epsilon: GateArray) -> Demand:
    """Smoothed demand at (N, E, J) net weights, with a temperature (N, 1) for each cell."""
    width, experts = epsilon[:, None], net.shape[1]
    best = _ordered(net, min(top_k + 1, experts))
    active_side, total, multiplier = _start(net, best, top_k, width)
    for _ in range(MULTIPLIER_STEPS):
        shares = _logistic(net, multiplier, width)
        share_slope = np.maximum((shares * (1.0 - shares)).sum(axis=1) / epsilon, 1e-6)
        step = np.clip((shares.sum(axis=1) - total) / share_slope, -2.0 * epsilon, 2.0 * epsilon)
        multiplier = np.maximum((multiplier + step) * active_side, 0.0) * active_side
    shares = _logistic(net, multiplier, width)
    # softplus(z) = max(z, 0) - ln(max(q, 1 - q)) for q = logistic(z)
    soft = np.maximum(net - multiplier[:, None], 0.0) - width * np.log(np.maximum(shares, 1.0 - shares))
    surplus = soft.sum(axis=1) + np.where(multiplier > 0, top_k, 1) * multiplier
    return Demand(shares, np.abs(active_side), surplus.sum(axis=-1, dtype=np.float64))


def response(demand: Demand, epsilon: GateArray) -> FloatArray:
    """Minus the derivative of each expert's tokens by each expert's price: (N, E, E), positive semidefinite."""
    share_slope = demand.shares * (1.0 - demand.shares) / epsilon[:, None]
    total = np.maximum(share_slope.sum(axis=1, keepdims=True), 1e-12)
    matrix = -np.matmul(share_slope * (demand.active[:, None] / total), share_slope.swapaxes(1, 2), dtype=np.float64)
    diagonal = np.arange(share_slope.shape[1])
    matrix[:, diagonal, diagonal] += share_slope.sum(axis=2)
    return matrix


def _start(net: GateArray, best: GateArray, top_k: int, width: GateArray) -> tuple[GateArray, GateArray, GateArray]:
    """At which end tokens are held (1: K, -1: one, 0: neither), their total there, a first multiplier: (N, J)."""
    free = _logistic(net, np.zeros_like(best[:, 0]), width).sum(axis=1)
    many, few = free > top_k, free < 1.0
    if best.shape[1] <= top_k:
        many = np.zeros_like(many)
    upper = 0.5 * (best[:, top_k - 1] + best[:, -1])
    lower = 0.5 * (best[:, 0] + best[:, min(1, best.shape[1] - 1)])
    multiplier = np.where(many, np.maximum(upper, 0.0), 0.0) + np.where(few, np.minimum(lower, 0.0), 0.0)
    total = np.where(many, top_k, 1).astype(net.dtype)
    return many.astype(net.dtype) - few, total, multiplier


def _logistic(net: GateArray, multiplier: GateArray, width: GateArray) -> GateArray:
    with np.errstate(over="ignore"):  # to infinity, of which the share is 0
        return 1.0 / (1.0 + np.exp((multiplier[:, None] - net) / width))


def _ordered(net: GateArray, count: int) -> GateArray:
    """The `count` largest of each token's net weights, in falling order: (N, count, J)."""
    return -np.sort(-net, axis=1)[:, :count]
