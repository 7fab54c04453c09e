"""The actor in NumPy: for a single cell PyTorch's calls take several times as long as the sums that they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from agents.sb3.expert_networks import ExpertEncoder, ExpertHead, averaging, members_of
from agents.sb3.expert_policies import ExpertPPOPolicy, ExpertSACPolicy
from agents.sb3.networks import DeviceEncoder, DeviceHead
from agents.sb3.policies import DevicePPOPolicy, DeviceSACPolicy
from wdmoe_env.arrays import IntArray

Array = NDArray[np.float32]
Layer = tuple[Array, Array]
"""Weights, transposed, and bias."""


@dataclass(frozen=True, slots=True)
class Actor:
    """What `agents.sb3.networks` does with an actor's weights, in single precision; it holds a copy of them.

    Attributes:
        alone: layers that see one device each.
        own, pooled: the layer that knows all devices, in its two parts.
        head: from a device's encoding to its actions.
        squash: whether actions go through tanh.
    """

    alone: tuple[Layer, ...]
    own: Layer
    pooled: Layer
    head: Layer
    squash: bool

    def __call__(self, table: Array) -> Array:
        """The mean action, (N, A), for (N, U, F) device tables."""
        alone = _alone(table, self.alone)
        pool = _pool(alone)
        latent = _silu(_linear(alone, self.own) + _linear(pool, self.pooled)[:, None])
        action = _linear(latent, self.head).swapaxes(1, 2).reshape(len(table), -1)
        return np.tanh(action) if self.squash else action


@dataclass(frozen=True, slots=True)
class ExpertActor:
    """What `agents.sb3.expert_networks` does with an actor's weights; as `Actor`, for (N, E, F) expert tables.

    Attributes:
        alone: layers that see one expert each.
        own, device, pooled: the layer that knows the device's experts and all, in its three parts.
        price: from an expert's encoding to its action.
        logit: from a device's pool of encodings to its action; None where the band is split exactly.
        squash: whether actions go through tanh.
        host: (E,) device of each expert.
        members, average: how a device's experts are pooled, see `expert_networks`.
    """

    alone: tuple[Layer, ...]
    own: Layer
    device: Layer
    pooled: Layer
    price: Layer
    logit: Layer | None
    squash: bool
    host: IntArray
    members: IntArray
    average: Array

    def __call__(self, table: Array) -> Array:
        """The mean action, (N, A), for (N, E, F) expert tables."""
        alone = _alone(table, self.alone)
        device = _linear(self._of_devices(alone), self.device) + _linear(_pool(alone), self.pooled)[:, None]
        latent = _silu(_linear(alone, self.own) + device[:, self.host])
        action = _linear(latent, self.price)[:, :, 0]
        if self.logit is not None:
            action = np.concatenate([action, _linear(self._of_devices(latent), self.logit)[:, :, 0]], axis=1)
        return np.tanh(action) if self.squash else action

    def _of_devices(self, experts: Array) -> Array:
        return np.concatenate([self.average @ experts, experts[:, self.members].max(axis=2)], axis=2)


def actor_of(network: BasePolicy, hosts: IntArray) -> Callable[[Array], Array]:
    """The actor of a policy network, with the weights that it has now, for experts on these (E,) devices."""
    if isinstance(network, ExpertPPOPolicy):
        return _expert_actor(network.mlp_extractor.actor, network.action_net, hosts, squash=False)
    if isinstance(network, ExpertSACPolicy):
        expert_latent: Any = network.actor.latent_pi
        return _expert_actor(expert_latent[1], network.actor.mu, hosts, squash=True)
    if isinstance(network, DevicePPOPolicy):
        return _actor(network.mlp_extractor.actor, network.action_net, squash=False)
    assert isinstance(network, DeviceSACPolicy)
    latent: Any = network.actor.latent_pi
    head: Any = network.actor.mu
    return _actor(latent[1], head, squash=True)


def _actor(encoder: DeviceEncoder, head: DeviceHead, squash: bool) -> Actor:
    alone = tuple(_layer(module) for module in encoder.alone if isinstance(module, nn.Linear))
    return Actor(alone, _layer(encoder.own), _layer(encoder.pooled), _layer(head.linear), squash)


def _expert_actor(encoder: ExpertEncoder, head: Any, hosts: IntArray, squash: bool) -> ExpertActor:
    assert isinstance(head, ExpertHead)
    alone = tuple(_layer(module) for module in encoder.alone if isinstance(module, nn.Linear))
    own, device, pooled, price = (_layer(part) for part in (encoder.own, encoder.device, encoder.pooled, head.price))
    logit = None if head.logit is None else _layer(head.logit)
    return ExpertActor(alone, own, device, pooled, price, logit, squash, hosts, members_of(hosts), averaging(hosts))


def _alone(table: Array, layers: tuple[Layer, ...]) -> Array:
    """The encoding of each row by itself."""
    for layer in layers:
        table = _silu(_linear(table, layer))
    return table


def _pool(rows: Array) -> Array:
    """Mean and maximum over all rows: (N, rows, width) to (N, 2 * width)."""
    return np.concatenate([rows.sum(axis=1) / np.float32(rows.shape[1]), rows.max(axis=1)], axis=1)


def _layer(module: nn.Linear) -> Layer:
    return module.weight.detach().numpy().T.copy(), module.bias.detach().numpy().copy()


def _linear(values: Array, layer: Layer) -> Array:
    weight, bias = layer
    return values @ weight + bias


def _silu(values: Array) -> Array:
    """`x / (1 + exp(-x))`, in a form that does not overflow."""
    half = np.float32(0.5) * values
    return half * (np.float32(1.0) + np.tanh(half))
