"""What the one option that matters does to two baselines: retained mass, reward and latency.

`theta_start` is the first threshold of the paper's optimizer, `beta` the ratio of dynamic skipping. On validation
episodes, which evaluation does not use: the defaults are chosen here. Nothing keeps the floor here, so that it shows
what the rule alone keeps.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from benchmarks import harness

import baselines
from wdmoe_env import Simulator, load_scenario, preset_names

OPTIONS: Final = {
    "wdmoe": ("theta_start", (0.1, 0.2, 0.3, 0.4, 0.5)),
    "dynamic-skipping": ("beta", (0.15, 0.2, 0.25, 0.3)),
}
COLUMNS: Final = ("scenario", "policy", "option", "retained mass", "reward", "latency / top-k in the same state")


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    scenario: list[str] = field(default_factory=preset_names)
    """Presets, or paths of YAML files."""
    episodes: int = 32
    """Episodes of each scenario."""
    seed: int = 0
    """Seed of the episodes."""


def measure(scenario_name: str, policy_name: str, value: float, episodes: int, seed: int) -> dict[str, Any]:
    """Mean metrics of a baseline with one value of its option, over whole episodes."""
    scenario, option = load_scenario(scenario_name), OPTIONS[policy_name][0]
    simulator = Simulator(scenario, episodes, "validation")
    policy = baselines.make(policy_name, keep_floor=False, **{option: value})
    policy.reset(scenario, episodes)
    observation, steps = simulator.reset(seed), []
    for _ in range(scenario.steps_per_episode):
        outcome = simulator.step(policy.decide(observation))
        observation = outcome.observation
        steps.append({name: float(np.mean(values)) for name, values in outcome.metrics.items()})
    mean = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
    return {
        "scenario": scenario_name,
        "policy": policy_name,
        option: value,
        "retained_mass": mean["retained_mass"],
        "reward": mean["reward"],
        "latency_ratio": mean["latency"] / mean["latency_top_k"],
    }


def main(options: Options) -> None:
    with harness.Report(options, COLUMNS, text=3) as report:
        for scenario in options.scenario:
            for policy, (option, values) in OPTIONS.items():
                for value in values:
                    row = measure(scenario, policy, value, options.episodes, options.seed)
                    numbers = (f"{row[name]:.3f}" for name in ("retained_mass", "reward", "latency_ratio"))
                    report.add(row, [scenario, policy, f"{option} {value:g}", *numbers])


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
