"""Dynamic skipping (Lu et al. 2024, arXiv 2402.14800): save experts by gate weights alone, blind to the cell."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from baselines.policy import Baseline, check_choice, check_flag, check_range
from wdmoe_env import allocation
from wdmoe_env.interface import Decision, Observation, plain_routing
from wdmoe_env.system import floor, selection

Bandwidth = Literal["optimal", "uniform"]


class DynamicSkipping(Baseline):
    """Drop a top-K expert where its weight is below `beta` times the token's largest.

    Lu et al. drop Mixtral's second expert, with `beta` the median ratio of a layer's two weights; here the rule covers
    every K, and the default is low enough that Mixtral keeps more than 0.95 of its gate mass.

    Args:
        beta: share of the token's largest weight that an expert must have to be kept, 0 to 1. 0 is plain top-K.
        bandwidth: `optimal`, exactly allocated for the known gains and loads, or `uniform`.
        keep_floor: give tokens back to top-K until the scenario's mass floor holds, those of most weight first; this is
            ours, so that policies compare at the same floor.
    """

    name = "dynamic-skipping"

    def __init__(self, beta: float = 0.25, bandwidth: Bandwidth = "optimal", keep_floor: bool = True) -> None:
        super().__init__()
        self.beta = check_range("beta", beta, 0.0, 1.0)
        self.bandwidth = check_choice("bandwidth", bandwidth, get_args(Bandwidth))
        self.keep_floor = check_flag("keep_floor", keep_floor)

    def decide(self, observation: Observation) -> Decision:
        weights = selection.by_expert(observation.gate_weights)
        routed = plain_routing(observation, self.scenario.model.top_k)
        plain = selection.by_expert(routed)
        least = weights.dtype.type(self.beta) * weights.max(axis=1, keepdims=True)
        kept = (plain & (weights >= least)).swapaxes(1, 2)
        if self.keep_floor:
            price = np.ones((len(kept), kept.shape[2]))
            kept = floor.keep_floor(observation.gate_weights, kept, routed, price, self.scenario.reward.mass_floor)
        if self.bandwidth == "uniform":
            return Decision(kept, allocation.uniform(self.scenario, len(kept)))
        return Decision(kept, allocation.allocate_for(kept, observation, self.scenario))
