"""Build SB3 algorithms from hyperparameters, and take their whole state out and put it back in."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger

from agents.settings import Algorithm
from agents.sb3_policies import DevicePPOPolicy, DeviceSACPolicy
from agents.vec_env import WDMoEVecEnv

BUFFER_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def build(
    algorithm: Algorithm, env: WDMoEVecEnv, settings: dict[str, Any], seed: int, progress: Callable[[], float]
) -> BaseAlgorithm:
    """Return an untrained algorithm; `progress` tells how much of the training is done, 0 to 1."""
    # Networks this small lose more by handing work between threads than they win, and one thread adds up in one order.
    torch.set_num_threads(1)
    settings = dict(settings)
    first, last = settings.pop("learning_rate"), settings.pop("learning_rate_end")

    def learning_rate(_: float) -> float:
        return first + (last - first) * progress()

    policy: dict[str, Any] = {"width": settings.pop("width")}
    common: dict[str, Any] = {"learning_rate": learning_rate, "seed": seed, "device": "cpu"}
    if algorithm == "ppo":
        policy["log_std_init"] = settings.pop("log_std_init")
        settings["n_steps"] = max(settings.pop("rollout") // env.num_envs, 1)
        model: BaseAlgorithm = PPO(DevicePPOPolicy, env, policy_kwargs=policy, **settings, **common)
    else:
        model = SAC(DeviceSACPolicy, env, policy_kwargs=policy, **settings, **common)
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def chunk_size(model: BaseAlgorithm) -> int:
    """Steps of one `learn` call: a rollout and its update for PPO, some 2,000 steps for SAC."""
    num_envs = model.n_envs
    return num_envs * (model.n_steps if isinstance(model, PPO) else max(2048 // num_envs, 1))


def _optimizers(model: BaseAlgorithm) -> dict[str, torch.optim.Optimizer]:
    if isinstance(model, PPO):
        return {"policy": model.policy.optimizer}
    assert isinstance(model, SAC)
    found = {"actor": model.actor.optimizer, "critic": model.critic.optimizer}
    if model.ent_coef_optimizer is not None:
        found["entropy"] = model.ent_coef_optimizer
    return found


def full_state(model: BaseAlgorithm, env: WDMoEVecEnv) -> dict[str, Any]:
    """Everything that continuing needs: weights, optimisers, counters, replay buffer, random states, the cells."""
    simulator = env.simulator.state()
    state: dict[str, Any] = {
        "policy": model.policy.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in _optimizers(model).items()},
        "counters": {
            "num_timesteps": model.num_timesteps,
            "episodes": model._episode_num,
            "updates": model._n_updates,
        },
        "episode_starts": np.asarray(model._last_episode_starts),
        "random": _random_state(),
        "simulator": {**simulator, "rng": _plain(simulator["rng"])},
    }
    if isinstance(model, SAC):
        buffer = model.replay_buffer
        assert isinstance(buffer, ReplayBuffer)
        filled = buffer.buffer_size if buffer.full else buffer.pos
        state["buffer"] = {name: getattr(buffer, name)[:filled] for name in BUFFER_ARRAYS}
        state["buffer_position"] = {"pos": buffer.pos, "full": buffer.full}
        if model.log_ent_coef is not None:
            state["log_ent_coef"] = model.log_ent_coef
    return state


def restore(model: BaseAlgorithm, env: WDMoEVecEnv, state: dict[str, Any]) -> None:
    """Put back what `full_state` took out, as read from a checkpoint."""
    model.policy.load_state_dict(state["policy"])
    for name, optimizer in _optimizers(model).items():
        saved = state["optimizers"][name]
        optimizer.load_state_dict({**saved, "state": {int(key): value for key, value in saved["state"].items()}})
    counters = state["counters"]
    model.num_timesteps, model._episode_num = counters["num_timesteps"], counters["episodes"]
    model._n_updates = counters["updates"]
    simulator = state["simulator"]
    arrays = {name: tensor.numpy() for name, tensor in simulator["arrays"].items()}
    observation = env.simulator.restore({"arrays": arrays, "rng": simulator["rng"], "step": simulator["step"]})
    model._last_obs = env.observations.encode(observation)
    model._last_episode_starts = state["episode_starts"].numpy().astype(bool)
    if isinstance(model, SAC):
        buffer = model.replay_buffer
        assert isinstance(buffer, ReplayBuffer)
        for name in BUFFER_ARRAYS:
            values = state["buffer"][name].numpy()
            getattr(buffer, name)[: len(values)] = values
        buffer.pos, buffer.full = state["buffer_position"]["pos"], state["buffer_position"]["full"]
        if model.log_ent_coef is not None:
            with torch.no_grad():
                model.log_ent_coef.copy_(state["log_ent_coef"])
    _restore_random(state["random"])


def _random_state() -> dict[str, Any]:
    """States of the three global generators that SB3 draws from."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "numpy": {"kind": kind, "keys": np.asarray(keys).astype(np.int64), "rest": rest},
        "python": {"version": version, "numbers": list(numbers), "gauss": gauss},
    }


def _restore_random(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    numpy, python = state["numpy"], state["python"]
    np.random.set_state((numpy["kind"], numpy["keys"].numpy().astype(np.uint32), *numpy["rest"]))
    random.setstate((python["version"], tuple(python["numbers"]), python["gauss"]))


def _plain(state: Any) -> Any:
    """Numpy's generator state as plain Python numbers."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.item() if isinstance(state, np.generic) else state
