"""A random valid decision: what happens without any thought."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from baselines.policy import Baseline, check_whole
from wdmoe_env.arrays import BoolArray
from wdmoe_env.interface import Decision, Observation, plain_routing
from wdmoe_env.scenario import Scenario
from wdmoe_env.system import selection


class Random(Baseline):
    """Every token keeps a random nonempty subset of its top-K experts, all subsets being equally likely.

    The shares of the band are uniformly distributed over all splits (a flat Dirichlet distribution).

    Args:
        seed: starts the random numbers, together with the first gate weights after `reset`: the same episodes meet
            the same numbers again, and other episodes others.
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = check_whole("seed", seed, 0)
        self._rng: np.random.Generator | None = None

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        super().reset(scenario, num_envs)
        self._rng = None

    def decide(self, observation: Observation) -> Decision:
        if self._rng is None:
            self._rng = np.random.default_rng([self.seed, crc32(observation.gate_weights.tobytes())])
        chosen = self._subset(plain_routing(observation, self.scenario.model.top_k), self._rng)
        share = self._rng.dirichlet(np.ones(self.scenario.num_devices), size=len(chosen))
        return Decision(chosen, share * self.scenario.radio.bandwidth_hz)

    def _subset(self, plain: BoolArray, rng: np.random.Generator) -> BoolArray:
        """Read the bits of one random number a token, not 0, as which of its (N, J, E) top-K experts it keeps."""
        experts = selection.by_expert(plain)
        code = rng.integers(1, 1 << self.scenario.model.top_k, size=(len(experts), 1, experts.shape[2]))
        rank = np.maximum(np.cumsum(experts, axis=1) - 1, 0)
        return (experts & ((code >> rank) & 1).astype(np.bool_)).swapaxes(1, 2)
