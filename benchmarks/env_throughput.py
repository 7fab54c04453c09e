"""Environment steps per second, with price actions and device observations, learned and exact bandwidth.

Bars on 2 cores for `paper`: 100,000 at 1024 environments, 3,000 for a single one. Each figure is the median over
windows of at least `--seconds` each, and the best window, which other work on the machine disturbed least.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from benchmarks import harness

import wdmoe_env  # noqa: F401 - registers the environments

BATCHES: Final = (1, 64, 1024)
COLUMNS: Final = ("interface", "environments", "bandwidth", "steps/s (median)", "steps/s (best window)")


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    scenario: str = "paper"
    """Preset, or path of a YAML file."""
    seconds: float = 0.5
    """Length of a window."""
    repeats: int = 9
    """Windows."""


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
    keywords: dict[str, Any] = {
        "scenario": scenario,
        "overrides": {"bandwidth": bandwidth},
        "observation": "device",
    }
    # With NEXT_STEP one step in so many would run no layer, and be counted.
    same_step: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}
    vector = gym.make_vec("WDMoE-v0", num_envs, "vector_entry_point", **same_step, **keywords)
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


def main(options: Options) -> None:
    title = f"{options.scenario}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    with harness.Report(options, COLUMNS, title=title, text=3) as report:
        for bandwidth in ("learned", "optimal"):
            for num_envs in BATCHES:
                for row in measure(options.scenario, num_envs, bandwidth, options.seconds, options.repeats):
                    rates = f"{row['steps_per_second']:,}", f"{row['best_window']:,}"
                    report.add(row, [row["interface"], str(num_envs), bandwidth, *rates])


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
