"""What the one option that matters does to two baselines: retained mass, reward and latency.

`theta_start` is the first threshold of the paper's optimizer, `beta` the ratio of dynamic skipping. On validation
episodes, which evaluation does not use: the defaults are chosen here.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import baselines
from wdmoe_env import Simulator, load_scenario, preset_names

OPTIONS: Final = {
    "wdmoe": ("theta_start", (0.1, 0.2, 0.3, 0.4, 0.5)),
    "dynamic-skipping": ("beta", (0.15, 0.2, 0.25, 0.3)),
}


def measure(scenario_name: str, policy_name: str, value: float, episodes: int, seed: int) -> dict[str, Any]:
    """Mean metrics of a baseline with one value of its option, over whole episodes."""
    scenario, option = load_scenario(scenario_name), OPTIONS[policy_name][0]
    simulator = Simulator(scenario, episodes, "validation")
    policy = baselines.make(policy_name, **{option: value})
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", nargs="+", default=preset_names(), help="presets or paths of YAML files")
    parser.add_argument("--episodes", type=int, default=32, help="episodes of each scenario")
    parser.add_argument("--seed", type=int, default=0, help="seed of the episodes")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    options = parser.parse_args()
    table = Table("scenario", "policy", "option", "retained mass", "reward", "latency / top-k in the same state")
    for scenario in options.scenario:
        for policy, (option, values) in OPTIONS.items():
            for value in values:
                row = measure(scenario, policy, value, options.episodes, options.seed)
                if options.json:
                    print(json.dumps(row), flush=True)
                numbers = (f"{row[name]:.3f}" for name in ("retained_mass", "reward", "latency_ratio"))
                table.add_row(scenario, policy, f"{option} {value:g}", *numbers)
    if not options.json:
        Console().print(table)


if __name__ == "__main__":
    main()
