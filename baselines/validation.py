"""Validation: the same episodes for whoever is chosen by them, from gate weights that training and tests never see."""

from __future__ import annotations

import numpy as np

from wdmoe_env.policy import Policy
from wdmoe_env.simulator.simulator import Simulator
from wdmoe_env.system.metrics import SCHEMA

VALIDATION_SEED = 20_241_106
"""Validation episodes are drawn from this seed in every run."""
MEANS = tuple(name for name in SCHEMA if name != "bottleneck")
"""Metrics that have a mean; that of a device's index says nothing."""


def validate(policy: Policy, simulator: Simulator) -> dict[str, float]:
    """Mean of every metric over one episode in every environment, and `latency_ms` of a whole pass."""
    scenario, observation = simulator.scenario, simulator.reset(VALIDATION_SEED)
    policy.reset(scenario, simulator.num_envs)
    totals = dict.fromkeys(MEANS, 0.0)
    for _ in range(scenario.steps_per_episode):
        outcome = simulator.step(policy.decide(observation))
        observation = outcome.observation
        for name in MEANS:
            totals[name] += float(np.mean(outcome.metrics[name]))
    means = {name: total / scenario.steps_per_episode for name, total in totals.items()}
    return {"reward": means.pop("reward"), "latency_ms": means["latency"] * scenario.model.layers * 1e3, **means}
