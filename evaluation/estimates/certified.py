"""What is proved about a scenario, whatever the policy: most reward, least latency, and the frontier between both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.estimates.frontier import mean_frontier
from evaluation.estimates.optimality import StepBounds, StepOptimality
from evaluation.estimates.statistics import Estimate, estimate
from wdmoe_env import Scenario
from wdmoe_env.arrays import FloatArray

POINTS = 1001
"""Points of the frontier, from a retained mass of 0 to 1."""
THINNED, LOWEST = 5, 0.75
"""The summary holds every fifth of them, from this part of the mass floor on."""


@dataclass(frozen=True, slots=True)
class Certified:
    """What is proved, as means over a sample of steps.

    Attributes:
        steps: how many were sampled.
        reward: most reward of a step.
        latency_at_floor_ms: least milliseconds of a forward pass that keeps the scenario's mass floor in every layer.
        mass: (Q,) mean retained mass.
        latency_ms: (Q,) least mean milliseconds of a forward pass, where layers may keep different masses.
        lowest: mass from which on the summary shows the frontier.
        shared: all policies met the same cells. If not, `reward` is of the cells of the first policy, and the latencies
            are the least over the cells of all.
    """

    steps: int
    reward: Estimate
    latency_at_floor_ms: Estimate
    mass: FloatArray
    latency_ms: FloatArray
    lowest: float
    shared: bool

    def as_dict(self) -> dict[str, Any]:
        """The form in which `summary.json` holds it, the frontier thinned out."""
        mass, latency = self.mass[::THINNED], self.latency_ms[::THINNED]
        shown = mass >= self.lowest
        return {
            "steps": self.steps,
            "reward": self.reward.as_dict(),
            "latency_at_floor_ms": self.latency_at_floor_ms.as_dict(),
            "frontier": {"retained_mass": mass[shown].tolist(), "latency_ms": latency[shown].tolist()},
            "states": "shared" if self.shared else "per policy",
        }


def certify(scenario: Scenario, optimality: Sequence[StepOptimality]) -> Certified:
    """Sum up what was proved about the sampled steps of all runs, the first policy's first.

    Means over the sample are made means over all steps by a ratio estimator: they are multiplied by how much longer
    all steps took than the sampled ones, for the run whose latency follows the bound most closely (if one does).
    """
    groups: dict[int, list[StepOptimality]] = {}
    for one in optimality:
        groups.setdefault(id(one.bounds), []).append(one)
    forward_ms = {key: 1e3 * scenario.model.layers * _to_all_steps(scenario, group) for key, group in groups.items()}
    mass = np.linspace(0.0, 1.0, POINTS)
    curves = [forward_ms[key] * mean_frontier(group[0].bounds.line).at(mass) for key, group in groups.items()]
    first = optimality[0]
    at_floor = [
        estimate([forward_ms[key] * _at_floor(scenario, group[0].bounds)], clusters=first.clusters)
        for key, group in groups.items()
    ]
    return Certified(
        steps=len(first.share),
        reward=estimate([first.bounds.reward], clusters=first.clusters),
        latency_at_floor_ms=min(at_floor, key=lambda one: one.mean),
        mass=mass,
        latency_ms=np.min(curves, axis=0),
        lowest=LOWEST * scenario.reward.mass_floor,
        shared=len(groups) == 1,
    )


def _at_floor(scenario: Scenario, bounds: StepBounds) -> FloatArray:
    return bounds.least_latency(scenario.reward.mass_floor)


def _to_all_steps(scenario: Scenario, group: Sequence[StepOptimality]) -> float:
    """Mean over all steps as a share of the mean over the sampled ones, for runs that met the same cells."""
    floor = _at_floor(scenario, group[0].bounds)

    def left_over(one: StepOptimality) -> float:
        return float(np.std(floor - one.latency * (floor.mean() / one.latency.mean())))

    closest = min(group, key=left_over)
    # A latency that does not follow the bound would add noise instead of taking it away.
    if left_over(closest) >= float(np.std(floor)):
        return 1.0
    return closest.mean_latency / float(closest.latency.mean())
