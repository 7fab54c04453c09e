"""What a layer is judged by: latency, retained gate mass and the three weight-to-latency ratios."""

from __future__ import annotations

from typing import Final

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
    """Share of plain top-K's gate mass that is kept: (N,), from (N, E) kept mass and (N,) top-K mass."""
    return mass.sum(axis=-1) / top_k_mass


def wlr(mass: FloatArray, latency: FloatArray) -> FloatArray:
    """Block WLR `sum(w * q) / latency`, 1/s: (N,), from (N, E) kept mass and (N,) latency."""
    return mass.sum(axis=-1) / latency


def wlr_token(share: FloatArray, token_time: FloatArray, tokens: int) -> FloatArray:
    """Token WLR (R), 1/s: the mean over tokens of the mean over a token's experts of `w / t_token`.

    Args:
        share: (N, E) gate weights summed over an expert's tokens, each divided by its token's number of experts.
        token_time: (N, E) seconds that the expert's device needs for a token.
        tokens: J.
    """
    return (share / np.maximum(token_time, INSTANT)).sum(axis=-1) / tokens


def wlr_device(mass: FloatArray, device_time: FloatArray) -> FloatArray:
    """Device WLR (R), 1/s: the sum over devices of `sum_j(w * q) / device_time`, from (N, U) masses and times."""
    return (mass / np.maximum(device_time, INSTANT)).sum(axis=-1)


def reward(
    ratio: FloatArray, reference: FloatArray | float, retained: FloatArray, mass_floor: float, penalty: float
) -> FloatArray:
    """`ratio / reference - penalty * max(0, mass_floor - retained)`: (N,)."""
    # A float32 sum of gate weights may miss the floor by rounding; that is no breach.
    shortfall = np.maximum(0.0, mass_floor - retained - 1e-6)
    return ratio / reference - penalty * shortfall


def bottleneck(device_time: FloatArray) -> NDArray[np.int64]:
    """Index of the device that everything waits for: (N,)."""
    return device_time.argmax(axis=-1)
