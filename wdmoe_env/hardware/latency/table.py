"""Measured latencies: one row a measurement, read from and written to CSV or Parquet, every row checked."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from wdmoe_env.files.tables import Fault, read_rows, refuse, write_rows
from wdmoe_env.hardware.latency.measurement import COLUMNS, REQUIRED, Measurement, significant
from wdmoe_env.hardware.latency.plausible import implausible

TABLE = Path(__file__).with_name("measurements.csv")


def read_measurements(path: Path = TABLE) -> list[Measurement]:
    """Rows of a measurement table, CSV or (by its name) Parquet. Every row is checked before anything is returned.

    Raises:
        ValueError: the file is no table, a column is missing or unknown, or any row is faulty or physically
            implausible. The message lists file, row, column, value and what was expected, 20 faults at most.
        ImportError: the table is Parquet and polars is not installed.
    """
    faults: list[Fault] = []
    rows: list[Measurement] = []
    places: list[tuple[int, dict[str, str]]] = []
    for number, cells in read_rows(path, REQUIRED, COLUMNS, faults):
        if (row := _parse(number, cells, faults)) is not None:
            rows.append(row)
            places.append((number, cells))
    for index, column, expected in implausible(rows):
        number, cells = places[index]
        faults.append(Fault(number, column, cells[column], expected))
    refuse(path, sorted(faults, key=lambda fault: fault.row))
    if not rows:
        raise ValueError(f"{path}: the table has a header and no rows, expected at least one measurement")
    return rows


def write_measurements(path: Path, rows: Iterable[Measurement]) -> None:
    """Write rows as a table, CSV or (by its name) Parquet. Times keep 6 digits; empty optional columns are left out."""
    content = list(rows)
    empty = {name: Measurement.model_fields[name].default for name in COLUMNS if name not in REQUIRED}
    columns = [
        name for name in COLUMNS if name not in empty or any(getattr(row, name) != empty[name] for row in content)
    ]
    write_rows(path, columns, ([_cell(row, name) for name in columns] for row in content))


def cells_of(row: Measurement) -> list[object]:
    """Cells of a row in the order of COLUMNS; None is an empty cell."""
    return [_cell(row, name) for name in COLUMNS]


def _cell(row: Measurement, name: str) -> object:
    value = getattr(row, name)
    return significant(value) if isinstance(value, float) and name != "time_s" else value


def _parse(number: int, cells: Mapping[str, str], faults: list[Fault]) -> Measurement | None:
    # An empty cell of a required column stays, to be refused with its own words.
    values = {name: value for name, value in cells.items() if value != "" or name in REQUIRED}
    try:
        return Measurement.model_validate(values)
    except ValidationError as error:
        for fault in error.errors():
            column = str(fault["loc"][0])
            expected = Measurement.model_fields[column].description or fault["msg"].removeprefix("Input should be ")
            faults.append(Fault(number, column, cells[column], expected))
        return None
