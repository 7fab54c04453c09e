from __future__ import annotations

import json

import numpy as np
import torch

from agents.tree import flatten, unflatten


def test_tree_round_trip() -> None:
    tree = {
        "complex": np.array([[1 + 2j, 3j]]),
        "bool": np.array([True, False]),
        "strided": np.arange(6).reshape(2, 3).T,
        "tensor": torch.ones(2),
        "numbers": (1, 2.5, np.int64(3), None, "x", 2**100),
        5: {"empty": np.zeros((0, 2))},
    }
    tensors: dict[str, torch.Tensor] = {}
    plain = json.loads(json.dumps(flatten(tree, "t", tensors)))
    back = unflatten(plain, {name: tensor.contiguous() for name, tensor in tensors.items()})
    assert back["numbers"] == [1, 2.5, 3, None, "x", 2**100]
    for name in ("complex", "bool", "strided"):
        assert back[name].numpy().dtype == tree[name].dtype
        np.testing.assert_array_equal(back[name].numpy(), tree[name])
    assert back["5"]["empty"].shape == (0, 2)
