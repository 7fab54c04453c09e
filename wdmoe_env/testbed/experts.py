"""The experts that a device holds, and the weighted sum that it answers with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from wdmoe_env.testbed.shares import ExpertFiles, all_matrices

ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "silu": functional.silu,
    "swish": functional.silu,
    "gelu": functional.gelu,
    "gelu_pytorch_tanh": lambda values: functional.gelu(values, approximate="tanh"),
    "relu": functional.relu,
}


class Experts:
    """Some experts of every layer, in memory.

    Attributes:
        numbers: which, rising.
        layers, hidden: of the model.
        model, share: SHA-256 of what they are of, and of their weights.
        dtype: what they compute in.
        device: where, such as cpu or cuda.
    """

    def __init__(self, files: ExpertFiles, numbers: Sequence[int], device: str = "cpu") -> None:
        """Read the experts `numbers` from `files`, and no others.

        Raises:
            ValueError: one is not there, or the activation function is unknown.
        """
        if files.activation not in ACTIVATIONS:
            raise ValueError(
                f"{files.folder}: hidden_act is {files.activation!r}, expected one of {', '.join(ACTIVATIONS)}"
            )
        if missing := [expert for expert in numbers if expert not in files.experts]:
            raise ValueError(f"{files.folder} holds no expert {missing[0]}")
        self.numbers, self.layers, self.hidden = tuple(numbers), files.layers, files.hidden
        self.model, self.share = files.model, files.digest(numbers)
        self.dtype, self.device = files.dtype, torch.device(device)
        self._act = ACTIVATIONS[files.activation]
        self._matrices = {
            # Gate and up in one product: for few tokens calls cost more than arithmetic.
            (layer, expert): (torch.cat([found["gate"], found["up"]]).to(self.device), found["down"].to(self.device))
            for layer, expert, found in all_matrices(files, numbers)
        }

    def __call__(self, layer: int, experts: Sequence[int], rows: Tensor, weights: Tensor) -> Tensor:
        """Sum of the experts' outputs by weight: (T, H) of (T, H) rows and (T, M) weights, one column an expert.

        Of several experts a token takes part in those where its weight is not 0.
        """
        if len(experts) == 1:
            return self._expert(layer, experts[0], rows).mul_(weights)
        out = torch.zeros(rows.shape, dtype=self.dtype, device=self.device)
        for column, expert in enumerate(experts):
            index = weights[:, column].nonzero()[:, 0]
            part = self._expert(layer, expert, rows[index]).mul_(weights[index, column, None])
            out.index_add_(0, index, part)
        return out

    def _expert(self, layer: int, expert: int, rows: Tensor) -> Tensor:
        """What an expert makes of (T, H) rows."""
        gate_up, down = self._matrices[layer, expert]
        gate, up = functional.linear(rows, gate_up).chunk(2, dim=-1)
        return functional.linear(self._act(gate).mul_(up), down)

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timed(self, layer: int, experts: Sequence[int], rows: Tensor, weights: Tensor) -> tuple[Tensor, list[float]]:
        """The sum, on the CPU, and the seconds that copying in, computing and copying out took."""
        marks = [time.perf_counter()]

        def mark() -> None:
            self.wait()
            marks.append(time.perf_counter())

        with torch.inference_mode():
            rows = rows.to(self.device, self.dtype)
            weights = weights.to(self.device, self.dtype)
            mark()
            out = self(layer, experts, rows, weights)
            mark()
            out = out.cpu()
            mark()
        return out, [end - start for start, end in pairwise(marks)]
