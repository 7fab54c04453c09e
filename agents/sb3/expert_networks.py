"""Networks over experts and devices: weights are shared, and experts of one device know of each other.

Permuting devices, or the experts of a device, permutes the actions, and nothing else. Which device hosts an expert is
given from outside, so that the same weights serve any number of both, and any host map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from agents.sb3.networks import DeviceValue
from wdmoe_env.arrays import IntArray


def members_of(host: IntArray) -> IntArray:
    """(U, M) experts of each device, M of the one that has most; others repeat their first, which changes no largest.

    Args:
        host: (E,) device of each expert; every device from 0 on has one.
    """
    of_each = [np.flatnonzero(host == device) for device in range(host.max() + 1)]
    most = max(map(len, of_each))
    return np.stack([np.concatenate([own, np.full(most - len(own), own[0])]) for own in of_each])


def averaging(host: IntArray) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(U, E) float32 weights of the mean over each device's experts."""
    hosting = np.equal.outer(np.arange(host.max() + 1), host).astype(np.float32)
    return hosting / hosting.sum(axis=1, keepdims=True)


class Hosting(nn.Module):
    """Pool experts over their devices, and give them what their device has. It holds no weights, and none are saved.

    Args:
        host: (E,) device of each expert; every device from 0 on has one.
    """

    def __init__(self, host: Sequence[int] | IntArray) -> None:
        super().__init__()
        of_each = np.asarray(host, dtype=np.int64)
        members = members_of(of_each)
        self.experts, self.devices, self.most = len(of_each), *members.shape
        for name, values in {"host": of_each, "members": members.ravel(), "average": averaging(of_each)}.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def pool(self, experts: Tensor) -> Tensor:
        """Mean and maximum over each device's experts: (N, E, width) to (N, U, 2 * width)."""
        of_each = experts.index_select(1, self.get_buffer("members"))
        largest = of_each.reshape(-1, self.devices, self.most, of_each.shape[-1]).amax(dim=2)
        return torch.cat([self.get_buffer("average") @ experts, largest], dim=-1)

    def spread(self, devices: Tensor) -> Tensor:
        """What each expert's device has: (N, U, width) to (N, E, width)."""
        return devices.index_select(1, self.get_buffer("host"))


class ExpertEncoder(nn.Module):
    """Encode each expert by itself, pool over each device and over all, and encode each again knowing both pools.

    Input (N, E, F), output (N, E, width).
    """

    def __init__(self, features: int, width: int, hosting: Hosting) -> None:
        super().__init__()
        self.hosting = hosting
        self.alone = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.own = nn.Linear(width, width)
        self.device = nn.Linear(2 * width, width)
        self.pooled = nn.Linear(2 * width, width)

    def forward(self, table: Tensor, hosting: Hosting | None = None) -> Tensor:
        hosting = hosting or self.hosting
        alone = self.alone(table)
        pool = torch.cat([alone.mean(dim=1), alone.amax(dim=1)], dim=-1)
        device = self.device(hosting.pool(alone)) + self.pooled(pool).unsqueeze(1)
        return nn.functional.silu(self.own(alone) + hosting.spread(device))


class ExpertHead(nn.Module):
    """Actions: a value of each expert, then one of each device where there are logits: (N, E, width) to (N, A)."""

    def __init__(self, width: int, kinds: int, hosting: Hosting, bias: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.hosting = hosting
        self.price = _near(nn.Linear(width, 1), bias[:1])
        self.logit = _near(nn.Linear(2 * width, 1), bias[1:2]) if kinds > 1 else None

    def forward(self, latent: Tensor, hosting: Hosting | None = None) -> Tensor:
        price = self.price(latent).squeeze(-1)
        if self.logit is None:
            return price
        return torch.cat([price, self.logit((hosting or self.hosting).pool(latent)).squeeze(-1)], dim=-1)


class ExpertCritic(nn.Module):
    """Q-value of the experts' features and all actions; input as SB3 gives it: flat features, then the action."""

    def __init__(self, features: int, kinds: int, width: int, hosting: Hosting) -> None:
        super().__init__()
        self.features, self.kinds, self.hosting = features, kinds, hosting
        self.encoder = ExpertEncoder(features + kinds, width, hosting)
        self.value = DeviceValue(width)

    def forward(self, flat: Tensor) -> Tensor:
        experts, hosting = self.hosting.experts, self.hosting
        seen = experts * self.features
        table, action = flat[:, :seen].reshape(-1, experts, self.features), flat[:, seen:].unsqueeze(-1)
        columns = [table, action[:, :experts]]
        if self.kinds > 1:
            columns.append(hosting.spread(action[:, experts:]))
        return self.value(self.encoder(torch.cat(columns, dim=-1)))


def _near(layer: nn.Linear, bias: tuple[float, ...]) -> nn.Linear:
    """The layer with small weights and this bias, or 0: as `networks.DeviceHead`, a start near plain routing."""
    with torch.no_grad():
        layer.weight.mul_(0.01)
        layer.bias.fill_(bias[0] if bias else 0.0)
    return layer
