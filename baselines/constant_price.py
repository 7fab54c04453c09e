"""One price for every device, always: what the mass floor and the exact split of the band do by themselves."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from baselines.policy import Baseline, check_range
from baselines.validation import validate
from wdmoe_env import allocation
from wdmoe_env.interface import Decision, Observation, plain_routing
from wdmoe_env.scenario import Scenario
from wdmoe_env.settings.contents import fingerprint
from wdmoe_env.simulator.simulator import Simulator
from wdmoe_env.system import floor, selection

EPISODES: Final = 16
"""Validation episodes on which a price is chosen."""
ACTIONS: Final = tuple(round(-1.0 + 0.1 * step, 1) for step in range(21))
"""What is tried: the prices that mean these actions, of a highest price of 0.5."""


def price_of(action: float) -> float:
    """The price of an action, as `wdmoe_env.envs.actions.PriceAction` decodes it where the highest price is 0.5."""
    return 0.5 * (0.5 * (action + 1.0)) ** 2


class ConstantPrice(Baseline):
    """Tokens keep those of their K best experts whose weight is above a price, the same for all devices, or the best.

    Where this keeps less mass than the scenario's floor, tokens go back to plain routing as with a `price` action, and
    the band is split exactly: this is the `price` action of one number that never changes. It looks at nothing, so what
    a learned policy has over it is what learning adds.

    Args:
        price: gate weight that an expert has to bring, 0 to 1. None: that of `ACTIONS` with the best mean reward over
            `EPISODES` validation episodes of the scenario, the lowest of equals; `reset` finds it, once a process.

    Attributes:
        price: what is charged; None before the first `reset`.
    """

    name = "constant-price"

    def __init__(self, price: float | None = None) -> None:
        super().__init__()
        self._given = None if price is None else check_range("price", price, 0.0, 1.0)
        self.price = self._given

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        super().reset(scenario, num_envs)
        self.price = chosen_price(scenario) if self._given is None else self._given

    def decide(self, observation: Observation) -> Decision:
        weights, scenario = observation.gate_weights, self.scenario
        plain = plain_routing(observation, scenario.model.top_k)
        price = np.full((len(weights), weights.shape[2]), self.price)
        kept = selection.by_price(weights, price, scenario.model.top_k, candidates="all")
        kept = floor.keep_floor(weights, kept, plain, price, scenario.reward.mass_floor)
        return Decision(kept, allocation.allocate_for(kept, observation, scenario))


def chosen_price(scenario: Scenario) -> float:
    """The price of `ACTIONS` that earns most in validation episodes of a scenario."""
    return _chosen_price(scenario, fingerprint(scenario.model_dump(mode="json")))


@lru_cache(maxsize=64)
def _chosen_price(scenario: Scenario, contents: str) -> float:
    """`contents` tells apart what the files held that the scenario names."""
    simulator = Simulator(scenario, EPISODES, "validation")
    prices = [price_of(action) for action in ACTIONS]
    rewards = [validate(ConstantPrice(price), simulator)["reward"] for price in prices]
    return prices[int(np.argmax(rewards))]
