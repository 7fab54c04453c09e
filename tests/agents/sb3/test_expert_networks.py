from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.sb3.actor import actor_of
from agents.sb3.expert_networks import Hosting
from agents.sb3.expert_policies import ExpertPPOPolicy, ExpertSACPolicy

F, N = 7, 6
HOSTS = [0, 1, 2, 0, 1, 0, 2, 3]
"""Devices of three, two, two and one expert."""
U, E = 4, len(HOSTS)
DEVICES = np.array([2, 0, 3, 1])
"""Where each device comes from."""
ORDER = np.array([6, 2, 7, 5, 3, 0, 4, 1])
"""Where each expert comes from: devices and, within them, experts trade places."""


def ppo(kinds: int = 2, hosts: Any = HOSTS) -> ExpertPPOPolicy:
    return scatter(ExpertPPOPolicy(*spaces_of(kinds, hosts), lambda _: 1e-3, width=8, hosts=hosts))


def sac(kinds: int = 2, hosts: Any = HOSTS) -> ExpertSACPolicy:
    return scatter(ExpertSACPolicy(*spaces_of(kinds, hosts), lambda _: 1e-3, width=8, hosts=hosts))


def spaces_of(kinds: int, hosts: Any) -> tuple[spaces.Box, spaces.Box]:
    actions = len(hosts) + (kinds - 1) * len(set(hosts))
    return spaces.Box(-4, 4, (len(hosts), F), np.float32), spaces.Box(-1, 1, (actions,), np.float32)


def scatter(policy: Any) -> Any:
    """Give weights that nothing cancels out in: heads start at almost zero."""
    with torch.no_grad():
        for seed, weights in enumerate(policy.parameters()):
            weights.copy_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(seed)) * 0.5)
    policy.set_training_mode(False)
    return policy


def table(experts: int = E) -> torch.Tensor:
    return torch.randn((N, experts, F), generator=torch.Generator().manual_seed(1))


def permuted_hosts() -> Any:
    """Device of each expert after both were permuted."""
    return np.argsort(DEVICES)[np.array(HOSTS)[ORDER]]


def permuted(action: torch.Tensor, kinds: int) -> torch.Tensor:
    return torch.cat([action[:, ORDER], *([action[:, E:][:, DEVICES]] if kinds > 1 else [])], dim=1)


@pytest.mark.parametrize("kinds", [1, 2])
@pytest.mark.parametrize("make", [ppo, sac])
@torch.no_grad()
def test_permuted_experts_and_devices_permute_the_mean_action(make: Any, kinds: int) -> None:
    policy, other = make(kinds), make(kinds, permuted_hosts())
    action = policy._predict(table(), deterministic=True).reshape(N, -1)
    assert action.shape == (N, E + (kinds - 1) * U)
    assert action.std(dim=1).min() > 1e-3
    expected = permuted(action, kinds)
    found = other._predict(table()[:, ORDER], deterministic=True).reshape(N, -1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(policy.mean_action(table()[:, ORDER], Hosting(permuted_hosts())), expected)


@pytest.mark.parametrize("make", [ppo, sac])
@torch.no_grad()
def test_the_host_map_matters(make: Any) -> None:
    policy = make()
    moved = [*HOSTS[:-3], 1, *HOSTS[-2:]]
    prices, others = (policy.mean_action(table(), *to)[:, :E] for to in ((), (Hosting(moved),)))
    touched = np.isin(HOSTS, [0, 1])  # expert 5 moved from device 0 to 1: what the others are given stays
    assert (prices - others).abs().amax(dim=0)[touched].min() > 1e-4
    torch.testing.assert_close(prices[:, ~touched], others[:, ~touched])


@torch.no_grad()
def test_pool_is_each_devices_mean_and_maximum() -> None:
    experts = table()
    pooled = Hosting(HOSTS).pool(experts)
    for device in range(U):
        own = experts[:, np.flatnonzero(np.array(HOSTS) == device)]
        torch.testing.assert_close(pooled[:, device], torch.cat([own.mean(dim=1), own.amax(dim=1)], dim=1))


@torch.no_grad()
def test_permuted_experts_and_devices_keep_value_and_q_value() -> None:
    one, other = ppo(), ppo(hosts=permuted_hosts())
    value = one.predict_values(table())
    assert value.shape == (N, 1)
    assert value.std() > 1e-3
    torch.testing.assert_close(other.predict_values(table()[:, ORDER]), value)
    for kinds in (1, 2):
        critic, shuffled = sac(kinds).critic, sac(kinds, permuted_hosts()).critic
        action = torch.rand((N, E + (kinds - 1) * U), generator=torch.Generator().manual_seed(2)) * 2 - 1
        values = critic(table(), action)
        for value, same in zip(values, shuffled(table()[:, ORDER], permuted(action, kinds)), strict=True):
            torch.testing.assert_close(same, value)
        assert not torch.allclose(critic(table(), -action)[0], values[0]), "actions do matter"


@pytest.mark.parametrize("make", [ppo, sac])
@torch.no_grad()
def test_the_same_weights_serve_any_host_map_and_none_is_saved(make: Any) -> None:
    few, many = make(hosts=[0, 1, 0]), make(hosts=[0, 1, 2, 2, 2, 1, 0, 3, 3])
    assert {k: v.shape for k, v in few.state_dict().items()} == {k: v.shape for k, v in many.state_dict().items()}
    many.load_state_dict(few.state_dict())
    own = few.mean_action(table(3))
    torch.testing.assert_close(many.mean_action(table(3), Hosting([0, 1, 0])), own)
    assert many.mean_action(table(9)).shape == (N, 13)


@pytest.mark.parametrize("kinds", [1, 2])
@pytest.mark.parametrize("make", [ppo, sac])
@torch.no_grad()
def test_actor_in_numpy_decides_the_same(make: Any, kinds: int) -> None:
    policy, seen = make(kinds), table()
    expected = policy.mean_action(seen).numpy()
    np.testing.assert_allclose(actor_of(policy, np.array(HOSTS))(seen.numpy()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [ppo, sac])
def test_optimizers_hold_every_weight(make: Any) -> None:
    policy = make()
    pairs = [(policy, policy)] if make is ppo else [(policy.actor, policy.actor), (policy.critic, policy.critic)]
    for owner, module in pairs:
        held = {id(p) for group in owner.optimizer.param_groups for p in group["params"]}
        assert held == {id(p) for p in module.parameters()}


@pytest.mark.parametrize("make", [ExpertPPOPolicy, ExpertSACPolicy])
def test_other_spaces_are_refused(make: Any) -> None:
    seen, action = spaces_of(2, HOSTS)
    with pytest.raises(ValueError, match=r"expected the \(8, F\) table of observation='expert'"):
        make(spaces.Box(-1, 1, (5, F)), action, lambda _: 1e-3, hosts=HOSTS)
    with pytest.raises(ValueError, match="action='expert-price' for 8 experts on 4 devices"):
        make(seen, spaces.Box(-1, 1, (E + 1,)), lambda _: 1e-3, hosts=HOSTS)
