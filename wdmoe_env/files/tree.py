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


def check_same_tree(found: Any, expected: Any, place: str) -> None:
    """Compare keys, lengths and types, and shapes of tensors; None stands for a number that may be missing.

    Raises:
        ValueError: they differ; names the first place that does.
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted({*found, *expected}):
            if key not in expected or key not in found:
                raise ValueError(f"{place} {'has no' if key not in found else 'has an unknown'} {key:.60}")
            check_same_tree(found[key], expected[key], f"{place}.{key}")
    elif isinstance(found, list) and isinstance(expected, list):
        if len(found) != len(expected):
            raise ValueError(f"{place} is {_form(found)}, expected {_form(expected)}")
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            check_same_tree(one, other, f"{place}[{index}]")
    elif isinstance(found, Tensor) and isinstance(expected, Tensor):
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise ValueError(f"{place} is {_form(found)}, expected {_form(expected)}")
    elif type(found) is not type(expected) and {type(found), type(expected)} != {float, type(None)}:
        raise ValueError(f"{place} is {_form(found)}, expected {_form(expected)}")


def _form(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.dtype}"
    return f"{len(value)} values" if isinstance(value, (dict, list)) else f"{type(value).__name__} {value!r:.60}"
