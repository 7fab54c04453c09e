"""Build SB3 algorithms from hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

from agents.plan.hyperparameters import Algorithm
from agents.sb3.expert_policies import policy_of
from agents.sb3.vec_env import WDMoEVecEnv


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, and afterwards with as many as before; also a decorator.

    Networks this small lose more by handing work between threads than they win, and one thread adds up in one order:
    the same plan gives the same weights on every machine's number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def build(
    algorithm: Algorithm, env: WDMoEVecEnv, settings: Mapping[str, Any], seed: int, progress: Callable[[], float]
) -> BaseAlgorithm:
    """Return an untrained algorithm that stands before its first step.

    `progress` tells how much of the training is done, 0 to 1. Let it learn under `one_thread`.
    """
    settings = dict(settings)
    first, last = settings.pop("learning_rate"), settings.pop("learning_rate_end")

    def learning_rate(_: float) -> float:
        return float(first + (last - first) * progress())

    kind, policy = policy_of(algorithm, env.simulator.scenario)
    policy["width"] = settings.pop("width")
    common: dict[str, Any] = {"learning_rate": learning_rate, "seed": seed, "device": "cpu"}
    if algorithm == "ppo":
        policy["log_std_init"] = settings.pop("log_std_init")
        settings["n_steps"] = max(settings.pop("rollout") // env.num_envs, 1)
        compared = settings.pop("greedy_baseline")
        model: BaseAlgorithm = PPO(kind, env, policy_kwargs=policy, **settings, **common)
        env.greedy = _greedy(model) if compared else None
    else:
        model = SAC(kind, env, policy_kwargs=policy, **settings, **common)
    model.set_logger(Logger(folder=None, output_formats=[]))
    # Resets the cells now, so that there is a state to save before the first `learn` call, too.
    model._setup_learn(0)
    return model


def _greedy(model: BaseAlgorithm) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """What the model's policy, as it is when it is asked, decides without exploring."""

    def decide(table: NDArray[np.float32]) -> NDArray[np.float32]:
        actions, _ = model.predict(table, deterministic=True)
        return actions

    return decide


def chunk_size(model: BaseAlgorithm) -> int:
    """Steps of one `learn` call: a rollout and its update for PPO, some 2,000 steps for SAC."""
    num_envs = model.n_envs
    return num_envs * (model.n_steps if isinstance(model, PPO) else max(2048 // num_envs, 1))
