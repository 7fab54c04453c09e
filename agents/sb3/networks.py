"""Networks whose weights are shared over devices: permuting the devices permutes the actions, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DeviceEncoder(nn.Module):
    """Encode each device by itself, pool over devices, and encode each again knowing the pool.

    Input (N, U, F), output (N, U, width). The same weights serve every device and any number of devices.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.alone = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.own = nn.Linear(width, width)
        self.pooled = nn.Linear(2 * width, width)

    def forward(self, table: Tensor) -> Tensor:
        alone = self.alone(table)
        pool = torch.cat([alone.mean(dim=1), alone.amax(dim=1)], dim=-1)
        # The same as one layer on both side by side, but the pool's part is worked out once a cell, not once a device.
        return nn.functional.silu(self.own(alone) + self.pooled(pool).unsqueeze(1))


class Unflatten(nn.Module):
    """Turn SB3's flat features back into the (N, U, F) table."""

    def __init__(self, devices: int) -> None:
        super().__init__()
        self.devices = devices

    def forward(self, flat: Tensor) -> Tensor:
        return flat.reshape(flat.shape[0], self.devices, -1)


class DeviceHead(nn.Module):
    """Actions of each device, kind by kind: (N, U, width) to (N, kinds * U), all prices first, then all logits."""

    def __init__(self, width: int, kinds: int, bias: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.linear = nn.Linear(width, kinds)
        with torch.no_grad():
            # A start near what plain routing does: small weights, and prices that keep nearly all experts.
            self.linear.weight.mul_(0.01)
            self.linear.bias.zero_()
            self.linear.bias[: len(bias)] = torch.tensor(bias)

    def forward(self, latent: Tensor) -> Tensor:
        return self.linear(latent).transpose(1, 2).flatten(1)


class DeviceValue(nn.Module):
    """One value of the whole cell from all devices: (N, U, width) to (N, 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, 1)

    def forward(self, latent: Tensor) -> Tensor:
        return self.linear(torch.cat([latent.mean(dim=1), latent.amax(dim=1)], dim=-1))


class DeviceCritic(nn.Module):
    """Q-value of the devices' features and actions; input as SB3 gives it: flat features, then the action."""

    def __init__(self, devices: int, features: int, kinds: int, width: int) -> None:
        super().__init__()
        self.devices, self.features, self.kinds = devices, features, kinds
        self.encoder = DeviceEncoder(features + kinds, width)
        self.value = DeviceValue(width)

    def forward(self, flat: Tensor) -> Tensor:
        seen = self.devices * self.features
        table = flat[:, :seen].reshape(-1, self.devices, self.features)
        action = flat[:, seen:].reshape(-1, self.kinds, self.devices).transpose(1, 2)
        return self.value(self.encoder(torch.cat([table, action], dim=-1)))
