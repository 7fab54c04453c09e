"""How long policies think about one layer of one cell: microseconds of a decision, from observation to decision.

All policies take turns in the same states, so that a change in the machine's speed meets all of them.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np

from benchmarks import harness

import baselines
from evaluation.episodes.contenders import find_contenders
from wdmoe_env import Policy, Scenario, Simulator, load_scenario
from wdmoe_env.arrays import FloatArray
from wdmoe_env.console.words import words

WARM_UP = 20
BASELINES = "top-k,top-k+bandwidth,dynamic-skipping,constant-price,wdmoe,price"


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    scenario: str = "paper"
    """Preset, or path of a YAML file."""
    policies: str = f"pretrained:ppo,{BASELINES}"
    """As for evaluate.py."""
    decisions: int = 500
    """Decisions of each policy."""
    seed: int = 0
    """Seed of the states."""


def measure(policies: dict[str, Policy], scenario: Scenario, decisions: int, seed: int) -> dict[str, FloatArray]:
    """Microseconds of each of the decisions of each policy; the first policy's decisions lead from state to state."""
    simulator = Simulator(scenario, 1, "validation")
    observation = simulator.reset(seed)
    spent: dict[str, list[float]] = {name: [] for name in policies}
    for policy in policies.values():
        policy.reset(scenario, 1)
    for _ in range(WARM_UP + decisions):
        chosen = []
        for name, policy in policies.items():
            begin = time.perf_counter_ns()
            chosen.append(policy.decide(observation))
            spent[name].append((time.perf_counter_ns() - begin) / 1e3)
        outcome = simulator.step(chosen[0])
        observation = simulator.reset() if outcome.truncated.all() else outcome.observation
    return {name: np.array(values[WARM_UP:]) for name, values in spent.items()}


def main(options: Options) -> None:
    scenario = load_scenario(options.scenario)
    found = find_contenders(words(options.policies))
    policies = {contender.name: contender.policies[0] for contender in found}
    if "wdmoe" in policies:
        policies["wdmoe with SLSQP"] = baselines.make("wdmoe", solver="slsqp")
    with harness.Report(options, ("policy", "median, µs", "5 to 95 %, µs")) as report:
        for name, spent in measure(policies, scenario, options.decisions, options.seed).items():
            low, median, high = (float(value) for value in np.percentile(spent, [5, 50, 95]))
            row = {"scenario": scenario.name, "policy": name, "median_us": median, "p5_us": low, "p95_us": high}
            report.add(row, [name, f"{median:,.0f}", f"{low:,.0f} - {high:,.0f}"])


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__, one_thread=True))
