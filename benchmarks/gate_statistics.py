"""Statistics of gate weights: recorded traces beside the synthetic families and what is published of Mixtral.

- *First weight*: the weight of a token's first choice over that of all K choices; mean, deviation and quantiles.
- *Same first*: consecutive tokens with the same first choice. *Share one*: with at least one of K choices in common.
  Beside them what choices at random would have, all experts alike.
- *Load CV* and *entropy*: of how many tokens choose each expert among their K, over all passes.
- *Next layer*: what a token's first choice tells of its first choice in the next layer, bits of mutual information
  beyond what tokens of the same pass in another order have. Synthetic layers are independent given the domain: about 0.

Weights are looked at in passes of --tokens tokens; of a trace in passes side by side, spread over all its documents.
Layers are those at the depths of the published figures, and all together.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import comb
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks import harness

from wdmoe_env.gating import draw_passes, statistics
from wdmoe_env.gating.trace import GateTrace, open_trace

Weights = NDArray[np.float32]
Family = Literal["mixtral", "olmoe", "uniform"]

SIZES: Final = {"mixtral": (32, 8, 2), "olmoe": (16, 64, 8), "uniform": (32, 8, 2)}
"""Layers, experts and K of the models that the families are calibrated to."""
QUANTILES: Final = (5, 50, 95)
COLUMNS: Final = (
    *("source", "layer", "K of E", "first weight", "p5 p50 p95", "same first\n(by chance)", "share one\n(by chance)"),
    *("load CV", "entropy,\nbits", "next\nlayer, bits"),
)


@dataclass(frozen=True)
class Options(harness.Options):
    """What is compared."""

    trace: list[str] = field(default_factory=list)
    """Traces: files, or names of those that come with the package."""
    family: list[Family] = field(default_factory=lambda: ["mixtral", "olmoe", "uniform"])
    """Synthetic families."""
    tokens: int = 64
    """Tokens of a pass."""
    passes: int = 256
    """Passes of each source, fewer where a trace is shorter."""
    every_layer: bool = False
    """Show all layers."""
    seed: int = 0
    """Seed of the synthetic weights, and of the order of tokens for what is by chance."""


@dataclass(frozen=True)
class Row:
    """Statistics of a layer, or of all layers; None is not known, or does not apply."""

    source: str
    layer: int | None
    """None: all layers, each statistic averaged over them."""
    experts: int
    top_k: int
    passes: int | None
    first_weight_mean: float | None = None
    first_weight_sd: float | None = None
    first_weight_quantiles: tuple[float, ...] | None = None
    same_first: float | tuple[float, float] | None = None
    same_first_by_chance: float | None = None
    share_one: float | tuple[float, float] | None = None
    share_one_by_chance: float | None = None
    load_cv: float | tuple[float, float] | None = None
    load_entropy_bits: float | tuple[float, float] | None = None
    next_layer_bits: float | None = None


PUBLISHED: Final = "mixtral, published"
CHANCE: Final[dict[str, Any]] = {"same_first_by_chance": 1 / 8, "share_one_by_chance": 1 - comb(6, 2) / comb(8, 2)}


def published() -> Iterator[Row]:
    """What is known of Mixtral-8x7B; docs/reference/data.md has the sources. Pairs are ranges over texts or layers."""
    repeats: dict[int, Any] = {0: (0.14, 0.48), 15: ((0.23, 0.28), (0.62, 0.67)), 31: ((0.20, 0.26), (0.45, 0.54))}
    for layer, (same, share) in repeats.items():
        yield Row(PUBLISHED, layer, 8, 2, None, same_first=same, share_one=share, **CHANCE)
    first: dict[str, Any] = {
        "first_weight_mean": 0.70,
        "first_weight_sd": 0.13,
        "first_weight_quantiles": (0.52, 0.70, 0.93),
    }
    load: dict[str, Any] = {"load_cv": (0.04, 0.25), "load_entropy_bits": (2.95, 3.00)}
    yield Row(PUBLISHED, None, 8, 2, None, **first, **load, **CHANCE)


def passes_of(trace: GateTrace, tokens: int, most: int) -> Weights:
    """Passes side by side in the documents of a trace, evenly spread, (passes, layers, experts, tokens)."""
    starts = [s for first, stop in trace.documents for s in range(first, stop - tokens + 1, tokens)]
    if not starts:
        raise ValueError(f"{trace.path} has no document of --tokens {tokens} tokens")
    chosen = np.linspace(0, len(starts) - 1, min(most, len(starts))).round().astype(int)
    return np.stack([trace.read(starts[i], starts[i] + tokens).transpose(1, 2, 0) for i in chosen])


def measure(source: str, weights: Weights, top_k: int, options: Options) -> Iterator[Row]:
    """Yield the rows of one source; weights are (passes, layers, experts, tokens)."""
    passes, layers, experts, _ = weights.shape
    each = [by_layer(weights[:, layer], top_k) for layer in range(layers)]
    for layer, bits in enumerate(next_layer_bits(weights, np.random.default_rng(options.seed))):
        each[layer]["next_layer_bits"] = bits
    chance = {"same_first_by_chance": 1 / experts, "share_one_by_chance": shared_by_chance(experts, top_k)}
    some = {round(depth * (layers - 1)) for depth in (0.0, 7 / 31, 15 / 31, 1.0)}
    for layer in range(layers) if options.every_layer else sorted(some):
        yield Row(source, layer, experts, top_k, passes, **each[layer], **chance)
    yield Row(source, None, experts, top_k, passes, **together(each, weights, top_k), **chance)


def together(each: list[dict[str, Any]], weights: Weights, top_k: int) -> dict[str, Any]:
    """Means over the layers; the spread of first weights is that of all tokens in all layers."""
    values: dict[str, Any] = {}
    for name in ("same_first", "share_one", "load_cv", "load_entropy_bits", "next_layer_bits"):
        known = [layer[name] for layer in each if layer[name] is not None]
        values[name] = float(np.mean(known)) if known else None
    return {**values, **weight_spread(statistics.renormalised_top_weight(weights, top_k))}


def by_layer(weights: Weights, top_k: int) -> dict[str, Any]:
    """Statistics of one layer's weights (passes, experts, tokens)."""
    load = statistics.expert_load(weights, top_k).sum(axis=0)
    return {
        **weight_spread(statistics.renormalised_top_weight(weights, top_k)),
        "same_first": float(statistics.first_choice_repeat(weights).mean()),
        "share_one": float(statistics.shared_choice_repeat(weights, top_k).mean()),
        "load_cv": float(statistics.load_cv(load)),
        "load_entropy_bits": float(statistics.load_entropy(load)),
    }


