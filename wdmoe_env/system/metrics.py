r"""The metrics of a layer: latency, retained gate mass, the three weight-to-latency ratios (WLR) and the reward.

In formulas w are gate weights, q the selection, :math:`t_u` device times and :math:`t = \max_u t_u` the latency. How
the paper normalises its WLR is not established. An independent re-implementation of its Algorithm 1 takes
`wlr_token`; the block form `wlr` is this project's own, and the default.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import FloatArray

SCHEMA: Final[dict[str, type[np.generic]]] = {
    "latency": np.float64,
    "latency_top_k": np.float64,
    "wlr": np.float64,
    "wlr_token": np.float64,
    "wlr_device": np.float64,
    "retained_mass": np.float64,
    "experts_per_token": np.float64,
    "reward": np.float64,
    "bottleneck": np.int64,
}
"""Every step's metrics, one number an environment: seconds for latencies, 1/s for the ratios, a device's index for the
bottleneck. `latency_top_k` is what plain top-K routing with uniform bandwidth would have taken in the same state."""


INSTANT: Final = 1e-30
"""Seconds that stand in for the time of a device without tokens, so that its share of a ratio is 0 and not NaN."""


def retained_mass(mass: FloatArray, top_k_mass: FloatArray) -> FloatArray:
    r"""Share of plain top-K's gate mass that is kept: (N,), from (N, E) kept mass and (N,) top-K mass.

    .. math:: \sum_{j,e} w_{je} q_{je} \Big/ \sum_j \sum_{e \in topK(j)} w_{je}
    """
    return mass.sum(axis=-1) / top_k_mass


def wlr(mass: FloatArray, latency: FloatArray) -> FloatArray:
    r"""Block WLR, the project's own form, 1/s: (N,), from (N, E) kept mass and (N,) latency.

    .. math:: WLR = \frac{1}{t} \sum_{j,e} w_{je} q_{je}
    """
    return mass.sum(axis=-1) / latency


def wlr_token(share: FloatArray, token_time: FloatArray, tokens: int) -> FloatArray:
    r"""Token WLR (R), 1/s: the mean over tokens of the mean over a token's experts of weight over time.

    .. math:: WLR_{token} = \frac{1}{J} \sum_j \frac{\sum_e q_{je}\, w_{je} / \tau_{host(e)}}{\sum_e q_{je}}, \quad
        \tau_u = t_u / n_u

    By itself it rewards dropping: an inner mean rises when its smallest term goes (docs/explanation/system-model.md).

    Args:
        share: (N, E) gate weights summed over an expert's tokens, each divided by its token's number of experts.
        token_time: (N, E) seconds that the expert's device needs for a token.
        tokens: J.
    """
    return (share / np.maximum(token_time, INSTANT)).sum(axis=-1) / tokens


def wlr_device(mass: FloatArray, device_time: FloatArray) -> FloatArray:
    r"""Device WLR (R), 1/s: (N,), from (N, U) masses and times.

    .. math:: WLR_{device} = \sum_u \frac{1}{t_u} \sum_j \sum_{e:\, host(e) = u} w_{je} q_{je}
    """
    return (mass / np.maximum(device_time, INSTANT)).sum(axis=-1)


def reward(
    ratio: FloatArray,
    reference: FloatArray | float,
    retained: FloatArray,
    mass_floor: float,
    penalty: float,
    plain: FloatArray | None = None,
    scale: Literal["linear", "log"] = "linear",
) -> FloatArray:
    r"""Reward of a step: (N,).

    .. math:: r = v \text{ if } m \ge m_{floor} \text{, else } \min(v, v_{topK}) - \lambda (m_{floor} - m)

    with :math:`v = WLR / reference`, or its logarithm, and :math:`v_{topK}` that of plain top-K. Plain top-K keeps the
    floor, so that nothing below the floor is worth more than something above it (docs/explanation/system-model.md).

    Args:
        ratio: (N,) WLR.
        reference: (N,) or a number: what it is divided by, that of plain top-K or 1.
        retained: (N,) retained gate mass m.
        mass_floor: m_floor; falling short of it by at most 1e-6 counts as rounding.
        penalty: for a whole unit of missing mass.
        plain: (N,) WLR of plain top-K routing with equal shares of the band in the same state; None: the reference.
        scale: `linear`, the ratio itself, or `log`, its natural logarithm.
    """
    # A float32 sum of gate weights may miss the floor by rounding; that is no breach.
    shortfall = np.maximum(0.0, mass_floor - retained - 1e-6)
    value, of_plain = ratio / reference, (reference if plain is None else plain) / reference
    if scale == "log":
        value, of_plain = np.log(value), np.log(of_plain)
    return np.where(shortfall > 0.0, np.minimum(value, of_plain) - penalty * shortfall, value)


def bottleneck(device_time: FloatArray) -> NDArray[np.int64]:
    r"""Index of the device that everything waits for: :math:`\arg\max_u t_u`, (N,)."""
    return device_time.argmax(axis=-1)
