"""How a Decision looks as a Gymnasium space: decodings of actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wdmoe_env.allocation import allocate_for
from wdmoe_env.arrays import BoolArray, FloatArray, name_of_type, unmasked
from wdmoe_env.interface import Decision, Observation, plain_routing
from wdmoe_env.scenario import Scenario
from wdmoe_env.system import selection
from wdmoe_env.system.floor import keep_floor

LOGIT_SCALE = 3.0
"""A learned bandwidth logit of 1 outweighs one of -1 by exp(6) = 400; a residual one, which is not scaled, by 7."""
TOLERANCE = 1e-6
"""Rounding that an action may lie outside its space by."""


class NativeAction:
    """Dict of `selection`, MultiBinary (J, E), and `bandwidth`, Box (U,) of shares of the band.

    A token with too many experts keeps its K heaviest wanted ones; a token with none gets its best. Shares that sum
    to more than 1 are scaled down to 1; a device with tokens and no band is in outage.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._k, self._band = scenario.model.top_k, scenario.radio.bandwidth_hz
        self._shape = scenario.traffic.tokens, scenario.model.experts
        self._devices = scenario.num_devices
        self.space = spaces.Dict(
            {
                "selection": spaces.MultiBinary(self._shape),
                "bandwidth": spaces.Box(0.0, 1.0, (self._devices,), np.float32),
            }
        )

    def decode(self, action: Any, observation: Observation) -> Decision:
        if not isinstance(action, Mapping) or set(action) != {"selection", "bandwidth"}:
            raise ValueError(f"action is {action!r:.80}, expected a dict of 'selection' and 'bandwidth'")
        num_envs = len(observation.layer)
        wanted = _checked(action["selection"], "action['selection']", (num_envs, *self._shape), 0, 1)
        if np.any(wanted != wanted.astype(bool)):
            raise ValueError("action['selection'] holds values between 0 and 1, expected only 0 and 1")
        share = _checked(action["bandwidth"], "action['bandwidth']", (num_envs, self._devices), 0, 1)
        # In float32 the shares of a full band may sum to more than the band.
        share = np.clip(share.astype(np.float64), 0.0, 1.0)
        share = share / np.maximum(share.sum(axis=-1, keepdims=True), 1.0)
        chosen = selection.repair(observation.gate_weights, wanted.astype(bool), self._k)
        return Decision(chosen, share * self._band)


class TokenAction:
    """Flat Box [-1, 1]: a score for each token and expert, token by token, then a bandwidth logit for each device.

    Each token keeps its at most K experts of largest positive score, or else the one of largest score. The band is
    split among devices with tokens in proportion to exp(3 * logit).
    """

    def __init__(self, scenario: Scenario) -> None:
        self._k, self._band, self._compute = scenario.model.top_k, scenario.radio.bandwidth_hz, scenario.compute_model
        self._shape = scenario.traffic.tokens, scenario.model.experts
        self._scores = self._shape[0] * self._shape[1]
        self.space = spaces.Box(-1.0, 1.0, (self._scores + scenario.num_devices,), np.float32)

    def decode(self, action: Any, observation: Observation) -> Decision:
        values = _checked(action, "action", (len(observation.layer), *self.space.shape), -1, 1)
        chosen = selection.by_score(values[:, : self._scores].reshape(-1, *self._shape), self._k)
        tokens = self._compute.per_device(selection.tokens_per_expert(chosen))
        return Decision(chosen, split_by_logits(LOGIT_SCALE * values[:, self._scores :], tokens > 0, self._band))


