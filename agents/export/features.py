"""What a policy sees, in torch, from raw observations, to be exported with it; the formula is the environment's."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import array_api_compat.torch as xp
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from agents.export.raw import RawObservation
from agents.plan.prices import priced_observation
from wdmoe_env.envs import expert_features, features
from wdmoe_env.envs.features import LIMIT
from wdmoe_env.scenario import Scenario
from wdmoe_env.system.compute import ComputeModel
from wdmoe_env.system.selection import PRICE_LEVELS, PlainSums


class _TensorCompute(ComputeModel):
    """A compute model whose numbers are tensors."""

    @cached_property
    def hosting(self) -> Any:
        return one_hot(torch.from_numpy(self.host), self.fixed_s.shape[-1]).double()


class RawFeatures(nn.Module):
    """A `RawObservation` to the (N, U, F) or (N, E, F) float32 table of features; the number of tokens is free."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        model, devices = scenario.compute_model, scenario.num_devices
        fixed: Any = torch.tensor(np.broadcast_to(model.fixed_s, devices))
        per_token: Any = torch.tensor(np.broadcast_to(model.token_s, devices))
        self.scenario, self.compute = scenario, _TensorCompute(fixed, per_token, model.host)
        self.formula = expert_features if scenario.prices == "expert" else features
        self.rows, _ = priced_observation(scenario).space.shape or ()

    def forward(self, seen: RawObservation) -> Tensor:
        plain = _plain_sums(seen.gate_weights, self.scenario.model.top_k)
        found = self.formula.columns(seen, plain, self.scenario, self.compute, xp)
        shape = seen.load.shape[0], self.rows
        entries = [found.get(name, torch.zeros(shape)).double() for name in self.formula.PLACES]
        columns = [entry if entry.dim() == 3 else entry.expand(shape)[:, None] for entry in entries]
        return torch.cat(columns, dim=1).movedim(1, -1).float().clamp(-LIMIT, LIMIT)


def _plain_sums(weights: Tensor, k: int) -> PlainSums:
    """What plain top-K routing of (N, J, E) weights asks of each expert, as `selection.plain_sums` in float64."""
    chosen = _top_k(weights, k)
    kept = weights * chosen
    cheap = [chosen * (kept <= price) for price in PRICE_LEVELS]
    table: Any = torch.stack(
        [each.sum(dim=1) for each in (chosen, kept, *cheap, *(kept * one for one in cheap))], dim=1
    )
    return PlainSums(table.double())


def _top_k(weights: Tensor, k: int) -> Tensor:
    """One where plain top-K routing uses an expert, the first of equal ones: (N, J, E), as the weights."""
    # One by one: `topk` leaves open which of equal weights it takes, and a stable sort cannot be exported.
    experts = torch.arange(weights.shape[-1])
    chosen, left = torch.zeros_like(weights), weights
    for _ in range(k):
        best = left.argmax(dim=-1, keepdim=True) == experts
        chosen, left = chosen + best, left.masked_fill(best, -1.0)
    return chosen
