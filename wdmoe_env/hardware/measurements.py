"""Measured latencies: one row a measurement, read from and written to CSV or Parquet, every row checked."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wdmoe_env.hardware.plausible import implausible
from wdmoe_env.hardware.tables import Fault, read_rows, refuse, write_rows

TABLE = Path(__file__).with_name("measurements.csv")
BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}
EXPERT = "swiglu_expert"

Operation = Literal["swiglu_expert", "gemm", "gemm_burst", "gemv", "stream_add"]


class Measurement(BaseModel):
    """Latency of one operation: of one run (`trial` says which), or the mean over `trials` runs.

    `hidden` x `intermediate` is the shape of a weight matrix. A swiglu_expert holds three of them (gate, up, down); a
    product (gemm, gemm_burst, gemv) is ``(tokens, hidden) @ (hidden, intermediate)`` and has one.
    gemm: after many warm-up runs. gemm_burst: a few runs in a fresh process, the GPU clock still rising.
    gemv: tokens = 1. stream_add: ``a + b``, tokens = elements, hidden = 2 arrays read, intermediate = 1 array written.
    timer: host (includes launch and synchronisation) or event (on the GPU, excludes them).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    board: str = Field(min_length=1, description="a name")
    power_mode: str = Field(min_length=1, description="a name")
    operation: Operation
    tokens: int = Field(ge=1, le=1 << 40, description="a whole number >= 1")
    hidden: int = Field(ge=1, le=1 << 24, description="a whole number >= 1")
    intermediate: int = Field(ge=1, le=1 << 24, description="a whole number >= 1")
    precision: Literal["fp16", "bf16", "fp32"]
    weight_bits: float | None = Field(
        default=None,
        gt=0,
        le=64,
        description="empty (the bits of precision) or a number from 0 to 64, bits of one weight",
    )
    timer: Literal["host", "event"] = "host"
    latency_s: float = Field(gt=0, allow_inf_nan=False, description="a finite number > 0, in seconds")
    std_s: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="empty or a finite number >= 0, in seconds"
    )
    min_s: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="empty or a finite number > 0, in seconds: the fastest run"
    )
    trials: int = Field(default=1, ge=1, le=1 << 40, description="a whole number >= 1, runs behind latency_s")
    trial: int | None = Field(
        default=None, ge=0, le=1 << 40, description="empty or a whole number >= 0, which run this was"
    )
    time_s: float | None = Field(
        default=None, ge=0, le=1e11, description="empty or seconds since 1970 (or since the start), not milliseconds"
    )
    energy_j: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="empty or a finite number > 0, in joules for one run"
    )
    temperature_c: float | None = Field(
        default=None,
        ge=-60,
        le=150,
        description="empty or degrees Celsius from -60 to 150 (not kelvin, not thousandths)",
    )
    source: str = Field(default="", description="where the figure comes from")

    @property
    def shape(self) -> tuple[str, int, int, int]:
        """What was computed, whatever the run: rows of one shape are repeats of each other."""
        return self.operation, self.tokens, self.hidden, self.intermediate

    @property
    def flops(self) -> float:
        """Floating-point operations on the tensor cores; none for stream_add, which runs on the others."""
        if self.operation == "stream_add":
            return 0.0
        return self.matrices * 2.0 * self.tokens * self.hidden * self.intermediate

    @property
    def matrices(self) -> int:
        """Weight matrices of hidden x intermediate."""
        return {EXPERT: 3, "stream_add": 0}.get(self.operation, 1)

    @property
    def weight_bytes(self) -> float:
        """Bytes of the weights."""
        bits = 8 * BYTES[self.precision] if self.weight_bits is None else self.weight_bits
        return self.matrices * self.hidden * self.intermediate * bits / 8

    @property
    def bytes(self) -> float:
        """Bytes that cross the memory bus at least once: weights, input and output; of an expert its weights alone.

        What an expert's activations take grows with the tokens as its FLOPs do, so a fit counts it there.
        """
        if self.operation == EXPERT:
            return self.weight_bytes
        return self.weight_bytes + float(BYTES[self.precision] * self.tokens * (self.hidden + self.intermediate))


COLUMNS = tuple(Measurement.model_fields)
REQUIRED = tuple(name for name, field in Measurement.model_fields.items() if field.is_required())


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


def significant(value: float, digits: int = 6) -> float:
    """Value rounded to so many significant digits.

    >>> significant(0.00123456789, 3)
    0.00123
    """
    return float(f"{value:.{digits - 1}e}") if math.isfinite(value) else value


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
