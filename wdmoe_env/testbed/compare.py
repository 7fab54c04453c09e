"""The command `compare`: show where the predicted and the measured time of layers part, by policy and by device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tyro

from wdmoe_env.testbed.records import CALLS, LAYERS

if TYPE_CHECKING:
    import polars as pl

PARTS: Final = ("air", "compute", "queue", "copy", "overhead")


@dataclass(frozen=True)
class Options:
    """Show where the predicted and the measured time of layers part."""

    results: tyro.conf.Positional[Path]
    """Folder that `evaluate.py --testbed` wrote."""
    skip: int = 0
    """Layers at the beginning of each episode that are left out."""


def main(options: Options) -> int:
    """Print both tables and return 0.

    Raises:
        ValueError: the folder holds no records of a testbed.
    """
    import polars as pl
    from rich.console import Console

    for name in (LAYERS, CALLS):
        if not (options.results / name).is_file():
            raise ValueError(f"{options.results} holds no {name}, expected the results of evaluate.py --testbed")
    if options.skip < 0:
        raise ValueError(f"--skip is {options.skip}, expected at least 0")
    layers = pl.read_parquet(options.results / LAYERS).filter(pl.col("step") >= options.skip)
    calls = pl.read_parquet(options.results / CALLS).filter(pl.col("step") >= options.skip)
    console = Console(width=None if Console().is_terminal else 140)
    console.print(_table("layers, by policy", _LAYERS, by_policy(layers)))
    console.print(_table("calls, by device: median ms, predicted against measured parts", _CALLS, by_device(calls)))
    return 0


_LAYERS: Final = (
    *("policy", "layers", "predicted ms", "measured ms", "ratio", "error", "error, p95", "asked again", "lost mass"),
    "decided ms",
)
_CALLS: Final = (
    "device",
    "calls",
    "predicted",
    "measured",
    "air, predicted",
    "air",
    "compute, predicted",
    "compute",
    *PARTS[2:],
)


def by_policy(layers: pl.DataFrame) -> Iterable[list[Any]]:
    """Rows of the first table; the last is of all layers."""
    groups = [(str(name), layers.filter(layers["policy"] == name)) for name in dict.fromkeys(layers["policy"])]
    for name, rows in [*groups, ("all", layers)]:
        predicted, measured = rows["predicted_s"].to_numpy(), rows["measured_s"].to_numpy()
        error = np.abs(measured / predicted - 1.0)
        yield [
            name,
            len(rows),
            *(float(np.median(values)) * 1e3 for values in (predicted, measured)),
            float(measured.sum() / predicted.sum()),
            *(f"{100 * value:.1f} %" for value in (np.median(error), np.quantile(error, 0.95))),
            int((rows["attempts"] > 1).sum()),
            float(rows["lost_mass"].sum()),
            float(rows["decision_s"].median()) * 1e3,  # type: ignore[arg-type]
        ]


def by_device(calls: pl.DataFrame) -> Iterable[list[Any]]:
    """Rows of the second table."""
    for name in dict.fromkeys(calls["name"]):
        rows = calls.filter((calls["name"] == name) & (calls["outcome"] == "answered"))
        if not len(rows):
            continue
        found = {part: _median_ms(rows[f"{part}_part_s"]) for part in PARTS}
        predicted, computing = rows["predicted_s"], rows["predicted_compute_s"]
        measured = _median_ms(rows["total_s"] / rows["slow_down"])
        yield [
            *(name, len(rows), _median_ms(predicted), measured, _median_ms(predicted - computing), found["air"]),
            *(_median_ms(computing), found["compute"], *(found[part] for part in PARTS[2:])),
        ]


def _median_ms(seconds: pl.Series) -> float:
    return 1e3 * float(np.median(seconds.to_numpy()))


def _table(title: str, columns: Iterable[str], rows: Iterable[list[Any]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    return table
