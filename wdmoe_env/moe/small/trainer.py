"""Training the small model in updates: the same settings give the same model, also through a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from wdmoe_env.checks import check_fields
from wdmoe_env.moe.small.model import Architecture, build, tokens
from wdmoe_env.moe.small.optimizer import optimizers, rate

FORMAT = 1


@dataclass(frozen=True)
class Plan:
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


class Trainer:
    """A model on its way, one update after the other.

    Args:
        architecture: sizes of the model.
        plan: how it is trained.
        texts: what it learns.

    Raises:
        ValueError: the texts are shorter than one window.
    """

    def __init__(self, architecture: Architecture, plan: Plan, texts: Sequence[bytes]) -> None:
        self.architecture, self.plan = architecture, plan
        self.stream = torch.cat([tokens(text) for text in texts])
        if len(self.stream) <= 2 * architecture.context:
            raise ValueError(
                f"the training texts have {len(self.stream)} tokens, expected more than two windows of "
                f"{architecture.context}"
            )
        self.model = build(architecture, plan.seed).train()
        self._optimizers = optimizers(self.model, plan.muon_rate, plan.adam_rate)
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))
        self.done = 0

    def step(self) -> float:
        """One update; returns the bits per byte of its batch, before it.

        Raises:
            ValueError: the loss is not finite: the learning rates are too high.
        """
        rows = self._batch(self.done)
        self._set_rates(rate(self.done, self.plan.steps, self.plan.warm_up))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.plan.precision == "bf16"):
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
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same architecture and plan."""
        self.model.load_state_dict(state["model"])
        for optimizer, own in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        self.done = state["done"]

    def _set_rates(self, share: float) -> None:
        for optimizer, full in zip(self._optimizers, (self.plan.muon_rate, self.plan.adam_rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = full * share

    def _batch(self, step: int) -> Tensor:
        """Windows of context + 1 tokens: (batch, context + 1). In a pass over the texts each window is read once."""
        context = self.architecture.context
        windows = (len(self.stream) - 1) // context - 1
        places = []
        for number in range(step * self.plan.batch, (step + 1) * self.plan.batch):
            epoch, index = divmod(number, windows)
            if self._order[0] != epoch:
                self._order = (epoch, self._shuffled(epoch, windows))
            places.append(self._order[1][index])
        return self.stream[torch.stack(places)[:, None] + torch.arange(context + 1)]

    def _shuffled(self, epoch: int, windows: int) -> Tensor:
        """Where the windows of an epoch begin, from the seed and the epoch alone: each epoch cuts elsewhere."""
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + epoch)
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


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, or leave the one before as it was.

    Raises:
        OSError: it cannot be written, as where the disk is full.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, RuntimeError):  # how torch reports a full disk
            raise OSError(f"{path} cannot be written: {' '.join(str(error).split()):.200}") from error
        raise


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are read, nothing is executed.

    Raises:
        ValueError: it is missing, broken or of another format.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist, expected the checkpoint of a run that was stopped") from None
    except OSError:
        raise
    except Exception as error:  # bytes that are no checkpoint fail in many ways
        raise ValueError(f"{path} is broken: {' '.join(str(error).split()) or 'it ends too soon':.200}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint of this program, expected format {FORMAT}")
    return content
