"""Take the whole state out of an algorithm and its cells, and put it back in."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer

from agents.sb3.vec_env import WDMoEVecEnv
from wdmoe_env.files.tree import check_same_tree, flatten, unflatten
from wdmoe_env.simulator.state import from_tree, to_tree

BUFFER_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
GROWING = ("optimizers", "buffer")
HEADER_BYTES = 2**20


def full_state(model: BaseAlgorithm, env: WDMoEVecEnv) -> dict[str, Any]:
    """Everything that continuing needs: weights, optimisers, counters, replay buffer, random states, the cells."""
    state: dict[str, Any] = {
        "policy": model.policy.state_dict(),
        "optimizers": {name: optimizer.state_dict()["state"] for name, optimizer in _optimizers(model).items()},
        "counters": {
            "num_timesteps": model.num_timesteps,
            "episodes": model._episode_num,
            "updates": model._n_updates,
        },
        "episode_starts": np.asarray(model._last_episode_starts),
        "random": _random_state(model),
        "simulator": to_tree(env.simulator.state()),
    }
    if isinstance(model, SAC):
        buffer = _buffer(model)
        filled = buffer.buffer_size if buffer.full else buffer.pos
        state["buffer"] = {name: getattr(buffer, name)[:filled] for name in BUFFER_ARRAYS}
        state["buffer_position"] = {"pos": buffer.pos, "full": buffer.full}
        if model.log_ent_coef is not None:
            state["log_ent_coef"] = model.log_ent_coef
    return state


def most_bytes(model: BaseAlgorithm, env: WDMoEVecEnv) -> int:
    """The most that a file of `full_state` takes: with the optimisers' two moments of each weight and a full buffer."""
    tensors: dict[str, torch.Tensor] = {}
    flatten(full_state(model, env), "state", tensors)
    moments = 2 * sum(weights.nbytes for weights in model.policy.parameters())
    buffer = sum(getattr(_buffer(model), name).nbytes for name in BUFFER_ARRAYS) if isinstance(model, SAC) else 0
    return sum(tensor.nbytes for tensor in tensors.values()) + moments + buffer + HEADER_BYTES


def restore(model: BaseAlgorithm, env: WDMoEVecEnv, state: dict[str, Any]) -> None:
    """Put back what `full_state` took out, as read from a checkpoint, into a model that was built alike.

    Raises:
        LookupError, OverflowError, TypeError, ValueError: something is missing, or has another form than the model's.
    """
    _check_form(model, env, state)
    model.policy.load_state_dict(state["policy"])
    for name, optimizer in _optimizers(model).items():
        _restore_optimizer(optimizer, state["optimizers"][name])
    counters = state["counters"]
    model.num_timesteps, model._episode_num = counters["num_timesteps"], counters["episodes"]
    model._n_updates = counters["updates"]
    _restore_cells(model, env, state)
    if isinstance(model, SAC):
        _restore_buffer(_buffer(model), state)
        if model.log_ent_coef is not None:
            with torch.no_grad():
                model.log_ent_coef.copy_(state["log_ent_coef"])
    _restore_random(model, state["random"])


def _check_form(model: BaseAlgorithm, env: WDMoEVecEnv, state: dict[str, Any]) -> None:
    """Compare with a fresh state; optimisers and the buffer, which grow, are checked where they are restored."""
    tensors: dict[str, torch.Tensor] = {}
    fresh = unflatten(flatten(full_state(model, env), "state", tensors), tensors)
    found, expected = ({key: tree[key] for key in tree if key not in GROWING} for tree in (state, fresh))
    check_same_tree(found, expected, "state")
    for name, count in state["counters"].items():
        if count < 0:
            raise ValueError(f"state.counters.{name} is {count}, expected at least 0")
    if not 0 <= (step := state["simulator"]["step"]) <= env.simulator.scenario.steps_per_episode:
        raise ValueError(f"state.simulator.step is {step}, expected a step of an episode")


def _optimizers(model: BaseAlgorithm) -> dict[str, torch.optim.Optimizer]:
    if isinstance(model, PPO):
        return {"policy": model.policy.optimizer}
    assert isinstance(model, SAC)
    found: dict[str, torch.optim.Optimizer] = {"actor": model.actor.optimizer, "critic": model.critic.optimizer}
    if model.ent_coef_optimizer is not None:
        found["entropy"] = model.ent_coef_optimizer
    return found


def _buffer(model: SAC) -> ReplayBuffer:
    assert isinstance(model.replay_buffer, ReplayBuffer)
    return model.replay_buffer


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Put back what Adam keeps of each weight; its settings stay those of the run's hyperparameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    expected = {
        str(index): {"step": torch.zeros(()), "exp_avg": weights, "exp_avg_sq": weights}
        for index, weights in enumerate(parameters)
    }
    check_same_tree(saved, expected if saved else {}, "state.optimizers")
    moments = {int(key): value for key, value in saved.items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def _restore_cells(model: BaseAlgorithm, env: WDMoEVecEnv, state: dict[str, Any]) -> None:
    simulator = env.simulator
    observation = simulator.restore(from_tree(state["simulator"], simulator.state()))
    model._last_obs = env.observations.encode(observation)
    model._last_episode_starts = state["episode_starts"].numpy()


def _restore_buffer(buffer: ReplayBuffer, state: dict[str, Any]) -> None:
    position, full = state["buffer_position"]["pos"], state["buffer_position"]["full"]
    if not 0 <= position < buffer.buffer_size:
        raise ValueError(f"state.buffer_position.pos is {position}, expected at most {buffer.buffer_size - 1}")
    filled = buffer.buffer_size if full else position
    expected = {name: torch.as_tensor(getattr(buffer, name)[:filled]) for name in BUFFER_ARRAYS}
    check_same_tree(state["buffer"], expected, "state.buffer")
    for name in BUFFER_ARRAYS:
        getattr(buffer, name)[:filled] = state["buffer"][name].numpy()
    buffer.pos, buffer.full = position, full


def _random_state(model: BaseAlgorithm) -> dict[str, Any]:
    """States of the generators that SB3 draws from: three global ones, and that of random actions before learning."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - SB3 draws from it
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "numpy": {"kind": kind, "keys": np.asarray(keys).astype(np.int64), "rest": rest},
        "python": {"version": version, "numbers": list(numbers), "gauss": gauss},
        "actions": model.action_space.np_random.bit_generator.state,
    }


def _restore_random(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    numpy, python = state["numpy"], state["python"]
    # NumPy itself would read past the end of its keys.
    if not 0 <= (place := numpy["rest"][0]) <= len(numpy["keys"]):
        raise ValueError(f"state.random.numpy.rest[0] is {place}, expected at most {len(numpy['keys'])}")
    np.random.set_state((numpy["kind"], numpy["keys"].numpy().astype(np.uint32), *numpy["rest"]))  # noqa: NPY002
    random.setstate((python["version"], tuple(python["numbers"]), python["gauss"]))
    model.action_space.np_random.bit_generator.state = state["actions"]
