"""The joint optimum by prices: expert selection and bandwidth decided together, within a fraction of a percent.

Where a device has few tokens, or several experts that each cost time once they are used, prices alone do not tell which
of them to open; there a local search over whole experts follows (`baselines.joint.whole`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from baselines.joint.prices import find_prices
from baselines.joint.problem import joint_problem, whole_matters
from baselines.joint.rounding import Objective, improve, round_prices
from baselines.policy import Baseline, check_choice, check_range, check_whole
from wdmoe_env import allocation
from wdmoe_env.arrays import BoolArray, FloatArray
from wdmoe_env.interface import Decision, Observation, plain_routing
from wdmoe_env.system import selection
from wdmoe_env.system.selection import Candidates


@dataclass(frozen=True, slots=True)
class Solution:
    """What `Price.solve` finds.

    Attributes:
        price: (N, U) gate weight that a token has to bring to be worth its place on the device, not negative.
        decision: what is decided: the prices' selection, rounded and improved, and its exact split.
    """

    price: FloatArray
    decision: Decision


class Price(Baseline):
    """Find the prices at which the tokens' demand meets what the devices can serve; round, improve, split exactly.

    The prices are those that prove the bound of `baselines.bound`, so that the gap to it is what rounding costs.

    Args:
        mass_floor: retained gate mass that is kept in every layer, 0 to 1. None: the scenario's floor.
        objective: `wlr`: most block WLR above the floor. `latency`: least latency at the floor.
        candidates: `all`: tokens may be re-routed. `top-k`: experts may only be dropped from plain top-K routing.
        steps: points that the search for prices tries.
        rounds: how often the rounded selection is improved; 0 also leaves out the search over whole experts.
    """

    name = "price"

    MOVES, TRIALS = 24, 16

    def __init__(
        self,
        mass_floor: float | None = None,
        objective: Objective = "wlr",
        candidates: Candidates = "all",
        steps: int = 10,
        rounds: int = 2,
    ) -> None:
        super().__init__()
        self.mass_floor = None if mass_floor is None else check_range("mass_floor", mass_floor, 0.0, 1.0)
        self.objective = check_choice("objective", objective, get_args(Objective))
        self.candidates = check_choice("candidates", candidates, get_args(Candidates))
        self.steps = check_whole("steps", steps, 1)
        self.rounds = check_whole("rounds", rounds, 0)

    def decide(self, observation: Observation) -> Decision:
        return self.solve(observation).decision

    def solve(self, observation: Observation, mass_floor: float | FloatArray | None = None) -> Solution:
        """The decision, and the prices that led to it; with a mass floor of its own, one number or (N,), if given."""
        price, chosen = self._priced(observation, mass_floor)
        return Solution(price, Decision(chosen, allocation.allocate_for(chosen, observation, self.scenario)))

    def select(self, observation: Observation) -> BoolArray:
        """The (N, J, E) selection alone."""
        return self._priced(observation)[1]

    def _priced(
        self, observation: Observation, mass_floor: float | FloatArray | None = None
    ) -> tuple[FloatArray, BoolArray]:
        """The (N, U) prices and the (N, J, E) selection."""
        problem = joint_problem(observation, self.scenario, self.candidates)
        own = self.scenario.reward.mass_floor if self.mass_floor is None else self.mass_floor
        least = (own if mass_floor is None else mass_floor) * problem.plain_mass
        most = problem.plain_mass if self.objective == "wlr" else least
        price = find_prices(problem, least, most, problem.fixed_s, self.steps).price
        decided = round_prices(problem, price, least)
        for _ in range(self.rounds):
            if not improve(problem, price, least, decided, self.objective, self.MOVES, self.TRIALS):
                break
        chosen = decided.chosen
        short = decided.mass < least * (1.0 - 1e-7)
        if short.any():  # plain routing always keeps enough
            chosen[short] = selection.by_expert(plain_routing(observation, self.scenario.model.top_k))[short]
        rows = np.flatnonzero(whole_matters(problem))
        if self.rounds and len(rows):
            from baselines.joint.polishing import polished  # compiles: only where it is needed

            chosen = polished(problem, chosen, least, self.objective, rows)
        return price, chosen.swapaxes(1, 2)
