"""Infos: the flat keys that `reset` and `step` of every view of the simulator return, with the same types always."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.system.metrics import SCHEMA

PREFIX: Final = "metrics/"
KEYS: Final = {name: f"{PREFIX}{name}" for name in SCHEMA}
"""Key of each metric of `wdmoe_env.system.metrics.SCHEMA`."""


def of_step(metrics: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What a step brought: (N,) arrays."""
    return {KEYS[name]: values for name, values in metrics.items()}


def of_reset(num_envs: int) -> dict[str, NDArray[Any]]:
    """The same before the first step: NaN, and -1 for an index. A 0 would pass for a measurement in a mean."""
    return {KEYS[name]: np.full(num_envs, -1 if kind is np.int64 else np.nan, kind) for name, kind in SCHEMA.items()}


def masked(infos: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """With Gymnasium's mask beside each key, all true: every environment of the batch has it."""
    found: dict[str, Any] = {}
    for key, values in infos.items():
        found |= {key: values, f"_{key}": np.ones(len(values), dtype=bool)}
    return found


def each(infos: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """One dict of Python's own numbers for each environment."""
    return [dict(zip(infos, row, strict=True)) for row in zip(*(v.tolist() for v in infos.values()), strict=True)]


def only(infos: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Those of a batch of one, as NumPy scalars."""
    return {key: values[0] for key, values in infos.items()}
