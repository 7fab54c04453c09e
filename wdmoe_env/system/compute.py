r"""How long devices compute by a model that is affine in the tokens of an expert, as linear and roofline are.

.. math:: t_u^{comp} = \sum_{e:\, host(e) = u,\, n_e > 0} \frac{F_u + n_e\, \kappa_u}{1 - \rho_u}

with the time :math:`F_u` of using an expert at all, :math:`\kappa_u` of each of its tokens, and the load
:math:`\rho_u`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from wdmoe_env.arrays import SHARED, Batch, FloatArray, IntArray

SLOPE_STEPS = 60
"""Halvings of an interval of slopes: down to rounding."""


@dataclass(frozen=True, eq=False)
class ComputeModel(Batch):
    r"""Time of the experts on idle devices: `fixed_s` once an expert is used, and `token_s` for each of its tokens.

    The paper's linear model (R): :math:`F = 0, \kappa = W / C`, with W FLOPs a token and C FLOP/s. A roofline
    (Williams, Waterman and Patterson 2009, its two roofs added): :math:`F = t_{launch} + bytes / bandwidth` and
    :math:`\kappa = W / peak`.

    Attributes:
        fixed_s: (U,) seconds for every expert that has at least one token; (N, U) where cells differ.
        token_s: (U,) or (N, U) seconds for every token.
        host: (E,) device that hosts each expert.
    """

    fixed_s: FloatArray
    token_s: FloatArray
    host: IntArray = field(metadata=SHARED)

    @cached_property
    def one_to_one(self) -> bool:
        """Whether expert e lives on device e, for every e."""
        return np.array_equal(self.host, np.arange(self.fixed_s.shape[-1]))

    @cached_property
    def hosting(self) -> FloatArray:
        """(E, U) one where a device hosts an expert."""
        return np.equal.outer(self.host, np.arange(self.fixed_s.shape[-1])).astype(np.float64)

    @cached_property
    def has_fixed(self) -> bool:
        """Whether using an expert at all costs time."""
        return bool(self.fixed_s.any())

    def per_device(self, per_expert: FloatArray) -> FloatArray:
        """Sum a quantity over the experts of each device: (N, E) to (N, U), and (N, ..., E) to (N, ..., U)."""
        return per_expert if self.one_to_one else per_expert @ self.hosting

    def between_devices(self, between_experts: FloatArray) -> FloatArray:
        """Sum a matrix over the experts of each pair of devices: (N, E, E) to (N, U, U)."""
        return between_experts if self.one_to_one else self.hosting.T @ between_experts @ self.hosting

    def per_expert(self, per_device: FloatArray) -> FloatArray:
        """Give each expert its device's value: (N, U) to (N, E)."""
        return per_device if self.one_to_one else per_device[:, self.host]


def compute_time(tokens_per_expert: FloatArray, load: FloatArray, model: ComputeModel, xp: Any = np) -> FloatArray:
    r"""Seconds each device computes: (N, U), from (N, E) token counts and (N, U) load.

    .. math:: t_u^{comp} = \frac{1}{1 - \rho_u} \sum_{e:\, host(e) = u} \left([n_e > 0]\, F_u + n_e\, \kappa_u\right)

    `xp`: namespace of the arrays.
    """
    time = model.per_device(tokens_per_expert) * model.token_s
    if model.has_fixed:
        time = time + model.per_device(xp.sign(tokens_per_expert)) * model.fixed_s
    return time / (1.0 - load)


def affine_minorant(seconds: FloatArray, at: float) -> tuple[FloatArray, FloatArray]:
    r"""Affine minorants :math:`a + n b \le t(n)` of `seconds`, with a and b not negative: (...) each.

    They are as high as such functions can be at `at` tokens, and exact where `seconds` is affine itself.

    Args:
        seconds: (J, ...) seconds of 1 to J tokens, all above 0.
        at: tokens.
    """
    count = len(seconds)
    at = max(min(at, count - 0.5), 1.0 if count > 1 else 0.0)  # at the ends other lines are as high
    tokens = np.arange(1.0, count + 1.0).reshape(-1, *[1] * (seconds.ndim - 1))
    # Above `most` the fixed part would be negative. Where the gap is least moves right as the slope grows: bisect for
    # the slope at which it passes `at`.
    low, most = np.zeros(seconds.shape[1:]), (seconds / tokens).min(axis=0)
    high = most
    for _ in range(SLOPE_STEPS):
        slope = 0.5 * (low + high)
        left = (seconds - slope * tokens).argmin(axis=0) + 1 <= at
        low, high = np.where(left, slope, low), np.where(left, high, slope)
    fixed, steep = ((seconds - slope * tokens).min(axis=0) for slope in (low, most))
    # The steepest one is what the bisection only approaches.
    take = steep + most * at > fixed + low * at
    return np.maximum(np.where(take, steep, fixed), 0.0), np.where(take, most, low)