def weight_spread(first: NDArray[np.float64]) -> dict[str, Any]:
    """Mean, deviation and quantiles of the first choices' weights."""
    quantiles = tuple(np.percentile(first, QUANTILES).tolist())
    return {
        "first_weight_mean": float(first.mean()),
        "first_weight_sd": float(first.std()),
        "first_weight_quantiles": quantiles,
    }


def shared_by_chance(experts: int, top_k: int) -> float:
    """Probability that two random choices of K experts have one in common."""
    return 1.0 - comb(experts - top_k, top_k) / comb(experts, top_k)


def next_layer_bits(weights: Weights, rng: np.random.Generator) -> Iterator[float | None]:
    """Bits that a first choice tells of the next layer's, for each layer but the last, which has None."""
    first, experts = weights.argmax(axis=2), weights.shape[2]  # (passes, layers, tokens)
    for layer in range(first.shape[1] - 1):
        one, two = first[:, layer], first[:, layer + 1]
        yield mutual_bits(one, two, experts) - mutual_bits(one, rng.permuted(two, axis=1), experts)
    yield None


def mutual_bits(one: NDArray[np.int64], two: NDArray[np.int64], experts: int) -> float:
    """Mutual information of two choices, bits."""
    joint = np.bincount((one * experts + two).ravel(), minlength=experts**2).reshape(experts, experts) / one.size
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    held = joint > 0.0
    return float((joint[held] * np.log2(joint[held] / independent[held])).sum())


def number(value: float | tuple[float, float] | None, chance: float | None = None) -> str:
    """A value or a range, and what it would be by chance, as text."""
    if value is None:
        return ""
    beside = "" if chance is None else f" ({chance:.3f})"
    return (f"{value[0]:.2f}-{value[1]:.2f}" if isinstance(value, tuple) else f"{value:.3f}") + beside


def cells(row: Row) -> list[str]:
    """A row as text."""
    spread = "" if row.first_weight_mean is None else f"{row.first_weight_mean:.3f} ± {row.first_weight_sd:.3f}"
    quantiles = " ".join(f"{value:.2f}" for value in row.first_weight_quantiles or ())
    first = number(row.same_first, row.same_first_by_chance)
    share = number(row.share_one, row.share_one_by_chance)
    layer = "all" if row.layer is None else str(row.layer)
    load = number(row.load_cv), number(row.load_entropy_bits)
    return [row.source, layer, f"{row.top_k} of {row.experts}", spread, quantiles, first, share, *load,
            number(row.next_layer_bits)]  # fmt: skip


def rows(options: Options) -> Iterator[Row]:
    """Yield all rows; faults in an option or a trace raise ValueError."""
    for name, least in (("tokens", 2), ("passes", 1)):
        if (value := getattr(options, name)) < least:
            raise ValueError(f"--{name} is {value}, expected at least {least}")
    traces = [open_trace(name) for name in options.trace]
    yield from published()
    for family in options.family:
        layers, experts, k = SIZES[family]
        rng, sizes = np.random.default_rng(options.seed), {"layers": layers, "experts": experts, "top_k": k}
        weights = draw_passes(family, passes=options.passes, tokens=options.tokens, rng=rng, **sizes)
        yield from measure(f"{family}, synthetic", weights, k, options)
    for trace in traces:
        weights = passes_of(trace, options.tokens, options.passes)
        yield from measure(trace.path.stem, weights, trace.top_k, options)


def main(options: Options) -> None:
    title = "Gate weights: the router's softmax and what it chooses"
    with harness.Report(options, COLUMNS, title=title) as report:
        for row in rows(options):
            report.add(row, cells(row), end_section=row.layer is None)


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
