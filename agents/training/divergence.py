"""Tell a training that diverged."""

from __future__ import annotations

import torch
from stable_baselines3.common.base_class import BaseAlgorithm


class DivergedError(ValueError):
    """Learning ended in weights that are not finite."""


def check_finite(model: BaseAlgorithm, cause: Exception | None = None) -> None:
    """Raise a DivergedError, caused by `cause`, if a weight is not finite."""
    if not all(bool(torch.isfinite(weights).all()) for weights in model.policy.parameters()):
        steps = f"{model.num_timesteps:,}"
        raise DivergedError(
            f"training diverged before {steps} steps: weights are not finite; choose a lower learning_rate"
        ) from cause
