"""PPO steps per second in the environment, against the same PPO on prepared arrays of the same spaces.

Bar: at least 0.8. Both are run in turn, so that a change in the machine's speed meets both.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agents.plan.hyperparameters import hyperparameters, section_of
from agents.sb3.build import build, chunk_size, one_thread
from agents.sb3.vec_env import WDMoEVecEnv
from wdmoe_env import load_scenario


class PreparedVecEnv(WDMoEVecEnv):
    """Returns observations, rewards and infos that were recorded beforehand; nothing is simulated."""

    def __init__(self, *args: Any, steps: int = 32) -> None:
        super().__init__(*args)
        rng = np.random.default_rng(0)
        low, high = self.action_space.low, self.action_space.high
        super().reset()
        self._recorded = []
        for _ in range(steps):
            actions = rng.uniform(low, high, (self.num_envs, *low.shape)).astype(np.float32)
            super().step_async(actions)
            self._recorded.append(super().step_wait())
        self._at = 0

    def reset(self) -> Any:
        return self._recorded[0][0].copy()

    def step_async(self, actions: Any) -> None:
        self._at = (self._at + 1) % len(self._recorded)

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        observation, reward, done, infos = self._recorded[self._at]
        return observation.copy(), reward.copy(), done.copy(), infos


def learner(kind: type[WDMoEVecEnv], scenario_name: str, num_envs: int) -> Any:
    """PPO with the scenario's hyperparameters on one of the two environments."""
    scenario = load_scenario(scenario_name)
    return build("ppo", kind(scenario, num_envs), hyperparameters("ppo", section_of("ppo", scenario)), 0, lambda: 0.0)


@one_thread()
def rate(model: Any, updates: int) -> float:
    """Steps per second over some updates."""
    before, start = model.num_timesteps, time.perf_counter()
    for _ in range(updates):
        model.learn(chunk_size(model), reset_num_timesteps=False, log_interval=None)
    return (model.num_timesteps - before) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="paper", help="preset or path of a YAML file")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[64, 256], help="environments side by side")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of measurements, of one update each")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    options = parser.parse_args()
    table = Table("environments", "simulator, steps/s", "prepared arrays, steps/s", "ratio (median of pairs)")
    for num_envs in options.num_envs:
        ours, prepared = (learner(kind, options.scenario, num_envs) for kind in (WDMoEVecEnv, PreparedVecEnv))
        rate(ours, 1), rate(prepared, 1)
        pairs = np.array([(rate(ours, 1), rate(prepared, 1)) for _ in range(options.repeats)])
        medians, ratio = np.median(pairs, axis=0), float(np.median(pairs[:, 0] / pairs[:, 1]))
        if options.json:
            row = {"num_envs": num_envs, "simulator": medians[0], "prepared": medians[1], "ratio": ratio}
            print(json.dumps({"scenario": options.scenario, **row}), flush=True)
        table.add_row(str(num_envs), f"{medians[0]:,.0f}", f"{medians[1]:,.0f}", f"{ratio:.2f}")
    if not options.json:
        Console().print(table)


if __name__ == "__main__":
    main()
