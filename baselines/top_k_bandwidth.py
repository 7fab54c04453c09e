"""Plain routing with the best bandwidth split: what allocation alone is worth."""

from __future__ import annotations

from baselines.policy import Baseline
from wdmoe_env import allocation
from wdmoe_env.interface import Decision, Observation
from wdmoe_env.system import selection


class TopKBandwidth(Baseline):
    """Every token uses its K best experts; the band is split exactly for the known gains and loads."""

    name = "top-k+bandwidth"

    def decide(self, observation: Observation) -> Decision:
        plain = selection.routed(observation, self.scenario.model.top_k).copy(order="K")
        return Decision(plain, allocation.allocate_for(plain, observation, self.scenario))
