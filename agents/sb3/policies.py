"""Policies for SB3's PPO and SAC whose weights are shared over devices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import Tensor, nn

from agents.sb3.networks import DeviceCritic, DeviceEncoder, DeviceHead, DeviceValue, Unflatten

START = (-0.4,)
"""Where the mean of a price action starts: a price of 0.045, at which few tokens drop an expert."""


def _sizes(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> tuple[int, int, int]:
    """Devices, features of a device, and action kinds (1: prices, 2: prices and bandwidth logits)."""
    if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 2:
        raise ValueError(f"observation space is {observation_space}, expected the (U, F) table of observation='device'")
    devices, features = observation_space.shape
    if not isinstance(action_space, spaces.Box) or action_space.shape not in ((devices,), (2 * devices,)):
        raise ValueError(f"action space is {action_space}, expected action='price' for {devices} devices")
    return devices, features, action_space.shape[0] // devices


class _ActorAndCritic(nn.Module):
    """Encoders of the actor and the critic, in the place of SB3's `mlp_extractor`.

    They share nothing: the critic of an actor that was warm-started has all to learn, and would tear it apart.
    """

    def __init__(self, rows: int, encoder: Callable[[], nn.Module], width: int) -> None:
        super().__init__()
        self.table = Unflatten(rows)
        self.actor, self.critic = encoder(), encoder()
        self.latent_dim_pi = self.latent_dim_vf = width

    def forward(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(flat), self.forward_critic(flat)

    def forward_actor(self, flat: Tensor) -> Tensor:
        return self.actor(self.table(flat))

    def forward_critic(self, flat: Tensor) -> Tensor:
        return self.critic(self.table(flat))


class DevicePPOPolicy(ActorCriticPolicy):
    """PPO's actor and critic over devices; the exploration noise is one number for each kind of action."""

    def __init__(self, *args: Any, width: int = 64, **kwargs: Any) -> None:
        self._width = width
        super().__init__(*args, **{**kwargs, "ortho_init": False})

    def _build_mlp_extractor(self) -> None:
        devices, features, self._kinds = _sizes(self.observation_space, self.action_space)
        self._devices = devices
        self._build_encoders(devices, partial(DeviceEncoder, features, self._width))

    def _build_encoders(self, rows: int, encoder: Callable[[], nn.Module]) -> None:
        """Two encoders of the observation, a table of so many rows."""
        self.mlp_extractor: Any = _ActorAndCritic(rows, encoder, self._width)

    def _head(self) -> nn.Module:
        return DeviceHead(self._width, self._kinds, START)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net: Any = self._head()
        self.value_net: Any = DeviceValue(self._width)
        self.log_std = nn.Parameter(torch.full((self._kinds,), float(self.log_std_init)))
        optimizer: Any = self.optimizer_class
        self.optimizer = optimizer(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def mean_action(self, table: Tensor) -> Tensor:
        """What is decided without exploring, (N, U, F) to (N, A) for any U, in nothing but torch."""
        return self.action_net(self.mlp_extractor.actor(table))

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        mean = self.action_net(latent_pi)
        assert isinstance(self.action_dist, DiagGaussianDistribution)
        return self.action_dist.proba_distribution(mean, self._log_std())

    def _log_std(self) -> Tensor:
        """(A,) of each value of an action."""
        return self.log_std.repeat_interleave(self._devices)


class DeviceSACPolicy(SACPolicy):
    """SAC's actor and critics over devices."""

    def __init__(self, *args: Any, width: int = 64, **kwargs: Any) -> None:
        self._width = width
        super().__init__(*args, **{**kwargs, "net_arch": []})

    def mean_action(self, table: Tensor) -> Tensor:
        """What is decided without exploring, (N, U, F) to (N, A) for any U, in nothing but torch."""
        latent: Any = self.actor.latent_pi
        return torch.tanh(self.actor.mu(latent[1](table)))

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        actor: Any = super().make_actor(features_extractor)
        actor.latent_pi, actor.mu, actor.log_std = self._actor_parts()
        return actor.to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        critic = super().make_critic(features_extractor)
        critic.q_networks = [self._critic_network() for _ in range(critic.n_critics)]
        for index, network in enumerate(critic.q_networks):
            critic.add_module(f"qf{index}", network)
        return critic.to(self.device)

    def _actor_parts(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        """Encoder, and heads of the actions' mean and log of the standard deviation."""
        devices, features, kinds = _sizes(self.observation_space, self.action_space)
        latent = nn.Sequential(Unflatten(devices), DeviceEncoder(features, self._width))
        # The actor's actions go through tanh.
        mean = DeviceHead(self._width, kinds, tuple(float(np.arctanh(value)) for value in START))
        return latent, mean, DeviceHead(self._width, kinds, (-1.0,) * kinds)

    def _critic_network(self) -> nn.Module:
        return DeviceCritic(*_sizes(self.observation_space, self.action_space), self._width)
