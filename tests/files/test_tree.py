from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from wdmoe_env.files.tree import check_same_tree, flatten, unflatten


def test_tree_round_trip() -> None:
    tree: dict[Any, Any] = {
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


TREE: dict[str, Any] = {
    "a": torch.zeros(2, 3),
    "b": {"count": 1, "share": 0.5, "flag": False, "list": [1, 2]},
    "none": None,
}


def test_same_tree() -> None:
    check_same_tree(TREE, TREE, "x")
    check_same_tree({**TREE, "none": 1.5}, TREE, "x")
    check_same_tree(TREE, {**TREE, "none": 1.5}, "x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": torch.zeros(3, 2)}, r"x\.a is \(3, 2\) torch.float32, expected \(2, 3\)"),
        ({"a": torch.zeros(2, 3, dtype=torch.float64)}, r"x\.a is .* torch.float64, expected .* torch.float32"),
        ({"a": [0.0]}, r"x\.a is 1 values, expected \(2, 3\)"),
        ({"../../evil": torch.zeros(1)}, r"x has an unknown \.\./\.\./evil"),
        ({"b": {"count": 1}}, r"x\.b has no flag"),
        ({"b": {**TREE["b"], "count": True}}, r"x\.b\.count is bool True, expected int 1"),
        ({"b": {**TREE["b"], "count": 1.0}}, r"x\.b\.count is float 1\.0, expected int"),
        ({"b": {**TREE["b"], "share": 1}}, r"x\.b\.share is int 1, expected float"),
        ({"b": {**TREE["b"], "flag": 0}}, r"x\.b\.flag is int 0, expected bool"),
        ({"b": {**TREE["b"], "list": [1]}}, r"x\.b\.list is 1 values, expected 2 values"),
        ({"b": {**TREE["b"], "list": [1, "2"]}}, r"x\.b\.list\[1\] is str '2', expected int"),
        ({"none": "x"}, r"x\.none is str 'x', expected NoneType"),
    ],
)
def test_other_trees(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_same_tree({**TREE, **change}, TREE, "x")
    with pytest.raises(ValueError, match="x has no a"):
        check_same_tree({"b": TREE["b"], "none": None}, TREE, "x")
