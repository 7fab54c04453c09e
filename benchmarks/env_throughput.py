"""Environment steps per second, with price actions and device observations, learned and exact bandwidth.

Bars on 2 cores for `paper`: 100,000 at 1024 environments, 3,000 for a single one. Each figure is the median over
windows of at least `--seconds` each, and the best window, which other work on the machine disturbed least.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import wdmoe_env  # noqa: F401 - registers the environments

BATCHES = (1, 64, 1024)


def windows(env: Any, num_envs: int, seconds: float, repeats: int) -> list[float]:
    """Environment steps per second in each window."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(16)]
    single = not isinstance(env, gym.vector.VectorEnv)
    rates = []
    for repeat in range(repeats + 1):
        count, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds:
            for action in actions:
                truncated = env.step(action)[3]
                if single and truncated:
                    env.reset()
            count += len(actions)
        if repeat > 0:  # the first one warms up
            rates.append(count * num_envs / passed)
    return rates


def measure(scenario: str, num_envs: int, bandwidth: str, seconds: float, repeats: int) -> list[dict[str, Any]]:
    """One row for the vector environment, and for a batch of one another for `gymnasium.make`."""
    keywords: dict[str, Any] = {"scenario": scenario, "overrides": {"bandwidth": bandwidth}}
    vector = gym.make_vec("WDMoE-v0", num_envs=num_envs, vectorization_mode="vector_entry_point", **keywords)
    envs: list[tuple[str, Any]] = [("make_vec", vector)]
    if num_envs == 1:
        envs.append(("make", gym.make("WDMoE-v0", **keywords)))
    rows = []
    for name, env in envs:
        rates = windows(env, num_envs, seconds, repeats)
        rows.append(
            {
                "scenario": scenario,
                "interface": name,
                "num_envs": num_envs,
                "bandwidth": bandwidth,
                "steps_per_second": round(float(np.median(rates))),
                "best_window": round(max(rates)),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="paper", help="preset or path of a YAML file")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a window")
    parser.add_argument("--repeats", type=int, default=9, help="windows")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    options = parser.parse_args()
    table = Table("interface", "environments", "bandwidth", "steps/s (median)", "steps/s (best window)")
    for bandwidth in ("learned", "optimal"):
        for num_envs in BATCHES:
            for row in measure(options.scenario, num_envs, bandwidth, options.seconds, options.repeats):
                if options.json:
                    print(json.dumps(row), flush=True)
                rates = f"{row['steps_per_second']:,}", f"{row['best_window']:,}"
                table.add_row(row["interface"], str(num_envs), bandwidth, *rates)
    if not options.json:
        Console().print(f"{options.scenario}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", table)


if __name__ == "__main__":
    main()
