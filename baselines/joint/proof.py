"""What prices of the devices' time prove of a layer's latency: the dual of the joint problem, for N cells at once.

Within a latency T, device u serves `n_u <= (T - fixed_u) c_u(b_u)` tokens, none if T < fixed_u. So for any prices >= 0
the gate mass that any selection and any split can keep within T is at most

    surplus(price) + max over splits b of the sum of price_u (T - fixed_u) c_u(b_u),

and a T at which this is below the wanted mass is proved to be out of reach. Proof and derivation:
docs/explanation/optimum.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from baselines.joint.capacity import TokenRate
from baselines.joint.demand import exact_surplus
from baselines.joint.problem import JointProblem, net_weights
from wdmoe_env.arrays import FloatArray

LEAST_SHARE = 1e-3
MAX_KINKS = 80
"""Iterations over a piecewise linear function."""
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices, and the split of the band that goes with them.

    Attributes:
        price: (N, U) gate weight for a token on each device, not negative.
        bandwidth: (N, U) Hz, all above 0.
        latency: (N,) seconds at which the search ended: close to, but not proved to be below the optimum.
    """

    price: FloatArray
    bandwidth: FloatArray
    latency: FloatArray


def proved_latency(problem: JointProblem, fixed_s: FloatArray, prices: Prices, mass: FloatArray) -> FloatArray:
    """Seconds (N,) that every selection of at least that gate mass takes, whatever the split of the band.

    Valid for any prices: the better they are, the more is proved.

    Args:
        problem: the cells.
        fixed_s: (N, U) seconds that a device with tokens computes at least, besides its time for each token.
        prices: any.
        mass: (N,) gate mass that must be kept.
    """
    rate, band = problem.links.token_rate(prices.bandwidth), problem.links.band
    needed = mass - free_mass(problem, prices)
    latency = break_even(prices.price, prices.bandwidth, rate, fixed_s, needed, band) * (1.0 - ROUNDING)
    earned, _ = _capacity_value(prices.price, prices.bandwidth, rate, fixed_s, latency, band)
    return np.where((earned <= needed) & (latency > 0.0), latency, 0.0)


def free_mass(problem: JointProblem, prices: Prices) -> FloatArray:
    """The tokens' surplus at the prices: (N,) gate mass up to which they prove nothing."""
    return exact_surplus(net_weights(problem, prices.price), problem.top_k)


def break_even(
    price: FloatArray, bandwidth: FloatArray, rate: TokenRate, fixed_s: FloatArray, needed: FloatArray, band: float
) -> FloatArray:
    """The latency (N,) within which the devices can earn just what is needed; not above 0 if that is nothing."""
    if not fixed_s.any():
        _, slope = _capacity_value(price, bandwidth, rate, fixed_s, np.ones_like(needed), band)
        return needed / slope
    latency = fixed_s.max(axis=-1) + 1e-3
    for _ in range(MAX_KINKS):  # Newton's method on a convex, piecewise linear function
        earned, slope = _capacity_value(price, bandwidth, rate, fixed_s, latency, band)
        before, latency = (
            latency,
            np.where(slope > 0, latency - (earned - needed) / np.maximum(slope, 1e-300), 0.0),
        )
        if (np.abs(latency - before) <= 1e-14 * np.abs(before)).all():
            break
    return latency


def _capacity_value(
    price: FloatArray, bandwidth: FloatArray, rate: TokenRate, fixed_s: FloatArray, latency: FloatArray, band: float
) -> tuple[FloatArray, FloatArray]:
    """No less than what devices earn within (N,) seconds under any split, and its derivative by them: (N,) each.

    By concavity `c(b') <= c(b) + c'(b) (b' - b)`, so no split earns more than the sum of `a_u (c_u - c_u' b_u)` and
    the largest `a_u c_u' B`, with `a_u = price_u (T - fixed_u)`.
    """
    usable = np.maximum(latency[:, None] - fixed_s, 0.0)
    intercept, band_value = price * (rate.rate - rate.slope * bandwidth), price * rate.slope * band
    first = (band_value * usable).argmax(axis=-1)[:, None]
    best, band_slope, left = (
        np.take_along_axis(values, first, axis=-1)[:, 0] for values in (band_value * usable, band_value, usable)
    )
    return (intercept * usable).sum(axis=-1) + best, (intercept * (usable > 0)).sum(axis=-1) + band_slope * (left > 0)


def share_of_time(fixed_s: FloatArray, latency: FloatArray) -> FloatArray:
    """Share (N, U) of the latency that is left for tokens."""
    return np.maximum(1.0 - fixed_s / latency[:, None], LEAST_SHARE)
