"""What a live testbed recorded: each layer measured and predicted, and the devices of one layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from explorer.figures.style import COLOURS, GREY, Figure, axis, device_axis, layout, plain, rounded
from explorer.view import ViewError
from wdmoe_env.files.safe import StorageError, read_file

if TYPE_CHECKING:
    import polars as pl

LAYERS, CALLS = "layers.parquet", "calls.parquet"
MAX_BYTES: Final = 256 * 2**20
PARTS: Final = "air", "compute", "copy", "queue", "overhead"
"""Of a call's time, see `wdmoe_env.testbed.layer.LayerRecord.parts`."""
SHADES: Final = "#0072B2", "#E69F00", "#CC79A7", "#009E73", "#999999"
COLUMNS: Final = {
    LAYERS: ("policy", "run", "episode", "step", "predicted_s", "measured_s"),
    CALLS: ("policy", "run", "episode", "step", "device", "name", "predicted_s", *(f"{part}_part_s" for part in PARTS)),
}


@dataclass(frozen=True, slots=True)
class Recording:
    """The tables of one recording.

    Attributes:
        layers: a row for each layer, in the order they were run.
        calls: a row for each call of a device.
    """

    layers: pl.DataFrame
    calls: pl.DataFrame


def read_recording(folder: Path) -> Recording:
    """Read a folder that `evaluate.py --testbed` wrote.

    Raises:
        ViewError: a file is missing, broken, or lacks a column.
    """
    return Recording(_table(folder, LAYERS), _table(folder, CALLS))


def _table(folder: Path, name: str) -> pl.DataFrame:
    import polars as pl

    try:
        table = pl.read_parquet(read_file(folder / name, MAX_BYTES))
    except (StorageError, pl.exceptions.PolarsError) as error:
        raise ViewError(f"{folder.name}/{name} cannot be read: {error}") from error
    if missing := [column for column in COLUMNS[name] if column not in table.columns]:
        raise ViewError(f"{folder.name}/{name} lacks the column {missing[0]}")
    if not len(table):
        raise ViewError(f"{folder.name}/{name} has no rows")
    return table


def layers_figure(recording: Recording, texts: Mapping[str, str]) -> Figure:
    """Latency of each layer, ms: measured as line, predicted as dots, a colour for each policy."""
    layers = recording.layers
    data: list[dict[str, Any]] = []
    for place, policy in enumerate(dict.fromkeys(layers["policy"])):
        rows = layers.with_row_index("row").filter(layers["policy"] == policy)
        colour = COLOURS[place % len(COLOURS)]
        for name, look in (
            ("measured", {"mode": "lines", "line": {"color": colour, "width": 1.6}}),
            ("predicted", {"mode": "markers", "marker": {"color": colour, "size": 5, "symbol": "circle-open"}}),
        ):
            values = rounded(1e3 * rows[f"{name}_s"].to_numpy())
            label = f"{plain(str(policy))}, {texts[name]}"
            hover = {"hovertemplate": f"{label}: %{{y:.4g}} ms<extra></extra>", "name": label}
            data.append({"type": "scatter", "x": rows["row"].to_list(), "y": values, **look, **hover})
    axes = {"xaxis": axis(texts["axis_record"]), "yaxis": axis(texts["axis_latency"], rangemode="tozero")}
    legend = {"showlegend": True, "legend": {"orientation": "h", "y": 1.12}}
    return {"data": data, "layout": layout(340, hovermode="x unified", **axes, **legend)}


def devices_figure(recording: Recording, row: int, texts: Mapping[str, str]) -> Figure:
    """The devices of one layer: parts of the measured time on top of each other, a line at what was predicted.

    Raises:
        ViewError: the recording has no such layer.
    """
    import polars as pl

    if row >= len(recording.layers):
        raise ViewError(f"row is {row}, expected 0 to {len(recording.layers) - 1}")
    which = recording.layers.row(row, named=True)
    calls = recording.calls.filter(
        pl.all_horizontal(pl.col(key) == which[key] for key in ("policy", "run", "episode", "step"))
    )
    count = int(recording.calls["device"].max()) + 1  # type: ignore[arg-type]  # of a column of whole numbers
    names = dict(zip(recording.calls["device"].to_list(), recording.calls["name"].to_list(), strict=True))
    data: list[dict[str, Any]] = []
    for part, colour in zip(PARTS, SHADES, strict=True):
        values = rounded(1e3 * calls[f"{part}_part_s"].fill_null(0.0).to_numpy())
        hover = f"%{{customdata}}<br>{texts[f'part_{part}']}: %{{y:.3g}} ms<extra></extra>"
        label = [f"{device} {plain(str(names[device]))}" for device in calls["device"]]
        bar = {"type": "bar", "x": calls["device"].to_list(), "y": values, "marker": {"color": colour}}
        data.append(bar | {"name": texts[f"part_{part}"], "customdata": label, "hovertemplate": hover})
    marks = {
        "mode": "markers",
        "marker": {"symbol": "line-ew-open", "size": 22, "color": "#1f2933", "line": {"width": 3}},
    }
    predicted = rounded(1e3 * calls["predicted_s"].to_numpy())
    hover = f"{texts['predicted']}: %{{y:.3g}} ms<extra></extra>"
    data.append(
        {"type": "scatter", "x": calls["device"].to_list(), "y": predicted, "name": texts["predicted"]}
        | marks
        | {"hovertemplate": hover}
    )
    axes = {
        "xaxis": device_axis([str(names.get(device, "")) for device in range(count)], texts["axis_device"]),
        "yaxis": axis(texts["axis_ms"], rangemode="tozero"),
    }
    shapes = [_ends(1e3 * which["measured_s"], "#1f2933", "solid"), _ends(1e3 * which["predicted_s"], GREY, "dash")]
    legend = {"showlegend": True, "legend": {"orientation": "h", "y": 1.15}}
    return {"data": data, "layout": layout(340, barmode="stack", shapes=shapes, **axes, **legend)}


def _ends(height: float, colour: str, dash: str) -> dict[str, Any]:
    line = {"color": colour, "width": 1.4, "dash": dash}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height, "line": line}
