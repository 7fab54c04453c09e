"""A policy that drops experts down to a retained gate mass, for `benchmarks.loss_against_mass`."""

from __future__ import annotations

import numpy as np

from baselines.policy import Baseline
from wdmoe_env import Decision, Observation, Scenario, allocation
from wdmoe_env.interface import plain_routing
from wdmoe_env.system import selection


class Dropping(Baseline):
    """Drops experts from plain top-K routing until a layer would keep less than a share of its gate mass.

    Args:
        mass: share of plain routing's gate mass that is kept in each layer, 0 to 1; with 0 only best experts are left.
        at_random: drop in any order; else those of least weight first.
        seed: of the order.
    """

    name = "dropping"

    def __init__(self, mass: float, at_random: bool = False, seed: int = 0) -> None:
        super().__init__()
        self._mass, self._at_random, self._seed = mass, at_random, seed
        self._rng = np.random.default_rng(seed)

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        super().reset(scenario, num_envs)
        self._rng = np.random.default_rng(self._seed)

    def decide(self, observation: Observation) -> Decision:
        weights = observation.gate_weights.astype(np.float64)
        routed = plain_routing(observation, self.scenario.model.top_k)
        spare = routed & ~selection.top_k(observation.gate_weights, 1)
        order_by = self._rng.random(weights.shape) if self._at_random else weights
        lost = np.where(spare, weights, 0.0).reshape(len(weights), -1)
        order = np.where(spare, order_by, np.inf).reshape(lost.shape).argsort(axis=1)
        budget = (1.0 - self._mass) * np.where(routed, weights, 0.0).sum(axis=(1, 2))
        fits = np.take_along_axis(lost, order, axis=1).cumsum(axis=1) <= budget[:, None]
        dropped = np.zeros(lost.shape, dtype=bool)
        np.put_along_axis(dropped, order, fits, axis=1)
        chosen = routed & ~(spare & dropped.reshape(spare.shape))
        return Decision(chosen, allocation.uniform(self.scenario, len(weights)))
