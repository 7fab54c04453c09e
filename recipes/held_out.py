"""What the recipes share: how long to train, and the reward of what was trained in held-out episodes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

import wdmoe_env  # noqa: F401 - registers the ids

EPISODES = 64


def steps(default: int) -> int:
    """The steps to train for: the first argument of the command line, or else the recipe's own."""
    return int(sys.argv[1]) if len(sys.argv) > 1 else default


def print_reward(predict: Callable[[Any], Any], name: str = "WDMoE-paper-v0") -> None:
    """Print `reward R`, the mean reward of a step over 64 episodes that nobody trains on.

    Args:
        predict: N observations at once to N actions.
        name: id of the environment.
    """
    cells = gym.make_vec(name, num_envs=EPISODES, split="test", autoreset_mode=gym.vector.AutoresetMode.DISABLED)
    observations, _ = cells.reset(seed=0)
    rewards, over = [], False
    while not over:
        observations, reward, _, truncated, _ = cells.step(np.asarray(predict(observations)))
        rewards.append(reward.mean())
        over = bool(truncated.all())
    print(f"reward {np.mean(rewards):.3f}")
