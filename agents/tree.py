"""Trees of plain values, arrays and tensors, taken apart into JSON and named tensors, and put together again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def flatten(tree: Any, prefix: str, tensors: dict[str, Tensor]) -> Any:
    """Move the tensors and arrays of a tree into `tensors`; return the rest, fit for JSON, with references to them."""
    if isinstance(tree, (Tensor, np.ndarray)):
        tensor = tree if isinstance(tree, Tensor) else torch.from_numpy(np.array(tree, order="C"))
        tensors[prefix] = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        return {"__tensor__": prefix, "complex": tensor.is_complex()}
    if isinstance(tree, Mapping):
        return {str(key): flatten(value, f"{prefix}.{key}", tensors) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [flatten(value, f"{prefix}.{index}", tensors) for index, value in enumerate(tree)]
    return tree.item() if isinstance(tree, np.generic) else tree


def unflatten(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put the tensors back into what `flatten` returned; all of them come back as tensors."""
    if isinstance(tree, dict) and "__tensor__" in tree:
        tensor = tensors[tree["__tensor__"]]
        return torch.view_as_complex(tensor) if tree["complex"] else tensor
    if isinstance(tree, dict):
        return {key: unflatten(value, tensors) for key, value in tree.items()}
    if isinstance(tree, list):
        return [unflatten(value, tensors) for value in tree]
    return tree
