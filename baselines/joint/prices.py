"""The search for the prices that prove most (`baselines.joint.proof`), for N cells at once.

It moves over points (split b, scale): `price_u = scale / (share_u c_u'(b_u))` with `share_u = 1 - fixed_u / T`.
At these prices b is the maximising split, so that nothing has to be solved to know the bound. Newton's method brings
the smoothed demand of the tokens to what the devices can serve, while the temperature of the smoothing falls; steps
that do not lower the bound on the mass are taken back and damped.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from baselines.joint.capacity import TokenRate
from baselines.joint.demand import exact_surplus, response, smooth_demand
from baselines.joint.problem import JointProblem, net_weights
from baselines.joint.proof import Prices, break_even, share_of_time
from wdmoe_env.arrays import BoolArray, FloatArray, GateArray

HIGHEST = 100.0
"""Highest price. Above 1 only differences count, and may be large: a token uses one expert whatever it costs."""
FIRST_PRICE = 0.1
"""Mean price at which the search starts."""
LEAST_BAND = 1e-12
SMOOTH, SHARP = 0.03, 5e-4
"""Temperatures of the smoothed demand, first and last, in gate weight."""
MAX_PRICE_STEP, MAX_SPLIT_STEP = 1.0, 1.5
"""Longest steps, of the logarithms of price and bandwidth."""
LEAST_DAMPING, DAMPED, MORE, LESS = 1e-6, 0.3, 30.0, 0.1
"""Damping at first and after a step is taken back; its growth with every further one, its fall with a good one."""
TOLERATED = 1e-6
"""Rise of the bound on the mass, relative to plain routing's, that is taken for rounding."""
RIDGE = 1e-9


def find_prices(problem: JointProblem, least: FloatArray, most: FloatArray, fixed_s: FloatArray, steps: int) -> Prices:
    """Search for the prices that prove most, at the gate mass of greatest mass to latency between `least` and `most`.

    Args:
        problem: the cells.
        least, most: (N,) gate mass; the same for the prices of one mass.
        fixed_s: (N, U) as for `proved_latency`.
        steps: points that are tried, at least 1.
    """
    kind = problem.weights.dtype.type
    temperature = np.full((len(least), 1), SMOOTH, dtype=kind)
    annealing, damping = kind((SHARP / SMOOTH) ** (1.0 / max(steps - 1, 1))), np.full(len(least), LEAST_DAMPING)
    best = _linearised(problem, _first_point(problem, least, fixed_s), least, most, fixed_s, temperature)
    for _ in range(steps - 1):
        point = _linearised(problem, _moved(problem, best, fixed_s, damping), least, most, fixed_s, temperature)
        worse = point.value > best.next_value + TOLERATED * problem.plain_mass
        damping = np.where(worse, np.maximum(damping * MORE, DAMPED), damping * LESS)
        temperature = np.where(worse[:, None], temperature, np.maximum(temperature * annealing, kind(SHARP)))
        best = _chosen(worse, best, point)
    return Prices(best.point.price, best.point.bandwidth, best.latency)


@dataclass(frozen=True, slots=True)
class _Point:
    """A point of the search: arrays over N cells.

    Attributes:
        bandwidth: (N, U) Hz.
        scale: (N,) common scale of the prices.
        latency, mass: (N,) seconds and gate mass that were known when the point was chosen.
        rate: token rates at the bandwidth.
        price: (N, U) that go with bandwidth, scale and latency.
    """

    bandwidth: FloatArray
    scale: FloatArray
    latency: FloatArray
    mass: FloatArray
    rate: TokenRate
    price: FloatArray


@dataclass(frozen=True, slots=True)
class _Linear:
    """What is known at a point, and the linear system that leads on from it.

    Attributes:
        point: where.
        value: (N,) bound on the mass there, at the latency that was known before.
        latency, mass: (N,) seconds that the point proves, and the gate mass that is wanted now.
        next_value: (N,) bound on the mass at that latency, which the next point should lower.
        excess: (N, U) what tokens ask for beyond what is served, in money.
        matrix: (N, U, U) minus the derivative of the excess by the logarithms of prices.
    """

    point: _Point
    value: FloatArray
    latency: FloatArray
    mass: FloatArray
    next_value: FloatArray
    excess: FloatArray
    matrix: FloatArray


def _point(
    problem: JointProblem,
    bandwidth: FloatArray,
    scale: FloatArray,
    latency: FloatArray,
    mass: FloatArray,
    fixed_s: FloatArray,
) -> _Point:
    rate = problem.links.token_rate(bandwidth)
    price = np.minimum(scale[:, None] / (share_of_time(fixed_s, latency) * rate.slope), HIGHEST)
    return _Point(bandwidth, scale, latency, mass, rate, price)


