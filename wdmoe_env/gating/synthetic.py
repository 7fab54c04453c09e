"""Synthetic gate weights with the statistics of real routers: expert load, peakedness, repetition between tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.gating.families import GatingFamily, curve_at
from wdmoe_env.settings.parts import FAMILIES

__all__ = ["FAMILIES", "GatingFamily", "draw_passes", "expert_bias"]

FloatArray = NDArray[np.float32]


def draw_passes(
    family: GatingFamily | str,
    *,
    passes: int,
    layers: int,
    tokens: int,
    experts: int,
    top_k: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Draw the gate weights of whole forward passes.

    Args:
        family: A `GatingFamily` or its name in `FAMILIES`.
        passes: Forward passes; independent of each other but for the family's expert popularity.
        layers: Mixture-of-experts layers of a pass.
        tokens: Tokens of a pass, consecutive in one text of one domain.
        experts: Experts of a layer.
        top_k: Experts that the router will choose for a token, 1 to ``experts``. Only checked: the weights are the
            softmax over all experts, whatever is chosen from it.
        rng: Generator of the tokens and domains. How much is drawn from it depends on the sizes alone.

    Returns:
        Shape (passes, layers, experts, tokens), C-contiguous; a token's weights are >= 0 and sum to 1 over experts.

    Raises:
        ValueError: If the family is unknown or a size is out of range.
        TypeError: If a size is not an integer or ``rng`` is not a Generator.

    Example:
        >>> weights = draw_passes(
        ...     "mixtral", passes=2, layers=32, tokens=64, experts=8, top_k=2, rng=np.random.default_rng(0)
        ... )
        >>> weights.shape, bool(np.allclose(weights.sum(axis=2), 1.0))
        ((2, 32, 8, 64), True)
    """
    family = _resolve(family)
    _check_sizes(passes=passes, layers=layers, tokens=tokens, experts=experts, top_k=top_k)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {rng!r}")
    domain = rng.integers(len(family.domain_strength), size=passes)
    # Tokens come first in memory while the recursion runs, layers last so that per-layer parameters broadcast.
    logits = _token_states(family, (tokens, experts, passes, layers), rng)
    logits += expert_bias(family, layers, experts)[domain].transpose(2, 0, 1)
    _repeat_first_choice(family, logits, rng)
    return np.ascontiguousarray(_softmax(logits, family.logit_scale).transpose(2, 3, 1, 0))


def expert_bias(family: GatingFamily | str, layers: int, experts: int) -> FloatArray:
    """Long-run bias of each expert, in standard deviations of the token state: shape (domains, layers, experts).

    A property of the family: the same whatever generator draws the tokens, and but for the scaling by depth the same
    for a layer whatever layers follow it. Zero mean over the experts of a layer.
    """
    family = _resolve(family)
    strength = np.asarray(family.domain_strength)
    raw = np.random.default_rng(family.seed).gumbel(size=(layers, 1 + len(strength), experts))
    common = curve_at(family.popularity, layers)[:, None, None]
    shift = curve_at(family.domain_shift, layers)[:, None, None] * strength[:, None]
    bias = common * raw[:, :1] + shift * raw[:, 1:]
    bias -= bias.mean(axis=-1, keepdims=True)
    # Over few experts a sample's spread is luck; with the exact spread every layer has the load it is calibrated for.
    bias *= np.hypot(common, shift) / np.maximum(bias.std(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    by_domain: FloatArray = bias.swapaxes(0, 1).astype(np.float32)
    return by_domain


def _token_states(family: GatingFamily, shape: tuple[int, int, int, int], rng: np.random.Generator) -> FloatArray:
    """Stationary autoregression along axis 0 with unit variance, shape (tokens, experts, passes, layers)."""
    state = rng.standard_normal(shape, dtype=np.float32)
    persistence = curve_at(family.persistence, shape[-1])
    keep = persistence.astype(np.float32)
    renew = np.sqrt(1.0 - persistence**2).astype(np.float32)
    for token in range(1, shape[0]):
        state[token] *= renew
        state[token] += keep * state[token - 1]
    return state


def _repeat_first_choice(family: GatingFamily, logits: FloatArray, rng: np.random.Generator) -> None:
    """Let some tokens take over the first choice of the token before: swap its logit, in place, with the highest."""
    tokens, _, passes, layers = logits.shape
    repeats = rng.random((tokens, passes, layers), dtype=np.float32) < curve_at(family.first_repeat, layers)
    repeats[0] = False
    # A run of repeats goes back to the last token that chose for itself.
    origin = np.where(repeats, 0, np.arange(tokens)[:, None, None])
    np.maximum.accumulate(origin, axis=0, out=origin)
    highest = logits.argmax(axis=1)
    token, row, layer = np.nonzero(repeats)
    wanted = highest[origin[token, row, layer], row, layer]
    chosen = highest[token, row, layer]
    first, second = (token, wanted, row, layer), (token, chosen, row, layer)
    logits[first], logits[second] = logits[second], logits[first]


def _softmax(logits: FloatArray, scale: float) -> FloatArray:
    """Softmax over axis 1 of ``scale * logits``; overwrites ``logits``."""
    logits -= logits.max(axis=1, keepdims=True)
    logits *= np.float32(scale)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def _resolve(family: GatingFamily | str) -> GatingFamily:
    if isinstance(family, GatingFamily):
        return family
    found = FAMILIES.get(family)
    if not isinstance(found, GatingFamily):
        styles = sorted(name for name, known in FAMILIES.items() if isinstance(known, GatingFamily))
        raise ValueError(f"family must be a GatingFamily or one of {styles}, got {family!r}")
    return found


def _check_sizes(*, top_k: int, experts: int, **sizes: int) -> None:
    for name, value in {**sizes, "experts": experts, "top_k": top_k}.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name} must be an integer, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if top_k > experts:
        raise ValueError(f"top_k must be at most experts={experts}, got {top_k}")
