"""Statistics of gate weights, to check a generator or a recorded trace against published figures.

Gate weights have the shape (..., experts, tokens), tokens in the order of the text. All functions are pure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "expert_load",
    "first_choice_repeat",
    "load_cv",
    "load_entropy",
    "renormalised_top_weight",
    "shared_choice_repeat",
]

Weights = NDArray[np.floating[Any]]


def renormalised_top_weight(weights: Weights, top_k: int = 2) -> NDArray[np.float64]:
    """Weight of each token's first choice divided by the weight of its ``top_k`` choices, shape (..., tokens).

    Between ``1 / top_k`` and 1; a model that renormalises its chosen weights (Mixtral does) mixes the experts by it.
    """
    _check(weights, top_k)
    kept = np.partition(np.asarray(weights, dtype=np.float64), -top_k, axis=-2)[..., -top_k:, :]
    return np.asarray(kept.max(axis=-2) / kept.sum(axis=-2))


def first_choice_repeat(weights: Weights) -> NDArray[np.float64]:
    """Fraction of consecutive tokens with the same first choice, shape (...); random choice has ``1 / experts``."""
    _check(weights, top_k=1, min_tokens=2)
    first = np.argmax(weights, axis=-2)
    return np.asarray((first[..., 1:] == first[..., :-1]).mean(axis=-1))


def shared_choice_repeat(weights: Weights, top_k: int = 2) -> NDArray[np.float64]:
    """Fraction of consecutive tokens whose ``top_k`` choices have at least one expert in common, shape (...).

    Random choice of 2 of 8 experts has 1 - 15/28 = 0.464.
    """
    _check(weights, top_k, min_tokens=2)
    chosen = _selected(weights, top_k)
    shared = (chosen[..., 1:] & chosen[..., :-1]).any(axis=-2)
    return np.asarray(shared.mean(axis=-1))


def expert_load(weights: Weights, top_k: int = 2) -> NDArray[np.int64]:
    """How many tokens choose each expert among their ``top_k``, shape (..., experts).

    Loads of several passes add up: sum over the axis of the passes before taking `load_cv`.
    """
    _check(weights, top_k)
    return np.asarray(_selected(weights, top_k).sum(axis=-1, dtype=np.int64))


def load_cv(load: NDArray[Any]) -> NDArray[np.float64]:
    """Coefficient of variation (population deviation / mean) over experts of a load (..., experts), shape (...)."""
    load = _positive(load)
    return np.asarray(load.std(axis=-1) / load.mean(axis=-1))


def load_entropy(load: NDArray[Any]) -> NDArray[np.float64]:
    """Entropy in bits of a load (..., experts), shape (...); ``log2(experts)`` when all experts are used alike."""
    load = _positive(load)
    # Not `scipy.stats.entropy`: 892 of 2,000 loads differ in the last bit, and loading it takes long.
    share = load / load.sum(axis=-1, keepdims=True)
    return np.asarray(-(share * np.log2(np.where(share > 0.0, share, 1.0))).sum(axis=-1))


def _positive(load: NDArray[Any]) -> NDArray[np.float64]:
    load = np.asarray(load, dtype=np.float64)
    if load.ndim < 1 or not (np.isfinite(load).all() and (load >= 0.0).all() and (load.sum(axis=-1) > 0.0).all()):
        raise ValueError(f"load must be finite, >= 0 and have a positive sum over the experts, got {load}")
    return load


def _selected(weights: Weights, top_k: int) -> NDArray[np.bool_]:
    """Mask (..., experts, tokens) of each token's ``top_k`` experts; of equal weights one is chosen, never more."""
    best = np.argpartition(weights, -top_k, axis=-2)[..., -top_k:, :]
    mask = np.zeros(np.shape(weights), dtype=np.bool_)
    np.put_along_axis(mask, best, True, axis=-2)
    return mask


def _check(weights: Weights, top_k: int, min_tokens: int = 1) -> None:
    shape = np.shape(weights)
    if len(shape) < 2 or shape[-1] < min_tokens:
        raise ValueError(f"weights must have the shape (..., experts, tokens >= {min_tokens}), got {shape}")
    if not 1 <= top_k <= shape[-2]:
        raise ValueError(f"top_k must be between 1 and experts={shape[-2]}, got {top_k}")
