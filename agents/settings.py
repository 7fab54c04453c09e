"""Hyperparameters per algorithm and scenario, from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import yaml

Algorithm = Literal["ppo", "sac"]
FOLDER = Path(__file__).parent / "hyperparameters"


def hyperparameters(algorithm: Algorithm, scenario_name: str, **overrides: Any) -> dict[str, Any]:
    """Defaults of the algorithm, then the scenario's own, then `overrides`.

    Raises:
        ValueError: the algorithm or a key is unknown.
    """
    if algorithm not in get_args(Algorithm):
        raise ValueError(f"algo is {algorithm!r}, expected one of {', '.join(get_args(Algorithm))}")
    table = yaml.safe_load((FOLDER / f"{algorithm}.yaml").read_text(encoding="utf-8"))
    known = table["default"]
    if unknown := sorted(set(overrides) - set(known)):
        raise ValueError(f"unknown hyperparameter {unknown[0]!r} of {algorithm}, expected one of {', '.join(known)}")
    return {**known, **table.get(scenario_name, {}), **overrides}
