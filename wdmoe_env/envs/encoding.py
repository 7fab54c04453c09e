"""Encoders: the action of each encoding that means a decision, or comes nearest to it; for imitation and data sets.

`native` says every decision. `token` says every selection, and splits of the whole band whose shares are at most
exp(6) apart. Prices come near a selection: each is the weight that best tells the tokens that its device, or expert,
keeps from those that it does not keep; what they mean never breaks the mass floor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.allocation import allocate_for
from wdmoe_env.arrays import BoolArray, FloatArray, GateArray, IntArray
from wdmoe_env.envs.actions import LOGIT_SCALE, PriceAction
from wdmoe_env.envs.codecs import ActionEncoding, action_codec
from wdmoe_env.interface import Decision, Observation, plain_routing
from wdmoe_env.scenario import Scenario

Float32 = NDArray[np.float32]


def encode(name: ActionEncoding, decision: Decision, observation: Observation, scenario: Scenario) -> Any:
    """A batch of N actions of an encoding that mean a decision, or come nearest to it.

    Args:
        name: `native`, `token`, `price` or `expert-price`.
        decision: what was decided.
        observation: what was decided on.
        scenario: the cell.

    Raises:
        ValueError: there is no encoder of that name.
    """
    if name not in ENCODERS:
        raise ValueError(f"action is {name!r:.60}, expected one of {', '.join(ENCODERS)}: others have no encoder")
    return ENCODERS[name](decision, observation, scenario)


def _native(decision: Decision, observation: Observation, scenario: Scenario) -> dict[str, NDArray[Any]]:
    share = decision.bandwidth / scenario.radio.bandwidth_hz
    return {"selection": decision.selection.astype(np.int8), "bandwidth": share.clip(0.0, 1.0).astype(np.float32)}


def _token(decision: Decision, observation: Observation, scenario: Scenario) -> Float32:
    scores = np.where(decision.selection, 1.0, -1.0).reshape(len(decision.bandwidth), -1)
    return _joined(scores, _within_reach(decision.bandwidth))


def _price(decision: Decision, observation: Observation, scenario: Scenario) -> Float32:
    prices = _thresholds(decision.selection, observation, scenario, scenario.hosts)
    return _priced("price", prices, decision, observation, scenario)


def _expert_price(decision: Decision, observation: Observation, scenario: Scenario) -> Float32:
    prices = _thresholds(decision.selection, observation, scenario, np.arange(scenario.model.experts))
    return _priced("expert-price", prices, decision, observation, scenario)


ENCODERS: Final[dict[str, Callable[[Decision, Observation, Scenario], Any]]] = {
    "native": _native,
    "token": _token,
    "price": _price,
    "expert-price": _expert_price,
}


def split_logits(bandwidth: FloatArray, base: FloatArray | None = None) -> FloatArray:
    """Logits that split the band so, in proportion to `base * exp(logit)`: (N, U), 0 on average over who has a band.

    Args:
        bandwidth: (N, U) Hz.
        base: (N, U), more than 0 where `bandwidth` is; None: 1.
    """
    used = bandwidth > 0.0
    logits = np.log(np.where(used, bandwidth, 1.0) / (1.0 if base is None else np.where(used, base, 1.0)))
    logits -= np.mean(logits, axis=1, keepdims=True, where=used)
    return np.where(used, logits, 0.0)


def _priced(
    name: ActionEncoding, prices: FloatArray, decision: Decision, observation: Observation, scenario: Scenario
) -> Float32:
    codec = cast(PriceAction, action_codec(name, scenario))
    values = codec.encode(prices).astype(np.float64)
    if scenario.bandwidth == "optimal":
        return values.astype(np.float32)
    if scenario.bandwidth == "learned":
        return _joined(values, _within_reach(decision.bandwidth))
    exact = allocate_for(decision.selection, observation, scenario)
    return _joined(values, split_logits(decision.bandwidth, exact))


def _within_reach(bandwidth: FloatArray) -> FloatArray:
    """Learned logits, (N, U): the least as far below 0 as the largest is above it."""
    logits, used = split_logits(bandwidth) / LOGIT_SCALE, bandwidth > 0.0
    low, high = (choose(logits, axis=1, keepdims=True, where=used, initial=0.0) for choose in (np.min, np.max))
    return np.where(used, logits - 0.5 * (low + high), 0.0)


def _joined(values: FloatArray, logits: FloatArray) -> Float32:
    return np.concatenate([values, logits], axis=1).clip(-1.0, 1.0).astype(np.float32)


def _thresholds(chosen: BoolArray, observation: Observation, scenario: Scenario, host: IntArray) -> FloatArray:
    """(N, G) prices of the G hosts: each the weight that best tells its kept tokens from those that it might have."""
    weights = observation.gate_weights
    # A token's only expert stays at any price of its own: it tells nothing of where the price is.
    alone = chosen & (chosen.sum(axis=-1, keepdims=True) == 1)
    candidates = (chosen | plain_routing(observation, scenario.model.top_k)) & ~alone
    found = np.zeros((len(weights), host.max() + 1))
    for n, group in np.ndindex(found.shape):
        mine = candidates[n][:, host == group]
        found[n, group] = _threshold(weights[n][:, host == group][mine], chosen[n][:, host == group][mine])
    return found


def _threshold(weights: GateArray, kept: BoolArray) -> float:
    """A price above most (M,) weights that are not kept and below most that are; the lowest of the best."""
    order = np.argsort(weights, kind="stable")
    weights, kept = weights[order], kept[order]
    # Of a price between the i lowest and the rest: kept ones below it, and others above it.
    wrong = np.append(0, np.cumsum(kept)) + np.append(np.cumsum(~kept[::-1])[::-1], 0)
    place = int(wrong.argmin())
    if place in (0, len(weights)):
        return 0.0 if place == 0 else 1.0
    return 0.5 * (float(weights[place - 1]) + float(weights[place]))
