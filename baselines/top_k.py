"""Plain routing: with equal shares of the band, and with the best split of it."""

from __future__ import annotations

from baselines.policy import Baseline
from wdmoe_env import allocation
from wdmoe_env.interface import Decision, Observation, plain_routing


class TopK(Baseline):
    """Every token uses its K best experts, and every device gets the same bandwidth. Scores a reward of exactly 1."""

    name = "top-k"

    def decide(self, observation: Observation) -> Decision:
        plain = plain_routing(observation, self.scenario.model.top_k)
        return Decision(plain.copy(order="K"), allocation.uniform(self.scenario, len(plain)))


class TopKBandwidth(Baseline):
    """Every token uses its K best experts; the band is split exactly for the known gains and loads."""

    name = "top-k+bandwidth"

    def decide(self, observation: Observation) -> Decision:
        plain = plain_routing(observation, self.scenario.model.top_k).copy(order="K")
        return Decision(plain, allocation.allocate_for(plain, observation, self.scenario))
