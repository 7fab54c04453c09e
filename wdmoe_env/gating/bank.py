"""A bank of forward passes, drawn once and replayed from: fresh gate weights would cost more than all the rest."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import BoolArray
from wdmoe_env.gating.own import draw_own
from wdmoe_env.gating.synthetic import draw_passes
from wdmoe_env.gating.trace import open_trace, trace_state
from wdmoe_env.settings.contents import digest_of
from wdmoe_env.settings.parts import FAMILIES, FamilySettings, GatingSettings, ModelSettings
from wdmoe_env.settings.paths import SUFFIX, resolve
from wdmoe_env.system import selection
from wdmoe_env.system.selection import PlainSums

Split = Literal["train", "validation", "test"]


class Source(NamedTuple):
    """What a bank is drawn from, all there is to know of it."""

    gating: GatingSettings
    layers: int
    experts: int
    top_k: int
    tokens: int
    split: Split


@dataclass(frozen=True)
class GateBank:
    """Gate weights of P forward passes of I layers, with plain top-K routing of each worked out beforehand.

    A copy shares its arrays, and so does a pickle within a process: it holds what the bank is drawn from, and draws it
    where it is not there yet.

    Attributes:
        weights: (P * I, E, J) float32 router softmax, stored expert by expert; pass p's layer i is row p * I + i.
        routed: (P * I, E, J) bool, plain top-K routing.
        plain: what plain top-K routing asks of each expert in each row.
        passes: P.
        source: what it is drawn from.
        state: what is different when the trace's file, or the named family, has changed.
    """

    weights: NDArray[np.float32]
    routed: BoolArray
    plain: PlainSums
    passes: int
    source: Source
    state: Hashable

    def __reduce__(self) -> tuple[Any, ...]:
        return _drawn_again, (self.source, _digest(self.source.gating))

    def __deepcopy__(self, memo: dict[int, Any]) -> GateBank:
        return self


def gate_bank(gating: GatingSettings, model: ModelSettings, tokens: int, split: Split) -> GateBank:
    """Return the training, the validation or the held-out bank of a model's gate weights; drawn once a process.

    Of a trace, the three banks come from different documents; a file that has changed is drawn from anew.

    Raises:
        ValueError: `split` is none of `train`, `validation` and `test`; the trace is gone, broken, or of another model.
    """
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}, expected one of {', '.join(get_args(Split))}")
    return _bank(Source(gating, model.layers, model.experts, model.top_k, tokens, split))


def _bank(source: Source) -> GateBank:
    gating = source.gating
    state: Any = None if gating.trace is None else trace_state(gating.trace)
    if isinstance(gating.family, str):
        state = FAMILIES.find(gating.family)
    return _draw(source, state)


def _digest(gating: GatingSettings) -> str | None:
    """SHA-256 of the trace's file as it is now; None where there is none."""
    return None if gating.trace is None else digest_of(resolve(gating.trace, SUFFIX))


def _drawn_again(source: Source, digest: str | None) -> GateBank:
    """The bank that was pickled.

    Raises:
        ValueError: the trace's file is gone, or holds something else.
    """
    if _digest(source.gating) != digest:
        raise ValueError(f"gating.trace {source.gating.trace} holds something else than when this was pickled")
    return _bank(source)


@lru_cache(maxsize=8)
def _draw(source: Source, state: Hashable) -> GateBank:
    """Draw one bank; `state` is that of the trace's file, or the named family, so that changed ones are drawn anew."""
    gating, layers, experts, k, tokens, split = source
    rng = np.random.default_rng([get_args(Split).index(split), 20241106])
    sizes = {"layers": layers, "tokens": tokens, "experts": experts, "top_k": k}
    if isinstance(gating.family, FamilySettings):
        weights = draw_own(gating.family, rng=rng, passes=gating.bank_passes, **sizes)
    elif gating.family is not None:
        weights = draw_passes(gating.family, rng=rng, passes=gating.bank_passes, **sizes)
    else:
        trace = open_trace(str(gating.trace))
        trace.check_model(layers, experts, k)
        weights = trace.draw_passes(gating.bank_passes, tokens, split, rng)
    weights = weights.reshape(-1, experts, tokens)
    by_token = weights.swapaxes(1, 2)
    routed = selection.top_k(by_token, k)
    plain = selection.plain_sums(by_token, routed)
    bank = GateBank(weights, selection.by_expert(routed), plain, gating.bank_passes, source, state)
    for array in (bank.weights, bank.routed, bank.plain.table):
        array.setflags(write=False)
    return bank
