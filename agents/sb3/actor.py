"""The actor in NumPy: for a single cell PyTorch's calls take several times as long as the sums that they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from agents.sb3.networks import DeviceEncoder, DeviceHead
from agents.sb3.policies import DevicePPOPolicy, DeviceSACPolicy

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
        alone = table
        for layer in self.alone:
            alone = _silu(_linear(alone, layer))
        pool = np.concatenate([alone.sum(axis=1) / np.float32(alone.shape[1]), alone.max(axis=1)], axis=1)
        latent = _silu(_linear(alone, self.own) + _linear(pool, self.pooled)[:, None])
        action = _linear(latent, self.head).swapaxes(1, 2).reshape(len(table), -1)
        return np.tanh(action) if self.squash else action


def actor_of(network: BasePolicy) -> Actor:
    """The actor of a policy network, with the weights that it has now."""
    if isinstance(network, DevicePPOPolicy):
        return _actor(network.mlp_extractor.actor, network.action_net, squash=False)
    assert isinstance(network, DeviceSACPolicy)
    latent: Any = network.actor.latent_pi
    head: Any = network.actor.mu
    return _actor(latent[1], head, squash=True)


def _actor(encoder: DeviceEncoder, head: DeviceHead, squash: bool) -> Actor:
    alone = tuple(_layer(module) for module in encoder.alone if isinstance(module, nn.Linear))
    return Actor(alone, _layer(encoder.own), _layer(encoder.pooled), _layer(head.linear), squash)


def _layer(module: nn.Linear) -> Layer:
    return module.weight.detach().numpy().T.copy(), module.bias.detach().numpy().copy()


def _linear(values: Array, layer: Layer) -> Array:
    weight, bias = layer
    return values @ weight + bias


def _silu(values: Array) -> Array:
    """`x / (1 + exp(-x))`, in a form that does not overflow."""
    half = np.float32(0.5) * values
    return half * (np.float32(1.0) + np.tanh(half))
