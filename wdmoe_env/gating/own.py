"""Gating families of users: figures for the synthetic generator, or a generator of their own."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.gating.families import GatingFamily
from wdmoe_env.settings.kinds import kind_of
from wdmoe_env.settings.parts import FAMILIES, FamilySettings

TOLERANCE = 1e-4
"""By how much a token's weights may miss a sum of 1: far more than single precision rounds."""
Family = TypeVar("Family", bound=GatingFamily | type[FamilySettings])


def register(family: Family) -> Family:
    """Let scenarios name a family: a `GatingFamily` by its name, a class of `FamilySettings` by its `kind`.

    Use it on a class as a decorator.

    Raises:
        ValueError: the name is taken, or the class has none.
        TypeError: it is neither.
    """
    if isinstance(family, GatingFamily):
        FAMILIES.register(family.name, family)
    elif isinstance(family, type) and issubclass(family, FamilySettings):
        FAMILIES.register(kind_of(family), family)
    else:
        raise TypeError(f"family is {family!r:.80}, expected a GatingFamily or a subclass of FamilySettings")
    return family


def draw_own(
    family: FamilySettings,
    *,
    passes: int,
    layers: int,
    tokens: int,
    experts: int,
    top_k: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Draw from a user's generator and check what it gives: (passes, layers, experts, tokens), C-contiguous.

    Raises:
        ValueError: the shape is another one, a weight is negative or not finite, or a token's do not sum to 1.
    """
    drawn = family.draw_passes(passes=passes, layers=layers, tokens=tokens, experts=experts, top_k=top_k, rng=rng)
    weights = np.ascontiguousarray(drawn, dtype=np.float32)
    if weights.shape != (shape := (passes, layers, experts, tokens)):
        raise ValueError(
            f"gating family {family.kind!r} gives shape {weights.shape}, expected (passes, layers, experts, tokens) = "
            f"{shape}"
        )
    sums = weights.sum(axis=2)
    # Written so that NaN fails it too.
    if not (weights.min() >= 0.0 and np.abs(sums - 1.0).max() <= TOLERANCE):
        raise ValueError(
            f"gating family {family.kind!r} gives weights from {weights.min():.6g} that sum to {sums.min():.6g} to "
            f"{sums.max():.6g} over a token's experts, expected none below 0 and sums of 1"
        )
    return weights
