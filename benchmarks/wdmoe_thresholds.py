"""What the first threshold of the paper's optimizer does: retained mass, reward and latency by `theta_start`.

On validation episodes, which neither training nor evaluation uses.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import baselines
from wdmoe_env import Simulator, load_scenario, preset_names

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


def measure(scenario_name: str, theta_start: float, episodes: int, seed: int) -> dict[str, Any]:
    """Mean metrics of `wdmoe` from one threshold, over whole episodes."""
    scenario = load_scenario(scenario_name)
    simulator = Simulator(scenario, episodes, "validation")
    policy = baselines.make("wdmoe", theta_start=theta_start)
    policy.reset(scenario, episodes)
    observation, steps = simulator.reset(seed), []
    for _ in range(scenario.steps_per_episode):
        outcome = simulator.step(policy.decide(observation))
        observation = outcome.observation
        steps.append({name: float(np.mean(values)) for name, values in outcome.metrics.items()})
    mean = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
    return {
        "scenario": scenario_name,
        "theta_start": theta_start,
        "retained_mass": mean["retained_mass"],
        "reward": mean["reward"],
        "latency_ratio": mean["latency"] / mean["latency_top_k"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=32, help="episodes of each scenario")
    parser.add_argument("--seed", type=int, default=0, help="seed of the episodes")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    options = parser.parse_args()
    table = Table("scenario", "theta_start", "retained mass", "reward", "latency / top-k in the same state")
    for name in preset_names():
        for theta_start in THRESHOLDS:
            row = measure(name, theta_start, options.episodes, options.seed)
            if options.json:
                print(json.dumps(row), flush=True)
            table.add_row(
                name,
                f"{theta_start:g}",
                f"{row['retained_mass']:.4f}",
                f"{row['reward']:.3f}",
                f"{row['latency_ratio']:.3f}",
            )
    if not options.json:
        Console().print(table)


if __name__ == "__main__":
    main()
