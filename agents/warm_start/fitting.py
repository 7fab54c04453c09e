"""Fit an actor by gradient descent, as both halves of a warm start do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor


def fit_actor(
    policy: BasePolicy, loss: Callable[[], Tensor], updates: int, learning_rate: float, show: Callable[[int], None]
) -> None:
    """Lower a loss by Adam, with a learning rate that falls in a straight line to 0.

    Of PPO's parameters and of SAC's actor's, those that the loss does not depend on get no gradient and stay.

    Args:
        policy: what is changed; of SAC's only the actor.
        loss: draws a batch and returns its loss.
        updates: how many.
        learning_rate: the first.
        show: called after each update with how many are done.
    """
    optimizer = torch.optim.Adam(getattr(policy, "actor", policy).parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, updates)
    for update in range(updates):
        value = loss()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        show(update + 1)
    optimizer.zero_grad()
