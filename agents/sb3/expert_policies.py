"""Policies for SB3's PPO and SAC that price each expert; weights are shared over experts and devices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from agents.plan.hyperparameters import Algorithm
from agents.sb3.expert_networks import ExpertCritic, ExpertEncoder, ExpertHead, Hosting
from agents.sb3.networks import Unflatten
from agents.sb3.policies import START, DevicePPOPolicy, DeviceSACPolicy
from wdmoe_env.arrays import IntArray
from wdmoe_env.scenario import Scenario


def _sizes(observation_space: spaces.Space[Any], action_space: spaces.Space[Any], hosting: Hosting) -> tuple[int, int]:
    """Features of an expert, and action kinds (1: prices, 2: prices and bandwidth logits)."""
    experts, devices = hosting.experts, hosting.devices
    if not isinstance(observation_space, spaces.Box) or observation_space.shape[:-1] != (experts,):
        raise ValueError(
            f"observation space is {observation_space}, expected the ({experts}, F) table of observation='expert'"
        )
    if not isinstance(action_space, spaces.Box) or action_space.shape not in ((experts,), (experts + devices,)):
        raise ValueError(
            f"action space is {action_space}, expected action='expert-price' for {experts} experts on {devices} devices"
        )
    return observation_space.shape[-1], 1 if action_space.shape == (experts,) else 2


class ExpertPPOPolicy(DevicePPOPolicy):
    """PPO's actor and critic over experts; the exploration noise is one number for each kind of action.

    Args:
        hosts: (E,) device of each expert.
    """

    def __init__(self, *args: Any, hosts: Sequence[int] | IntArray, width: int = 64, **kwargs: Any) -> None:
        self._hosts = hosts
        super().__init__(*args, width=width, **kwargs)

    def _build_mlp_extractor(self) -> None:
        self.hosting = Hosting(self._hosts)
        features, self._kinds = _sizes(self.observation_space, self.action_space, self.hosting)
        self._build_encoders(self.hosting.experts, partial(ExpertEncoder, features, self._width, self.hosting))

    def _head(self) -> nn.Module:
        return ExpertHead(self._width, self._kinds, self.hosting, START)

    def mean_action(self, table: Tensor, hosting: Hosting | None = None) -> Tensor:
        """What is decided without exploring, (N, E, F) to (N, A), for any host map, in nothing but torch."""
        return self.action_net(self.mlp_extractor.actor(table, hosting), hosting)

    def _log_std(self) -> Tensor:
        counts = torch.tensor([self.hosting.experts, self.hosting.devices][: self._kinds])
        return self.log_std.repeat_interleave(counts)


class ExpertSACPolicy(DeviceSACPolicy):
    """SAC's actor and critics over experts.

    Args:
        hosts: (E,) device of each expert.
    """

    def __init__(self, *args: Any, hosts: Sequence[int] | IntArray, width: int = 64, **kwargs: Any) -> None:
        self._hosts = hosts
        super().__init__(*args, width=width, **kwargs)

    def mean_action(self, table: Tensor, hosting: Hosting | None = None) -> Tensor:
        """What is decided without exploring, (N, E, F) to (N, A), for any host map, in nothing but torch."""
        latent: Any = self.actor.latent_pi
        head: Any = self.actor.mu
        return torch.tanh(head(latent[1](table, hosting), hosting))

    def _actor_parts(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        hosting = Hosting(self._hosts)
        features, kinds = _sizes(self.observation_space, self.action_space, hosting)
        latent = nn.Sequential(Unflatten(hosting.experts), ExpertEncoder(features, self._width, hosting))
        # The actor's actions go through tanh.
        mean = ExpertHead(self._width, kinds, hosting, tuple(float(np.arctanh(value)) for value in START))
        return latent, mean, ExpertHead(self._width, kinds, hosting, (-1.0,) * kinds)

    def _critic_network(self) -> nn.Module:
        hosting = Hosting(self._hosts)
        features, kinds = _sizes(self.observation_space, self.action_space, hosting)
        return ExpertCritic(features, kinds, self._width, hosting)


POLICIES: Final[dict[str, dict[str, type[BasePolicy]]]] = {
    "device": {"ppo": DevicePPOPolicy, "sac": DeviceSACPolicy},
    "expert": {"ppo": ExpertPPOPolicy, "sac": ExpertSACPolicy},
}
"""By a scenario's `prices`, and the algorithm."""


def policy_of(algorithm: Algorithm | str, scenario: Scenario) -> tuple[Any, dict[str, Any]]:
    """The class of a scenario's policies, and its arguments beside spaces and width."""
    arguments = {"hosts": scenario.hosts.tolist()} if scenario.prices == "expert" else {}
    return POLICIES[scenario.prices][algorithm], arguments
