"""The joint optimizer of the WDMoE paper (arXiv 2411.06681), reconstructed (R): docs/explanation/system-model.md."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from baselines import slsqp
from baselines.policy import Baseline, check_choice, check_flag, check_range
from wdmoe_env import allocation
from wdmoe_env.arrays import BoolArray, FloatArray, GateArray
from wdmoe_env.interface import Decision, Observation, plain_routing
from wdmoe_env.system import floor, selection
from wdmoe_env.system.compute import compute_time
from wdmoe_env.system.latency import carrier_to_noise_density, communication_time
from wdmoe_env.system.layer import layer_times, weight_to_latency

Solver = Literal["newton", "slsqp"]


class WDMoE(Baseline):
    """Drop experts by a similarity test until the token WLR has risen enough, then split the band exactly.

    1. Start from top-K under uniform bandwidth, with token WLR `WLR_0`; theta = `theta_start`.
    2. Each token whose gate weights and device latencies have a cosine similarity of at most theta drops its
       lowest-weight expert, never its last.
    3. Stop when token WLR > `improvement` * `WLR_0`, or theta >= 1; else raise theta by `theta_step`, back to 1.
    4. Minimise the layer's latency over the bandwidth split.

    Where that keeps less gate mass than the scenario's floor, tokens go back to top-K before step 4, those first that
    cost least latency for the mass that it wins. This is ours, so that policies compare at the same floor.

    All thresholds are reconstructed. The reconstruction starts at 0.5, where gate weights as peaked as Mixtral's let a
    quarter of the tokens drop an expert at once, far past the 1 % that is asked for, and below a gate mass of 0.95 in
    two presets. The default starts low, so that the rule stops where it says; `benchmarks/baseline_options.py` shows
    both. `wdmoe-reconstructed` is the reconstruction as it stands.

    Args:
        theta_start: first threshold, 0 to 1.
        theta_step: rise of the threshold, above 0.
        improvement: ratio of token WLR to top-K's at which the search stops.
        solver: `newton`, the exact method of `wdmoe_env.system.bandwidth`, or `slsqp`, which the paper is said to use.
        keep_floor: give tokens back to top-K until the scenario's mass floor holds.
    """

    name = "wdmoe"

    def __init__(
        self,
        theta_start: float = 0.1,
        theta_step: float = 0.1,
        improvement: float = 1.01,
        solver: Solver = "newton",
        keep_floor: bool = True,
    ) -> None:
        super().__init__()
        start = check_range("theta_start", theta_start, 0.0, 1.0)
        step = check_range("theta_step", theta_step, 0.0, above=True)
        rises = max(0, int(np.ceil((1.0 - start) / step - 1e-9)))
        self.thresholds = np.minimum(start + step * np.arange(rises + 1), 1.0)
        self.improvement = check_range("improvement", improvement, 0.0, above=True)
        self.solver = check_choice("solver", solver, get_args(Solver))
        self.keep_floor = check_flag("keep_floor", keep_floor)

    def decide(self, observation: Observation) -> Decision:
        chosen = self.select(observation)
        if self.solver == "newton":
            return Decision(chosen, allocation.allocate_for(chosen, observation, self.scenario))
        demand = allocation.demand(chosen, observation, self.scenario)
        split = slsqp.allocate(*demand, observation.gain_dl, observation.gain_ul, self.scenario.radio_link)
        return Decision(chosen, split)

    def select(self, observation: Observation) -> BoolArray:
        """Steps 1 to 3, and the floor: the (N, J, E) selection."""
        weights = observation.gate_weights
        chosen = plain_routing(observation, self.scenario.model.top_k).copy(order="K")
        cn0 = carrier_to_noise_density(observation.gain_dl, observation.gain_ul, self.scenario.radio_link)
        ratio, expert_time = self._token_wlr(weights, chosen, cn0, observation.load)
        target = self.improvement * ratio
        similarity = cosine_similarity(weights, expert_time)
        droppable = lowest(weights, chosen)
        searching = np.arange(len(chosen))
        plain = chosen.copy(order="K")
        for theta in self.thresholds:
            drop = droppable[searching] & (similarity[searching] <= theta)[:, :, None]
            chosen[searching] = plain[searching] & ~drop
            ratio, _ = self._token_wlr(
                weights[searching], chosen[searching], cn0[:, searching], observation.load[searching]
            )
            searching = searching[ratio <= target[searching]]
            if searching.size == 0:
                break
        if not self.keep_floor:
            return chosen
        return floor.keep_floor(weights, chosen, plain, expert_time, self.scenario.reward.mass_floor)

    def _token_wlr(
        self, weights: GateArray, chosen: BoolArray, cn0: FloatArray, load: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Under uniform bandwidth, token WLR (N,) and seconds a token at each expert's device (N, E).

        A device without tokens has the time that a single one would take.
        """
        compute, radio = self.scenario.compute_model, self.scenario.radio_link
        uniform = allocation.uniform(self.scenario, len(load))
        routing = selection.routing(weights, chosen)
        computation = compute_time(routing.tokens, load, compute)
        times = layer_times(compute.per_device(routing.tokens), computation, uniform, cn0, radio)
        ratio = weight_to_latency("wlr_token", routing, times, compute, chosen.shape[1])
        single = communication_time(uniform, cn0, radio) + (compute.fixed_s + compute.token_s) / (1.0 - load)
        token_time = np.where(times.tokens > 0, times.device / np.maximum(times.tokens, 1.0), single)
        return ratio, compute.per_expert(token_time)


class WDMoEReconstructed(WDMoE):
    """The reconstruction as it stands: a first threshold of 0.5, whatever gate mass is left.

    Args:
        solver: as in `WDMoE`.
    """

    name = "wdmoe-reconstructed"

    def __init__(self, solver: Solver = "newton") -> None:
        super().__init__(theta_start=0.5, solver=solver, keep_floor=False)


def cosine_similarity(gate_weights: GateArray, expert_time: FloatArray) -> FloatArray:
    """Cosine of each token's (N, J, E) gate weights and the (N, E) seconds a token at their devices: (N, J)."""
    weights = selection.by_expert(gate_weights)
    norm = np.sqrt(np.square(weights).sum(axis=1)) * np.linalg.norm(expert_time, axis=-1)[:, None]
    return np.asarray((expert_time[:, None, :] @ weights)[:, 0] / norm)


def lowest(gate_weights: GateArray, chosen: BoolArray) -> BoolArray:
    """Mark each token's chosen expert of lowest weight, the last of equal ones, if it has another: (N, J, E)."""
    weights, mine = selection.by_expert(gate_weights), selection.by_expert(chosen)
    experts = weights.shape[1]
    last = experts - 1 - np.where(mine, weights, np.inf)[:, ::-1].argmin(axis=1)
    mark = np.arange(experts)[:, None] == last[:, None, :]
    return (mark & (mine.sum(axis=1, keepdims=True) > 1)).swapaxes(1, 2)
