"""A bank of forward passes, drawn once and replayed from: fresh gate weights would cost more than all the rest."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import BoolArray
from wdmoe_env.gating.own import draw_own
from wdmoe_env.gating.synthetic import draw_passes
from wdmoe_env.gating.trace import open_trace, trace_state
from wdmoe_env.settings.parts import FAMILIES, FamilySettings, GatingSettings, ModelSettings
from wdmoe_env.system import selection
from wdmoe_env.system.selection import PlainSums

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class GateBank:
    """Gate weights of P forward passes of I layers, with plain top-K routing of each worked out beforehand.

    Attributes:
        weights: (P * I, E, J) float32 router softmax, stored expert by expert; pass p's layer i is row p * I + i.
        routed: (P * I, E, J) bool, plain top-K routing.
        plain: what plain top-K routing asks of each expert in each row.
        passes: P.
    """

    weights: NDArray[np.float32]
    routed: BoolArray
    plain: PlainSums
    passes: int


def gate_bank(gating: GatingSettings, model: ModelSettings, tokens: int, split: Split) -> GateBank:
    """Return the training, the validation or the held-out bank of a model's gate weights; drawn once a process.

    Of a trace, the three banks come from different documents; a file that has changed is drawn from anew.

    Raises:
        ValueError: `split` is none of `train`, `validation` and `test`; the trace is gone, broken, or of another model.
    """
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}, expected one of {', '.join(get_args(Split))}")
    state: Any = None if gating.trace is None else trace_state(gating.trace)
    if isinstance(gating.family, str):
        state = FAMILIES.find(gating.family)
    return _draw(gating, model.layers, model.experts, model.top_k, tokens, split, state)


@lru_cache(maxsize=8)
def _draw(
    gating: GatingSettings, layers: int, experts: int, k: int, tokens: int, split: Split, state: Hashable
) -> GateBank:
    """Draw one bank; `state` is that of the trace's file, or the named family, so that changed ones are drawn anew."""
    rng = np.random.default_rng([get_args(Split).index(split), 20241106])
    sizes = {"passes": gating.bank_passes, "layers": layers, "tokens": tokens, "experts": experts, "top_k": k}
    if isinstance(gating.family, FamilySettings):
        weights = draw_own(gating.family, rng=rng, **sizes)
    elif gating.family is not None:
        weights = draw_passes(gating.family, rng=rng, **sizes)
    else:
        trace = open_trace(str(gating.trace))
        trace.check_model(layers, experts, k)
        weights = trace.draw_passes(gating.bank_passes, tokens, split, rng)
    weights = weights.reshape(-1, experts, tokens)
    by_token = weights.swapaxes(1, 2)
    routed = selection.top_k(by_token, k)
    plain = selection.plain_sums(by_token, routed)
    bank = GateBank(weights, selection.by_expert(routed), plain, gating.bank_passes)
    for array in (bank.weights, bank.routed, bank.plain.table):
        array.setflags(write=False)
    return bank
