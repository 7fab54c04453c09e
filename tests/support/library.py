"""A made-up library of sources with files for all three parts, and settings of a model of a few thousand parameters."""

from __future__ import annotations

from pathlib import Path

from wdmoe_env.moe.small.corpus import part_of
from wdmoe_env.moe.small.model import Architecture
from wdmoe_env.moe.small.trainer import TrainingSchedule

TINY = Architecture(hidden=16, layers=2, heads=2, kv_heads=1, intermediate=8, context=16)
SIZES = {"hidden": 16, "layers": 2, "heads": 2, "kv_heads": 1, "intermediate": 8, "context": 16}


def schedule(**changes: object) -> TrainingSchedule:
    settings = {"steps": 8, "batch": 4, "muon_rate": 0.05, "adam_rate": 0.01, "warm_up": 2, "seed": 0}
    return TrainingSchedule(**{**settings, "precision": "fp32", **changes})  # type: ignore[arg-type]


def source(number: int) -> bytes:
    return f"def function_{number}(x):\n    return x + {number}\n\n".encode() * 4


def write_library(root: Path) -> dict[str, str]:
    """Write 60 files, some in a folder; return the part of each name."""
    names = [f"module_{number}.py" if number % 2 else f"package/module_{number}.py" for number in range(60)]
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source(number))
    return {name: part_of(name) for name in names}
