"""Training the small model in updates: the same settings give the same model, also through a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from wdmoe_env.checks import check_fields
from wdmoe_env.files.tree import check_same_tree
from wdmoe_env.moe.small.model import Architecture, build, tokens
from wdmoe_env.moe.small.optimizer import Muon, optimizers, rate

HEADER_BYTES = 2**20


@dataclass(frozen=True)
class TrainingSchedule:
    """How a model is trained.

    Attributes:
        steps: updates.
        batch: windows of `context` bytes in each update.
        muon_rate: highest learning rate of the matrices.
        adam_rate: highest learning rate of embeddings, routers and norms.
        warm_up: updates over which the rates rise; then they fall in a straight line to 0.
        seed: seed of the first weights and of the order of the windows.
        precision: what matrices are multiplied in, `bf16` or `fp32`; weights are float32.
    """

    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    muon_rate: Annotated[float, Field(gt=0)]
    adam_rate: Annotated[float, Field(gt=0)]
    warm_up: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0)]
    precision: Literal["bf16", "fp32"]

    def __post_init__(self) -> None:
        check_fields(self)


class LanguageModelTrainer:
    """A model on its way, one update after the other.

    Args:
        architecture: sizes of the model.
        schedule: how it is trained.
        texts: what it learns.

    Raises:
        ValueError: the texts are shorter than one window.
    """

    def __init__(self, architecture: Architecture, schedule: TrainingSchedule, texts: Sequence[bytes]) -> None:
        self.architecture, self.schedule = architecture, schedule
        self.stream = torch.cat([tokens(text) for text in texts])
        if len(self.stream) <= 2 * architecture.context:
            raise ValueError(
                f"the training texts have {len(self.stream)} tokens, expected more than two windows of "
                f"{architecture.context}"
            )
        self.model = build(architecture, schedule.seed).train()
        self._optimizers = optimizers(self.model, schedule.muon_rate, schedule.adam_rate)
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))
        self.done = 0

    def step(self) -> float:
        """One update; returns the bits per byte of its batch, before it.

        Raises:
            ValueError: the loss is not finite: the learning rates are too high.
        """
        rows = self._batch(self.done)
        self._set_rates(rate(self.done, self.schedule.steps, self.schedule.warm_up))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.schedule.precision == "bf16"):
            out = self.model(input_ids=rows[:, :-1], output_router_logits=True, use_cache=False)
        loss = functional.cross_entropy(out.logits.float().flatten(0, 1), rows[:, 1:].flatten())
        balance = sum(imbalance(logits, self.architecture.top_k) for logits in out.router_logits)
        whole: Any = loss + self.architecture.balance * balance / self.architecture.layers
        whole.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if not bool(torch.isfinite(norm)):
            raise ValueError(f"the gradient of update {self.done + 1} is not finite; lower the learning rates")
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.done += 1
        return loss.item() / log(2)

    def state(self) -> dict[str, Any]:
        """Everything that going on needs."""
        return {
            "done": self.done,
            "model": dict(self.model.named_parameters()),
            "optimizers": [optimizer.state_dict()["state"] for optimizer in self._optimizers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same architecture and schedule.

        Raises:
            ValueError: it is one of another model, or of more updates than are scheduled.
        """
        check_same_tree(state, self._form(begun=state.get("done") != 0), "state")
        if not 0 <= state["done"] <= self.schedule.steps:
            raise ValueError(f"state.done is {state['done']}, expected 0 to {self.schedule.steps}")
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(state["model"][name])
        for optimizer, own in zip(self._optimizers, state["optimizers"], strict=True):
            moments = {int(index): value for index, value in own.items()}
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        self.done = state["done"]

    def most_bytes(self) -> int:
        """The most that the tensors of a `state` take in a file: weights, and up to two moments of each."""
        return 3 * sum(parameter.nbytes for parameter in self.model.parameters()) + HEADER_BYTES

    def _form(self, begun: bool) -> dict[str, Any]:
        """What a state looks like: its keys, and the shapes and types of its tensors."""
        moments = []
        for optimizer in self._optimizers:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            kept = [
                {"momentum": weights}
                if isinstance(optimizer, Muon)
                else {"step": torch.zeros(()), "exp_avg": weights, "exp_avg_sq": weights}
                for weights in parameters
            ]
            moments.append({str(index): each for index, each in enumerate(kept)} if begun else {})
        return {"done": 0, "model": dict(self.model.named_parameters()), "optimizers": moments}

    def _set_rates(self, share: float) -> None:
        for optimizer, full in zip(self._optimizers, (self.schedule.muon_rate, self.schedule.adam_rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = full * share

    def _batch(self, step: int) -> Tensor:
        """Windows of context + 1 tokens: (batch, context + 1). In a pass over the texts each window is read once."""
        context = self.architecture.context
        windows = (len(self.stream) - 1) // context - 1
        places = []
        for number in range(step * self.schedule.batch, (step + 1) * self.schedule.batch):
            epoch, index = divmod(number, windows)
            if self._order[0] != epoch:
                self._order = (epoch, self._shuffled(epoch, windows))
            places.append(self._order[1][index])
        return self.stream[torch.stack(places)[:, None] + torch.arange(context + 1)]

    def _shuffled(self, epoch: int, windows: int) -> Tensor:
        """Where the windows of an epoch begin, from the seed and the epoch alone: each epoch cuts elsewhere."""
        generator = torch.Generator().manual_seed(self.schedule.seed * 1_000_003 + epoch)
        shift = torch.randint(self.architecture.context, (1,), generator=generator)
        return torch.randperm(windows, generator=generator) * self.architecture.context + shift


def imbalance(logits: Tensor, top_k: int) -> Tensor:
    """How unevenly one layer uses its experts: 1 where evenly, their number where all goes to one (Fedus et al. 2021).

    The loss that `transformers` computes counts all layers in one: there a layer may leave experts out that another
    layer uses, and layers do.

    Args:
        logits: (P, E) of the layer's router.
        top_k: experts a token.
    """
    weights = logits.float().softmax(-1)
    experts = logits.shape[-1]
    used = torch.bincount(weights.topk(top_k).indices.flatten(), minlength=experts) / (top_k * len(logits))
    return experts * (used * weights.mean(0)).sum()
