"""The search for prices of the strong dual (`baselines.joint.facility`): a subgradient method, not trusted."""

from __future__ import annotations

import numpy as np

from baselines.joint.cell import Cell
from baselines.joint.compiled import compiled
from baselines.joint.facility import ROUNDING, Choice, Limits, Prices, dual_mass
from wdmoe_env.arrays import FloatArray

PATIENCE, WEAKER, WEAKEST = 12, 0.6, 0.01
"""Steps without a better bound after which the steps get shorter, by how much, and how short they may get."""
MOMENTUM, MEMORY, NOTICED = 0.7, 0.1, 1e-4
BELOW, AIM = 0.998, 0.95
"""Where steps aim: below the target, and below what is proved so far, lest they get short before they get there."""


@compiled
def ascend(
    cell: Cell, needs: FloatArray, prices: Prices, limits: Limits, target: float, steps: int, mean: Choice
) -> float:
    """Improve the prices in place until less than `target` mass is proved, or for so many steps; return what is proved.

    A subgradient method with momentum; steps are as long as they would have to be to reach the target (Polyak).
    """
    now, step, slope = _copy(prices), _zeros(prices), _zeros(prices)
    at = Choice(np.zeros_like(mean.pair), np.zeros_like(mean.expert))
    scale, proved, length, waited = _scales(cell), np.inf, 1.0, 0
    for _ in range(steps):
        mass = dual_mass(cell, needs, now, limits, slope, at)
        if mass < proved:
            waited = 0 if mass < proved * (1.0 - NOTICED) else waited + 1
            proved = mass
            _assign(prices, now)
        else:
            waited += 1
        if proved < target:
            break
        mean.pair[:] += MEMORY * (at.pair - mean.pair)
        mean.expert[:] += MEMORY * (at.expert - mean.expert)
        if waited >= PATIENCE:
            length, waited = length * WEAKER, 0
            _assign(now, prices)
            step = _zeros(prices)
            if length < WEAKEST:
                break
            continue
        norm = _norm(slope, scale)
        if norm < 1e-18:
            break
        _follow(now, step, slope, scale, length * (1.0 - MOMENTUM) * (mass - min(BELOW * target, AIM * proved)) / norm)
    return proved


@compiled
def _follow(now: Prices, step: Prices, slope: Prices, scale: tuple[float, float, float, float], length: float) -> None:
    for token in range(len(now.token)):
        step.token[token] = scale[0] * slope.token[token] + MOMENTUM * step.token[token]
        before = now.token[token]
        now.token[token] = before - length * step.token[token]
        if before * now.token[token] < 0.0:  # there is a kink at 0
            now.token[token] = 0.0
    step.place[:] = scale[1] * slope.place + MOMENTUM * step.place
    step.opening[:] = scale[2] * slope.opening + MOMENTUM * step.opening
    step.band[0] = scale[3] * slope.band[0] + MOMENTUM * step.band[0]
    now.place[:] -= length * step.place
    now.opening[:] -= length * step.opening
    now.band[0] = max(now.band[0] - length * step.band[0], ROUNDING)


@compiled
def _scales(cell: Cell) -> tuple[float, float, float, float]:
    """Size of a price over the size of its slope, of each kind."""
    crowd = len(cell.weights[0]) * cell.top_k / len(cell.hosted)
    return 0.1, 0.1 / (1.0 + crowd), 0.1, cell.plain_mass


@compiled
def _norm(slope: Prices, scale: tuple[float, float, float, float]) -> float:
    total = scale[3] * slope.band[0] ** 2
    total += scale[0] * (slope.token**2).sum()
    return total + scale[1] * (slope.place**2).sum() + scale[2] * (slope.opening**2).sum()


@compiled
def _copy(prices: Prices) -> Prices:
    return Prices(prices.token.copy(), prices.place.copy(), prices.opening.copy(), prices.band.copy())


@compiled
def _zeros(prices: Prices) -> Prices:
    token, place = np.zeros_like(prices.token), np.zeros_like(prices.place)
    return Prices(token, place, np.zeros_like(prices.opening), np.zeros_like(prices.band))


@compiled
def _assign(to: Prices, source: Prices) -> None:
    to.token[:], to.place[:] = source.token, source.place
    to.opening[:], to.band[:] = source.opening, source.band