def _linearised(
    problem: JointProblem,
    point: _Point,
    least: FloatArray,
    most: FloatArray,
    fixed_s: FloatArray,
    temperature: GateArray,
) -> _Linear:
    """Find the bound on the mass at a point, the latency that it proves, and the system for the next step."""
    demand = smooth_demand(net_weights(problem, point.price, temperature.dtype.type), problem.top_k, temperature)
    tokens = problem.compute.per_device(demand.shares.sum(axis=2, dtype=np.float64))
    needed = point.mass - demand.surplus
    proved = break_even(point.price, point.bandwidth, point.rate, fixed_s, needed, problem.links.band)
    latency = np.clip(proved, 0.5 * point.latency, 2.0 * point.latency)
    served = latency[:, None] * share_of_time(fixed_s, latency) * point.rate.rate
    return _Linear(
        point=point,
        value=demand.surplus + _served_value(point, point.latency, fixed_s),
        latency=latency,
        # Mass over latency is greatest where latency times the derivative of mass by latency is the mass.
        mass=np.clip(latency * (point.price * point.rate.rate).sum(axis=-1), least, most),
        next_value=demand.surplus + _served_value(point, latency, fixed_s),
        excess=point.price * (tokens - served),
        matrix=_matrix(point, latency, problem.compute.between_devices(response(demand, temperature))),
    )


def _served_value(point: _Point, latency: FloatArray, fixed_s: FloatArray) -> FloatArray:
    """(N,) what the devices earn with all that they can serve within (N,) seconds."""
    return latency * (point.price * share_of_time(fixed_s, latency) * point.rate.rate).sum(axis=-1)


def _matrix(point: _Point, latency: FloatArray, response: FloatArray) -> FloatArray:
    """Derivative of minus the excess by the logarithms of prices, (N, U, U): of the demand, and of the best split."""
    sensitivity, weight = point.rate.sensitivity, point.scale * latency
    matrix = point.price[:, :, None] * point.price[:, None, :] * response
    matrix -= (weight / sensitivity.sum(axis=-1))[:, None, None] * (sensitivity[:, :, None] * sensitivity[:, None, :])
    # The ridge settles the common scale where no token responds to it.
    _diagonal(matrix)[:] += (1.0 + RIDGE) * weight[:, None] * sensitivity
    return matrix


def _chosen(rows: BoolArray, before: _Linear, after: _Linear) -> _Linear:
    """The earlier point in some cells, with all that is known there, and the later one in the others."""
    return _either(rows, before, after) if rows.any() else after


def _either(rows: BoolArray, one: Any, other: Any) -> Any:
    """Arrays of one in the rows, and of the other elsewhere, through all fields."""
    if isinstance(one, np.ndarray):
        return np.where(rows.reshape(-1, *[1] * (one.ndim - 1)), one, other)
    names = one._fields if isinstance(one, TokenRate) else [field.name for field in fields(one)]
    return type(one)(*(_either(rows, getattr(one, name), getattr(other, name)) for name in names))


def _moved(problem: JointProblem, known: _Linear, fixed_s: FloatArray, damping: FloatArray) -> _Point:
    """Take a Newton step; the logarithms of the split move as far as the prices ask them to."""
    point, matrix, sensitivity = known.point, known.matrix.copy(), known.point.rate.sensitivity
    diagonal = _diagonal(matrix)
    diagonal[:] += np.maximum(damping, RIDGE)[:, None] * diagonal
    log_price_step = np.linalg.solve(matrix, known.excess[:, :, None])[:, :, 0]
    log_price_step = np.clip(log_price_step, -MAX_PRICE_STEP, MAX_PRICE_STEP)
    common = (sensitivity * log_price_step).sum(axis=-1, keepdims=True) / sensitivity.sum(axis=-1, keepdims=True)
    step = np.clip(sensitivity / point.bandwidth * (log_price_step - common), -MAX_SPLIT_STEP, MAX_SPLIT_STEP)
    bandwidth = np.maximum(point.bandwidth * np.exp(step), LEAST_BAND * problem.links.band)
    bandwidth *= problem.links.band / bandwidth.sum(axis=-1, keepdims=True)
    scale = point.scale * np.exp(common[:, 0])
    return _point(problem, bandwidth, scale, known.latency, known.mass, fixed_s)


def _first_point(problem: JointProblem, mass: FloatArray, fixed_s: FloatArray) -> _Point:
    """Equal shares of the band, and the prices that go with them, of a mean that most cells' prices have."""
    band, (_, _, tokens) = problem.links.band, problem.weights.shape
    bandwidth = np.full(fixed_s.shape, band / fixed_s.shape[1])
    rate = problem.links.token_rate(bandwidth)
    price = (1.0 / rate.slope) * (FIRST_PRICE / (1.0 / rate.slope).mean(axis=-1, keepdims=True))
    even = (tokens * problem.top_k / fixed_s.shape[1] / rate.rate + fixed_s).max(axis=-1)
    surplus = exact_surplus(net_weights(problem, price, problem.weights.dtype.type), problem.top_k)
    proved = break_even(price, bandwidth, rate, fixed_s, mass - surplus, band)
    latency = np.clip(proved, 0.7 * even, even)
    scale = FIRST_PRICE / (1.0 / (share_of_time(fixed_s, latency) * rate.slope)).mean(axis=-1)
    return _point(problem, bandwidth, scale, latency, mass, fixed_s)


def _diagonal(matrix: FloatArray) -> FloatArray:
    """A writable view of the diagonals: (N, U)."""
    return np.einsum("nuu->nu", matrix)
