"""The base station's part of a model: all of it but the experts, in whose place calls to the devices stand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from wdmoe_env.moe.local_model import LOCAL, Precision, load_model

Run = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Layer, (T, H) rows, (T, K) experts and their (T, K) weights -> (T, H) weighted sums."""


class RemoteExperts(nn.Module):
    """Stands where a layer's experts were, has no weights, and asks somebody else.

    Attributes:
        layer: MoE layer, from 0.
        run: who is asked.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layer = -1
        self.run: Run | None = None
        # The library draws weights anew for what it does not find in the files, and asks for these by name.
        self.gate_up_proj = self.down_proj = torch.empty(0)

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Ask for the weighted sums."""
        if self.run is None:
            raise RuntimeError("no devices are attached to this model: see testbed.cell.attached")
        return self.run(self.layer, hidden_states, top_k_index, top_k_weights)


def load_split(folder: Path, precision: Precision = "stored", device: str = "cpu") -> nn.Module:
    """Load a model without its experts, whose tensors are not read.

    Raises:
        ValueError: as `load_model`; or the model has no experts that can be told from the rest of it.
    """
    kind = _experts_class(folder)
    module = sys.modules[kind.__module__]
    # The one way in which the library builds a model without memory for the experts, yet loads all else as always.
    setattr(module, kind.__name__, RemoteExperts)
    try:
        model: nn.Module = load_model(folder, precision, device)
    finally:
        setattr(module, kind.__name__, kind)
    for layer, remote in enumerate(_remotes(model)):
        remote.layer = layer
    return model


def _experts_class(folder: Path) -> type[nn.Module]:
    """The class of the model's experts, found in a model that takes no memory."""
    try:
        make: Any = AutoModelForCausalLM
        config = AutoConfig.from_pretrained(folder, **LOCAL)
        with torch.device("meta"):
            model = make.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever a broken or foreign folder makes the library raise
        raise ValueError(f"{folder} cannot be loaded as a language model: {error!s:.300}") from error
    blocks = [module for module in model.modules() if isinstance(getattr(module, "experts", None), nn.Module)]
    kinds = {type(block.experts) for block in blocks}
    if len(kinds) != 1 or not hasattr(blocks[0].experts, "gate_up_proj"):
        found = ", ".join(sorted(kind.__name__ for kind in kinds)) or "none"
        raise ValueError(f"{folder}: the experts of its layers are {found}, expected one class with gate_up_proj")
    return kinds.pop()


def _remotes(model: nn.Module) -> list[RemoteExperts]:
    return [module for module in model.modules() if isinstance(module, RemoteExperts)]


@contextmanager
def attached(model: nn.Module, run: Run) -> Iterator[None]:
    """Let `run` stand for the experts of every layer while the context is open.

    Raises:
        ValueError: the model has its experts itself.
        RuntimeError: another one is attached.
    """
    if not (remotes := _remotes(model)):
        raise ValueError("the model has its experts itself, expected one of load_split")
    if remotes[0].run is not None:
        raise RuntimeError("devices are attached to this model already: close that context first")
    try:
        for remote in remotes:
            remote.run = run
        yield
    finally:
        for remote in remotes:
            remote.run = None
