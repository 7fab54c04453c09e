"""A small save, and whether it is whole."""

from pathlib import Path

import torch

from wdmoe_env.files.tensors import load_folder

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2]), "c": torch.tensor(3.0)}
DATA = {"name": "x", "list": [1, 2.5, None], "deep": {"third": 1 / 3}}


def assert_intact(folder: Path) -> None:
    tensors, data = load_folder(folder, "policy", 2**20)
    assert data == DATA
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensor.dtype == tensors[name].dtype
        assert torch.equal(tensor, tensors[name])
