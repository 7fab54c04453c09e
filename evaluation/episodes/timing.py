"""How long a policy thinks."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from evaluation.episodes.errors import blaming
from evaluation.episodes.plan import WARM_UP, Plan, Purpose, held_out_seed
from wdmoe_env import Policy, Scenario, Simulator
from wdmoe_env.arrays import FloatArray


def time_decisions(policy: Policy, scenario: Scenario, plan: Plan, name: str, tick: Callable[[], None]) -> FloatArray:
    """Microseconds of each of the plan's single decisions, for one environment, after a warm-up. (decisions,)."""
    simulator = Simulator(scenario, 1, split="test")
    policy.reset(scenario, 1)
    observation = simulator.reset(held_out_seed(plan.seed, 0, Purpose.TIMING))
    spent = np.zeros(WARM_UP + plan.decisions)
    for index in range(spent.size):
        begin = time.perf_counter_ns()
        decision = policy.decide(observation)
        spent[index] = (time.perf_counter_ns() - begin) / 1e3
        with blaming(name, scenario, index):
            outcome = simulator.step(decision)
        observation = outcome.observation
        if outcome.truncated.all():
            policy.reset(scenario, 1)
            observation = simulator.reset()
        tick()
    return spent[WARM_UP:]
