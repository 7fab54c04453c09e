"""Optimizers of the small model: Muon for the matrices, AdamW for everything else, and the learning rate over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

MOMENTUM = 0.95
ROUNDS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz polynomial (Jordan et al. 2024, Muon)."""


class Muon(Optimizer):
    """Momentum, made orthogonal matrix by matrix (Jordan et al. 2024), also for experts in one 3-D tensor.

    `torch.optim.Muon` takes 2-D parameters alone, and experts are stacked. Each group may name `rows`: a parameter is
    then taken as a stack of matrices with so many rows.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(params, {"lr": lr, "rows": None})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the parameters once; a closure is not used."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                average = state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
                ahead = parameter.grad.lerp(average, MOMENTUM)
                rows, columns = group["rows"] or parameter.shape[-2], parameter.shape[-1]
                change = orthogonal(ahead.view(-1, rows, columns))
                scale = max(1.0, rows / columns) ** 0.5
                parameter.add_(change.view_as(parameter), alpha=-group["lr"] * scale)


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly orthogonal matrices with the same singular vectors: (M, R, C), singular values about 0.7 to 1.2."""
    a, b, c = QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def optimizers(model: Any, muon_rate: float, adam_rate: float) -> list[Optimizer]:
    """Muon for the matrices of attention and experts, AdamW for embeddings, routers and norms."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        if "gate_up_proj" in name:
            # Gate and up are two matrices in one tensor.
            matrices.append({"params": [parameter], "rows": parameter.shape[-2] // 2})
        elif "_proj" in name:
            matrices.append({"params": [parameter], "rows": parameter.shape[-2]})
        else:
            others.append(parameter)
    return [Muon(matrices, muon_rate), AdamW(others, adam_rate, betas=(0.9, 0.95), weight_decay=0.0)]


def rate(step: int, steps: int, warm_up: int) -> float:
    """Share of the full learning rate at a step: it rises over the warm-up, then falls in a straight line to 0."""
    return min((step + 1) / warm_up, (steps - step) / max(steps - warm_up, 1)) if warm_up else (steps - step) / steps
