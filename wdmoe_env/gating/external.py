"""Gate weights that come from outside of a bank, such as from a real router: checked, and summed up as a bank does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wdmoe_env.arrays import BoolArray, GateArray
from wdmoe_env.system import selection
from wdmoe_env.system.selection import PlainSums

TOLERANCE = 1e-4
"""By how much a token's weights may miss a sum of 1: far more than single precision rounds."""


@dataclass(frozen=True)
class ExternalGates:
    """Gate weights of one layer, stored expert by expert, with plain top-K routing of them worked out.

    Attributes:
        weights: (N, J, E) float32.
        routed: (N, J, E) bool, plain top-K routing.
        plain: what plain top-K routing asks of each expert.
    """

    weights: GateArray
    routed: BoolArray
    plain: PlainSums


def check_gates(gate_weights: GateArray, shape: tuple[int, ...], k: int) -> ExternalGates:
    """Check and copy gate weights, and work out their plain routing to `k` experts.

    Args:
        gate_weights: (N, J, E) router softmax over all experts.
        shape: what that has to be.
        k: experts that a token uses.

    Raises:
        ValueError: the shape is another one, a weight is negative or not finite, or a token's do not sum to 1.
    """
    given = np.shape(gate_weights)
    if given != shape:
        raise ValueError(f"gate_weights has shape {given}, expected (environments, tokens, experts) = {shape}")
    # A copy: what a policy sees must not change under it.
    stored = np.array(np.asarray(gate_weights).swapaxes(1, 2), dtype=np.float32, order="C")
    if not np.isfinite(stored).all():
        raise ValueError("gate_weights holds a number that is not finite, expected a softmax over all experts")
    if stored.min() < 0.0:
        raise ValueError(f"gate_weights holds {stored.min():.6g}, expected only numbers of at least 0")
    sums = stored.sum(axis=1)
    if (wrong := np.abs(sums - 1.0) > TOLERANCE).any():
        environment, token = (int(index[0]) for index in np.nonzero(wrong))
        raise ValueError(
            f"gate_weights of environment {environment}, token {token} sum to {sums[environment, token]:.6g}, "
            "expected 1: a softmax over all experts"
        )
    weights = stored.swapaxes(1, 2)
    routed = selection.top_k(weights, k)
    return ExternalGates(weights, routed, selection.plain_sums(weights, routed))
