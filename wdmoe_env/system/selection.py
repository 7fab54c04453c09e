"""Expert selection: which experts each token uses, and what that asks of the experts.

Arrays are (N, J, E). Inside, they are read expert by expert, (N, E, J): the simulator stores them that way, so that
its sums run along memory. Any other layout gives the same result, a little slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import Batch, BoolArray, FloatArray, GateArray, IntArray
from wdmoe_env.system.ranking import largest

Array = TypeVar("Array", bound=np.generic)

Candidates = Literal["top-k", "all"]
PRICE_LEVELS: Final = (0.015, 0.03, 0.055, 0.08, 0.105, 0.135, 0.17, 0.21, 0.27, 0.36, 0.48)
"""Prices at which plain routing is summed up: finest where most tokens' second weights lie."""


@dataclass(frozen=True, slots=True)
class Routing:
    """What a selection asks of each expert.

    Attributes:
        tokens: (N, E) number of tokens.
        mass: (N, E) sum of the gate weights of its tokens.
        share: (N, E) the same, with each weight divided by the number of experts that its token uses.
        fewest, most: smallest and largest number of experts that any token uses.
    """

    tokens: FloatArray
    mass: FloatArray
    share: FloatArray
    fewest: int
    most: int


@dataclass(frozen=True, slots=True)
class PlainSums(Batch):
    """What plain top-K routing asks of each expert.

    Attributes:
        table: (N, 2 + 2 L, E): the tokens of each expert, the sum of their gate weights, then how many of them have a
            gate weight of at most each of the L `PRICE_LEVELS`, and then the sums of those weights.
    """

    table: FloatArray

    @property
    def tokens(self) -> FloatArray:
        """(N, E) number of tokens."""
        return self.table[:, 0]

    @property
    def mass(self) -> FloatArray:
        """(N, E) sum of the gate weights of its tokens."""
        return self.table[:, 1]


def by_expert(array: NDArray[Array]) -> NDArray[Array]:
    """View (N, J, E) as contiguous (N, E, J); copies only what was not stored that way."""
    return np.ascontiguousarray(array.swapaxes(1, 2))


def routing(gate_weights: GateArray, selection: BoolArray) -> Routing:
    r"""Sum up a selection: (N, J, E) gate weights and (N, J, E) bool to a `Routing`.

    .. math:: n_e = \sum_j q_{je}, \quad mass_e = \sum_j w_{je} q_{je}, \quad
        share_e = \sum_j \frac{w_{je} q_{je}}{\sum_{e'} q_{je'}}
    """
    chosen = by_expert(selection).astype(np.float32)
    kept = by_expert(gate_weights) * chosen
    used = np.matmul(np.ones(chosen.shape[1], dtype=np.float32), chosen)
    ones = np.ones(chosen.shape[2], dtype=np.float32)
    fraction = 1.0 / np.maximum(used, 1.0)
    return Routing(
        tokens=(chosen @ ones).astype(np.float64),
        mass=(kept @ ones).astype(np.float64),
        share=np.matmul(kept, fraction[:, :, None])[:, :, 0].astype(np.float64),
        fewest=int(used.min()),
        most=int(used.max()),
    )


def tokens_per_device(chosen: BoolArray, host: IntArray, devices: int) -> FloatArray:
    """(N, U) tokens that use any expert of a device, from a (N, J, E) selection: each counts once."""
    each = [chosen[..., host == device].any(axis=-1).sum(axis=-1) for device in range(devices)]
    return np.stack(each, axis=-1).astype(np.float64)


def top_k(gate_weights: GateArray, k: int) -> BoolArray:
    """Plain top-K routing (Shazeer et al. 2017): the K largest weights of a token, the first of equals. (N, J, E)."""
    weights = by_expert(gate_weights)
    return largest(weights, k).swapaxes(1, 2)


def plain_sums(gate_weights: GateArray, routed: BoolArray) -> PlainSums:
    """Sum up plain top-K routing, (N, J, E) each."""
    chosen = by_expert(routed)
    kept = by_expert(gate_weights) * chosen
    ones = np.ones(kept.shape[2], dtype=kept.dtype)
    tokens = tokens_per_expert(routed)
    others = kept.shape[2] - tokens
    cheap = [kept <= price for price in PRICE_LEVELS]
    count = [(marked.astype(np.float32) @ ones) - others for marked in cheap]
    lost = [(kept * marked) @ ones for marked in cheap]
    return PlainSums(np.stack([tokens, kept @ ones, *count, *lost], axis=1, dtype=np.float64))


def by_price(
    gate_weights: GateArray,
    price: FloatArray,
    k: int,
    host: IntArray | None = None,
    candidates: Candidates = "top-k",
    routed: BoolArray | None = None,
) -> BoolArray:
    r"""Keep the experts that are worth their price. (N, J, E) bool.

    .. math:: q_j = \arg\max_{1 \le \sum_e q_{je} \le K} \sum_e (w_{je} - \mu_e)\, q_{je}

    Each token keeps those of its candidates with :math:`w > \mu`, at most K, and where none is, the one with the
    largest :math:`w - \mu`. With a price for each device, :math:`\mu_e = \mu_{host(e)}`, the prices are the multipliers
    of the devices' capacities: by LP duality some make this the optimal selection (docs/explanation/system-model.md).

    Args:
        gate_weights: (N, J, E).
        price: (N, U) of each device, or (N, E) of each expert, in units of gate weight, not negative.
        k: most experts a token may use.
        host: (E,) device of each expert, for prices of devices. None: the prices are those of experts.
        candidates: `top-k`: experts may only be dropped from plain top-K routing. `all`: tokens may be re-routed.
        routed: (N, J, E) plain top-K routing, if it is known already.
    """
    of_each = price.astype(gate_weights.dtype)
    net = by_expert(gate_weights) - (of_each if host is None else of_each[:, host])[:, :, None]
    if candidates == "all":
        return by_score(net.swapaxes(1, 2), k)
    allowed = by_expert(top_k(gate_weights, k) if routed is None else routed)
    return _at_least_one((net > 0) & allowed, net, allowed).swapaxes(1, 2)


def by_score(score: GateArray, k: int) -> BoolArray:
    """Keep each token's at most K experts of largest positive score, or else its best one. (N, J, E) both ways."""
    return largest(by_expert(score), k, above=0.0).swapaxes(1, 2)


def tokens_per_expert(selection: BoolArray) -> FloatArray:
    """Number of tokens of each expert: (N, E) from (N, J, E)."""
    chosen = by_expert(selection)
    return (chosen.astype(np.float32) @ np.ones(chosen.shape[2], dtype=np.float32)).astype(np.float64)


def repair(gate_weights: GateArray, wanted: BoolArray, k: int) -> BoolArray:
    """Make any (N, J, E) bool a valid selection: at most the K wanted experts of most weight, at least the best one."""
    weights = by_expert(gate_weights)
    wish = np.where(by_expert(wanted), weights, -1.0)
    keep = by_expert(wanted) & largest(wish, k)
    return _at_least_one(keep, weights, np.ones_like(keep)).swapaxes(1, 2)


def _at_least_one(keep: BoolArray, score: GateArray, allowed: BoolArray) -> BoolArray:
    """Give every token without an expert the allowed one of best score; all (N, E, J)."""
    environment, token = np.nonzero(~keep.any(axis=1))
    if environment.size:
        best = np.where(allowed[environment, :, token], score[environment, :, token], -np.inf).argmax(axis=1)
        keep[environment, best, token] = True
    return keep
