"""How long policies think about one layer of one cell: microseconds of a decision, from observation to decision.

All policies take turns in the same states, so that a change in the machine's speed meets all of them.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import baselines
from evaluation.episodes.contenders import find_contenders
from evaluation.episodes.errors import EvaluationError
from wdmoe_env import Policy, Scenario, Simulator, load_scenario
from wdmoe_env.arrays import FloatArray

WARM_UP = 20
BASELINES = "top-k,top-k+bandwidth,dynamic-skipping,wdmoe,price"


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="paper", help="preset or path of a YAML file")
    parser.add_argument("--policies", default=f"pretrained:ppo,{BASELINES}", help="as for evaluate.py")
    parser.add_argument("--decisions", type=int, default=500, help="decisions of each policy")
    parser.add_argument("--seed", type=int, default=0, help="seed of the states")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    options = parser.parse_args()
    scenario = load_scenario(options.scenario)
    try:
        found = find_contenders(options.policies.split(","))
    except EvaluationError as error:
        sys.exit(f"error: {error}")
    policies = {contender.name: contender.policies[0] for contender in found}
    if "wdmoe" in policies:
        policies["wdmoe with SLSQP"] = baselines.make("wdmoe", solver="slsqp")
    table = Table("policy", "median, µs", "5 to 95 %, µs")
    for name, spent in measure(policies, scenario, options.decisions, options.seed).items():
        low, median, high = (float(value) for value in np.percentile(spent, [5, 50, 95]))
        if options.json:
            row = {"scenario": scenario.name, "policy": name, "median_us": median, "p5_us": low, "p95_us": high}
            print(json.dumps(row), flush=True)
        table.add_row(name, f"{median:,.0f}", f"{low:,.0f} - {high:,.0f}")
    if not options.json:
        Console().print(table)


if __name__ == "__main__":
    main()
