"""PPO steps per second in the environment, against the same PPO on prepared arrays of the same spaces.

Bar: at least 0.8. Both are run in turn, so that a change in the machine's speed meets both.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, Final

import gymnasium as gym
import numpy as np

from benchmarks import harness

from agents.plan.hyperparameters import hyperparameters, section_of
from agents.sb3.build import build, chunk_size, one_thread
from agents.sb3.vec_env import WDMoEVecEnv
from wdmoe_env import load_scenario

COLUMNS: Final = ("environments", "simulator, steps/s", "prepared arrays, steps/s", "ratio (median of pairs)")


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    scenario: str = "paper"
    """Preset, or path of a YAML file."""
    num_envs: tuple[int, ...] = (64, 256)
    """Environments side by side."""
    repeats: int = 7
    """Pairs of measurements, of one update each."""


class PreparedVecEnv(WDMoEVecEnv):
    """Returns observations, rewards and infos that were recorded beforehand; nothing is simulated."""

    def __init__(self, *args: Any, steps: int = 32) -> None:
        super().__init__(*args)
        rng = np.random.default_rng(0)
        space = self.action_space
        assert isinstance(space, gym.spaces.Box)
        low, high = space.low, space.high
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


def main(options: Options) -> None:
    with harness.Report(options, COLUMNS, text=0) as report:
        for num_envs in options.num_envs:
            ours, prepared = (learner(kind, options.scenario, num_envs) for kind in (WDMoEVecEnv, PreparedVecEnv))
            rate(ours, 1), rate(prepared, 1)
            pairs = np.array([(rate(ours, 1), rate(prepared, 1)) for _ in range(options.repeats)])
            medians, ratio = np.median(pairs, axis=0), float(np.median(pairs[:, 0] / pairs[:, 1]))
            row = {"num_envs": num_envs, "simulator": medians[0], "prepared": medians[1], "ratio": ratio}
            cells = [str(num_envs), f"{medians[0]:,.0f}", f"{medians[1]:,.0f}", f"{ratio:.2f}"]
            report.add({"scenario": options.scenario, **row}, cells)


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
