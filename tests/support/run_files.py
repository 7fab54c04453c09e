"""Compare what training runs left on disk."""

import csv
from pathlib import Path

import torch
from rich.console import Console

from agents.files.run_dir import RunDir
from wdmoe_env.files.tensors import load_folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "time/steps_per_second"} for row in csv.DictReader(file)]


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("metrics.csv", "evaluations.csv"):
        assert table(one / name) == table(other / name)
    newest = [RunDir(path).checkpoints()[-1] for path in (one, other)]
    assert newest[0].name == newest[1].name
    for left, right, stem in ((*newest, "state"), (one / "best", other / "best", "policy")):
        (tensors, data), (others, other_data) = load_folder(left, stem, 2**30), load_folder(right, stem, 2**30)
        assert data == other_data
        assert tensors.keys() == others.keys()
        for name, tensor in tensors.items():
            assert tensor.dtype == others[name].dtype, name
            assert torch.equal(tensor, others[name]), name


def text(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]
