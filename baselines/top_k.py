"""Plain routing: what a mixture-of-experts model does when nobody thinks about the cell."""

from __future__ import annotations

from baselines.policy import Baseline
from wdmoe_env import allocation
from wdmoe_env.interface import Decision, Observation
from wdmoe_env.system import selection


class TopK(Baseline):
    """Every token uses its K best experts, and every device gets the same bandwidth. Scores a reward of exactly 1."""

    name = "top-k"

    def decide(self, observation: Observation) -> Decision:
        plain = selection.routed(observation, self.scenario.model.top_k)
        return Decision(plain.copy(order="K"), allocation.uniform(self.scenario, len(plain)))
