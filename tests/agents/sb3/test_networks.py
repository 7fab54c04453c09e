from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.sb3.policies import DevicePPOPolicy, DeviceSACPolicy

U, F, N = 5, 7, 6


def ppo(devices: int = U, kinds: int = 2) -> DevicePPOPolicy:
    return scatter(DevicePPOPolicy(*spaces_of(devices, kinds), lambda _: 1e-3, width=8))


def sac(devices: int = U, kinds: int = 2) -> DeviceSACPolicy:
    return scatter(DeviceSACPolicy(*spaces_of(devices, kinds), lambda _: 1e-3, width=8))


def spaces_of(devices: int, kinds: int) -> tuple[spaces.Box, spaces.Box]:
    return spaces.Box(-4, 4, (devices, F), np.float32), spaces.Box(-1, 1, (devices * kinds,), np.float32)


def scatter(policy: Any) -> Any:
    """Give weights that nothing cancels out in: heads start at almost zero."""
    with torch.no_grad():
        for seed, weights in enumerate(policy.parameters()):
            weights.copy_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(seed)) * 0.5)
    policy.set_training_mode(False)
    return policy


def table(devices: int = U) -> torch.Tensor:
    return torch.randn((N, devices, F), generator=torch.Generator().manual_seed(1))


def permuted(action: torch.Tensor, order: torch.Tensor, kinds: int) -> torch.Tensor:
    return action.reshape(N, kinds, -1)[:, :, order].flatten(1)


ORDER = torch.tensor([3, 0, 4, 1, 2])


@pytest.mark.parametrize("kinds", [1, 2])
@pytest.mark.parametrize("make", [ppo, sac])
@torch.no_grad()
def test_permuted_devices_permute_the_mean_action(make: Any, kinds: int) -> None:
    policy = make(kinds=kinds)
    action = policy._predict(table(), deterministic=True).reshape(N, -1)
    other = policy._predict(table()[:, ORDER], deterministic=True).reshape(N, -1)
    assert action.shape == (N, U * kinds)
    assert action.std(dim=1).min() > 1e-3
    torch.testing.assert_close(other, permuted(action, ORDER, kinds))


@pytest.mark.parametrize("make", [ppo, sac])
@torch.no_grad()
def test_the_mean_action_is_the_decision_and_takes_any_number_of_devices(make: Any) -> None:
    policy = make(kinds=2)
    expected = policy._predict(table(), deterministic=True).reshape(N, -1)
    torch.testing.assert_close(policy.mean_action(table()), expected)
    assert policy.mean_action(table(U + 3)).shape == (N, 2 * (U + 3))


@torch.no_grad()
def test_permuted_devices_keep_the_value() -> None:
    policy = ppo()
    value = policy.predict_values(table())
    assert value.shape == (N, 1)
    assert value.std() > 1e-3
    torch.testing.assert_close(policy.predict_values(table()[:, ORDER]), value)


@pytest.mark.parametrize("kinds", [1, 2])
@torch.no_grad()
def test_permuted_devices_and_actions_keep_the_q_value(kinds: int) -> None:
    critic = sac(kinds=kinds).critic
    action = torch.rand((N, U * kinds), generator=torch.Generator().manual_seed(2)) * 2 - 1
    values = critic(table(), action)
    for value, other in zip(values, critic(table()[:, ORDER], permuted(action, ORDER, kinds)), strict=True):
        assert value.shape == (N, 1)
        torch.testing.assert_close(other, value)
    assert not torch.allclose(critic(table(), permuted(action, ORDER, kinds))[0], values[0]), "actions do matter"
    assert not torch.allclose(*values), "two critics, not one twice"


@pytest.mark.parametrize("make", [ppo, sac])
@torch.no_grad()
def test_the_same_weights_serve_any_number_of_devices(make: Any) -> None:
    few, many = make(devices=3), make(devices=11)
    assert {k: v.shape for k, v in few.state_dict().items()} == {k: v.shape for k, v in many.state_dict().items()}
    many.load_state_dict(few.state_dict())
    assert many._predict(table(11), deterministic=True).shape == (N, 22)
    # Every device twice: the pool is the same, so each gets what it got alone.
    double = make(devices=6)
    double.load_state_dict(few.state_dict())
    action = few._predict(table(3), deterministic=True).reshape(N, 2, 3)
    twice = double._predict(table(3).repeat(1, 2, 1), deterministic=True).reshape(N, 2, 6)
    torch.testing.assert_close(twice, action.repeat(1, 1, 2))


def test_optimizers_hold_every_weight() -> None:
    policy, other = ppo(), sac()
    held = {
        "ppo": (policy.optimizer, policy.parameters()),
        "actor": (other.actor.optimizer, other.actor.parameters()),
        "critic": (other.critic.optimizer, other.critic.parameters()),
    }
    for optimizer, parameters in held.values():
        assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in parameters}


@pytest.mark.parametrize("make", [DevicePPOPolicy, DeviceSACPolicy])
def test_other_spaces_are_refused(make: Any) -> None:
    table_space, action_space = spaces_of(U, 2)
    with pytest.raises(ValueError, match="observation='device'"):
        make(spaces.Box(-1, 1, (40,)), action_space, lambda _: 1e-3)
    with pytest.raises(ValueError, match="action='price'"):
        make(table_space, spaces.Box(-1, 1, (U * 3,)), lambda _: 1e-3)
