"""The strong dual of one cell: most gate mass within a latency, where an expert must be open before it is used.

Within a latency T a device with n tokens of k open experts needs a share `need_u(n, k; T)` of the band. With prices
`theta_j` of a token's place, `mu_u` of a place on a device, `pi_u` of an open expert, and `lambda` of the band, no
decision keeps more mass than

    lambda + sum over j of  max over 1 <= s <= K of  theta_j s
           + sum over e of  max(0, sum over j of max(0, w_je - mu - theta_j) - pi)
           + sum over u of  max over n, k of  mu_u n + pi_u k - lambda need_u(n, k; T).

Any prices prove. Proof: docs/explanation/optimum.md. Pairs of token and expert, and experts, can be fixed to be used or
not: then the sum holds for the decisions of that kind. `dual_mass` is the certificate; `baselines.joint.ascent` looks
for prices and need not be trusted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.joint.band import NEVER
from baselines.joint.cell import Cell
from baselines.joint.compiled import compiled
from wdmoe_env.arrays import FloatArray

Marks = NDArray[np.int8]
FREE, SHUT, OPEN = -1, 0, 1
ROUNDING = 1e-9


class Prices(NamedTuple):
    """Multipliers in gate weight: (J,) a token's places, (U,) places on a device, (U,) open experts, (1,) the band."""

    token: FloatArray
    place: FloatArray
    opening: FloatArray
    band: FloatArray


class Limits(NamedTuple):
    """What is fixed: (E, J) pairs and (E,) experts, each `FREE`, `SHUT` or `OPEN`; (U,) ranges that follow from it."""

    pair: Marks
    expert: Marks
    least_used: NDArray[np.int64]
    most_used: NDArray[np.int64]
    least_tokens: NDArray[np.int64]
    most_tokens: NDArray[np.int64]


class Choice(NamedTuple):
    """What maximises at some prices, (E, J) and (E,); running means of it guess at the best fractional decision."""

    pair: FloatArray
    expert: FloatArray


@compiled
def dual_mass(cell: Cell, needs: FloatArray, prices: Prices, limits: Limits, slope: Prices, best: Choice) -> float:
    """Most gate mass of any decision within the table's latency and the limits; minus infinity if there is none.

    Writes the derivatives by the prices to `slope`, and what maximises to `best`.
    """
    slope.token[:], slope.place[:], slope.opening[:], slope.band[0] = 0.0, 0.0, 0.0, 1.0
    total = prices.band[0]
    for expert in range(len(cell.host)):
        total += _expert_gain(cell, expert, prices, limits, slope, best)
    for token in range(len(prices.token)):
        price, used = prices.token[token], -slope.token[token]
        places = float(cell.top_k) if price > 0.0 else 1.0
        if price == 0.0:
            places = min(max(used, 1.0), float(cell.top_k))
        total += price * places
        slope.token[token] = places - used
    for device in range(len(cell.hosted)):
        gain = _device_gain(cell, device, needs, prices, limits, slope)
        if gain == -np.inf:
            return gain
        total += gain
    return total + ROUNDING * cell.plain_mass


@compiled
def _expert_gain(cell: Cell, expert: int, prices: Prices, limits: Limits, slope: Prices, best: Choice) -> float:
    device, used = cell.host[expert], 0
    gain = -prices.opening[device]
    best.expert[expert] = 0.0
    best.pair[expert, :] = 0.0
    if limits.expert[expert] == SHUT:
        return 0.0
    for token in range(len(prices.token)):
        net = cell.weights[expert, token] - prices.place[device] - prices.token[token]
        mark = limits.pair[expert, token]
        if mark == OPEN or (mark == FREE and net > 0.0):
            gain += net
            used += 1
            best.pair[expert, token] = 1.0
    if gain <= 0.0 and limits.expert[expert] != OPEN:
        best.pair[expert, :] = 0.0
        return 0.0
    best.expert[expert] = 1.0
    slope.place[device] -= used
    slope.opening[device] -= 1.0
    for token in range(len(prices.token)):
        slope.token[token] -= best.pair[expert, token]
    return gain


@compiled
def _device_gain(cell: Cell, device: int, needs: FloatArray, prices: Prices, limits: Limits, slope: Prices) -> float:
    place, opening, band = prices.place[device], prices.opening[device], prices.band[0]
    gain = 0.0 if limits.least_used[device] == 0 else -np.inf
    tokens_there, used_there, need_there = 0, 0, 0.0
    for used in range(max(limits.least_used[device], 1), limits.most_used[device] + 1):
        row = needs[cell.start[device, used] : cell.start[device, used] + used * (len(prices.token) - 1) + 1]
        first = max(limits.least_tokens[device] - used, 0)
        last = min(len(row) - 1, limits.most_tokens[device] - used)
        if first > last or row[first] == NEVER:
            continue
        best = _most(row, first, last, place, band, needs[-1] < cell.outage_s)
        value = place * (used + best) + opening * used - band * row[best]
        if value > gain:
            gain, tokens_there, used_there, need_there = value, used + best, used, row[best]
    slope.place[device] += tokens_there
    slope.opening[device] += used_there
    slope.band[0] -= need_there
    return gain


@compiled
def _most(row: FloatArray, first: int, last: int, place: float, band: float, convex: bool) -> int:
    """Where in a row of needs `place * index - band * need` is greatest; `convex`: its differences grow."""
    if convex:
        while first < last:
            middle = (first + last) // 2
            if row[middle + 1] != NEVER and place > band * (row[middle + 1] - row[middle]):
                first = middle + 1
            else:
                last = middle
        return first
    best = first
    for index in range(first + 1, last + 1):
        if row[index] == NEVER:
            break
        if place * (index - best) > band * (row[index] - row[best]):
            best = index
    return best


def first_prices(tokens: int, devices: int, plain_mass: float) -> Prices:
    """Prices to start from where nothing is known."""
    place, opening, band = np.full(devices, 0.02), np.full(devices, 0.05), np.array([0.5 * plain_mass])
    return Prices(np.full(tokens, 0.02), place, opening, band)


def no_limits(cell: Cell) -> Limits:
    """Nothing fixed, but that experts which are no candidates are not used."""
    experts, tokens = cell.weights.shape
    pair = np.where(cell.weights < -1.0, SHUT, FREE).astype(np.int8)
    none, hosted = np.zeros(len(cell.hosted), dtype=np.int64), cell.hosted.astype(np.int64)
    return Limits(pair, np.full(experts, FREE, np.int8), none, hosted, none.copy(), hosted * tokens)