class PriceAction:
    """Flat Box [-1, 1]: a price for each device, then a bandwidth logit for each unless the scenario allocates exactly.

    Tokens use those at most K experts of largest `weight - price` that are worth the price of the device that hosts
    them, or else the best one (`selection.by_price`). The price is `price_max * ((a + 1) / 2) ** 2`, finer
    where prices are low. Where this keeps less gate mass than the scenario's floor, tokens go back to plain routing
    until it is kept (`floor.keep_floor`), so that no price action breaks the floor.

    Attributes:
        num_prices: how many prices an action begins with: U.
        price_max: the highest price, the scenario's.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario, self._k, self._compute = scenario, scenario.model.top_k, scenario.compute_model
        self.num_prices, self.price_max = self._count(scenario), scenario.price_max
        logits = (price_kinds(scenario.bandwidth) - 1) * scenario.num_devices
        self.space = spaces.Box(-1.0, 1.0, (self.num_prices + logits,), np.float32)

    def decode(self, action: Any, observation: Observation) -> Decision:
        values = _checked(action, "action", (len(observation.layer), *self.space.shape), -1, 1)
        return self.decide(*self.meaning(values), observation)

    def meaning(self, action: Any) -> tuple[Any, Any]:
        """Prices in units of gate weight, (N, num_prices), and (N, U) bandwidth logits that an action, (N, A), means.

        Arrays or tensors. There are no logits, (N, 0), where the scenario allocates exactly.
        """
        scale = LOGIT_SCALE if self._scenario.bandwidth == "learned" else 1.0
        return self.price_max * (0.5 * (action[:, : self.num_prices] + 1.0)) ** 2, scale * action[:, self.num_prices :]

    def decide(self, price: FloatArray, logit: FloatArray, observation: Observation) -> Decision:
        """The decision that prices and logits bring, see `meaning`."""
        chosen = self.select(price, observation)
        return Decision(chosen, self._split(chosen, logit, observation))

    def select(self, price: FloatArray, observation: Observation) -> BoolArray:
        """The (N, J, E) selection that prices bring, in units of gate weight: (N, num_prices)."""
        weights, plain = observation.gate_weights, plain_routing(observation, self._k)
        of_each, floor = self._of_each_expert(price), self._scenario.reward.mass_floor
        chosen = selection.by_price(weights, of_each, self._k, candidates="all")
        return keep_floor(weights, chosen, plain, of_each, floor)

    @staticmethod
    def _count(scenario: Scenario) -> int:
        """How many prices an action holds."""
        return scenario.num_devices

    def _of_each_expert(self, price: FloatArray) -> FloatArray:
        """The (N, E) price of each expert."""
        return self._compute.per_expert(price)

    def _split(self, chosen: BoolArray, logits: FloatArray, observation: Observation) -> FloatArray:
        """The (N, U) split of the band, in the way that the scenario sets."""
        band, way = self._scenario.radio.bandwidth_hz, self._scenario.bandwidth
        if way == "learned":
            tokens = self._compute.per_device(selection.tokens_per_expert(chosen))
            return split_by_logits(logits, tokens > 0, band)
        exact = allocate_for(chosen, observation, self._scenario)
        return exact if way == "optimal" else split_by_logits(logits, exact, band)

    def encode(self, price: FloatArray) -> NDArray[np.float32]:
        """The values that mean prices, the first ones of an action; prices above the highest become 1."""
        return (2.0 * np.sqrt(np.clip(price, 0.0, self.price_max) / self.price_max) - 1.0).astype(np.float32)


class ExpertPriceAction(PriceAction):
    """Flat Box [-1, 1]: a price for each expert, then a bandwidth logit for each device unless it allocates exactly.

    As `PriceAction`, but every expert has a price of its own, which `num_prices` = E counts: where devices host several
    experts, such an action says which of them to use.
    """

    @staticmethod
    def _count(scenario: Scenario) -> int:
        return scenario.model.experts

    def _of_each_expert(self, price: FloatArray) -> FloatArray:
        return price


def price_kinds(bandwidth: str) -> int:
    """Kinds of values that a price action holds: prices, and logits unless the band is split exactly."""
    return 1 if bandwidth == "optimal" else 2


def split_by_logits(logits: FloatArray, base: FloatArray | BoolArray, band: float) -> FloatArray:
    """Split the band in proportion to base * exp(logit): (N, U) Hz; devices whose base is 0 get nothing."""
    share = np.exp(logits.astype(np.float64)) * base
    return share * (band / share.sum(axis=-1, keepdims=True))


def as_array(values: Any, name: str) -> NDArray[Any]:
    """What is not yet an array as one; a mask would be lost on the way, and is refused."""
    unmasked(values, name)
    try:
        return np.asarray(values)
    except Exception as error:  # whatever a foreign type raises: torch's tensors, ragged lists
        what = f"a {name_of_type(values)} that NumPy does not read"
        raise ValueError(f"{name} is {what} ({error}), expected numbers") from error


def _checked(values: Any, name: str, shape: tuple[int, ...], low: float, high: float) -> NDArray[Any]:
    """Return `values` as an array of floating-point numbers, or say what is wrong with them."""
    array = as_array(values, name)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {array.dtype}, expected numbers")
    if array.shape[1:] == shape[1:] and len(array) != shape[0]:
        raise ValueError(f"{name} is for {len(array)} environments, expected {shape[0]}")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape[1:]}, expected {shape[1:]} (for {shape[0]} environments)")
    # Written so that NaN fails it too.
    if not (array.min() >= low - TOLERANCE and array.max() <= high + TOLERANCE):
        raise ValueError(f"{name} spans {array.min()} to {array.max()}, expected numbers from {low} to {high}")
    return array if array.dtype.kind == "f" else array.astype(np.float32)
