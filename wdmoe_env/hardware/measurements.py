"""Measured latencies: one row a measurement, read from and written to CSV, every row checked."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

TABLE = Path(__file__).with_name("measurements.csv")
BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}

Operation = Literal["gemm", "gemm_burst", "gemv", "stream_add"]


class Measurement(BaseModel):
    """Mean latency of one operation of ``(tokens, inputs) @ (inputs, outputs)``, or of ``a + b`` (stream_add).

    gemm: after many warm-up runs. gemm_burst: a few runs in a fresh process, the GPU clock still rising.
    gemv: tokens = 1. stream_add: tokens = elements, inputs = 2 arrays read, outputs = 1 array written.
    timer: host (includes launch and synchronisation) or event (on the GPU, excludes them).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    board: str = Field(min_length=1, description="a name")
    power_mode: str = Field(min_length=1, description="a name")
    operation: Operation
    tokens: int = Field(ge=1, description="a whole number >= 1")
    inputs: int = Field(ge=1, description="a whole number >= 1")
    outputs: int = Field(ge=1, description="a whole number >= 1")
    precision: Literal["fp16", "bf16", "fp32"]
    timer: Literal["host", "event"]
    latency_s: float = Field(gt=0, allow_inf_nan=False, description="a finite number > 0, in seconds")
    std_s: float | None = Field(ge=0, allow_inf_nan=False, description="empty or a finite number >= 0, in seconds")
    trials: int = Field(ge=1, description="a whole number >= 1")
    source: str = Field(min_length=1, description="where the figure comes from")

    @property
    def shape(self) -> tuple[str, int, int, int]:
        """What was computed, whatever the run: rows of one shape are repeats of each other."""
        return self.operation, self.tokens, self.inputs, self.outputs

    @property
    def flops(self) -> float:
        """Floating-point operations on the tensor cores; none for stream_add, which runs on the others."""
        return 0.0 if self.operation == "stream_add" else 2.0 * self.tokens * self.inputs * self.outputs

    @property
    def bytes(self) -> float:
        """Bytes that must cross the memory bus at least once: weights and activations."""
        if self.operation == "stream_add":
            values = self.tokens * (self.inputs + self.outputs)
        else:
            values = self.tokens * (self.inputs + self.outputs) + self.inputs * self.outputs
        return float(BYTES[self.precision] * values)


COLUMNS = tuple(Measurement.model_fields)


def read_measurements(path: Path = TABLE) -> list[Measurement]:
    """Rows of a measurement table; ValueError names file, row, column, value and what was expected."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path}: column {', '.join(missing)} is missing; expected columns: {', '.join(COLUMNS)}")
        # Line numbers, not row numbers: they are what an editor shows.
        return [_parse(raw, f"{path}, row {reader.line_num}") for raw in reader]


def write_measurements(path: Path, rows: Iterable[Measurement]) -> None:
    """Write rows as a measurement table, times to 6 significant digits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            values = row.model_dump()
            values["latency_s"] = significant(row.latency_s)
            values["std_s"] = "" if row.std_s is None else significant(row.std_s)
            writer.writerow(values[name] for name in COLUMNS)


def significant(value: float, digits: int = 6) -> float:
    """Value rounded to so many significant digits.

    >>> significant(0.00123456789, 3)
    0.00123
    """
    return float(f"{value:.{digits - 1}e}") if math.isfinite(value) else value


def _parse(raw: dict[str, str | None], where: str) -> Measurement:
    values = {name: (None if name == "std_s" and value == "" else value) for name, value in raw.items()}
    try:
        return Measurement.model_validate(values)
    except ValidationError as error:
        column = str(error.errors()[0]["loc"][0])
        field = Measurement.model_fields.get(column)
        expected = (field.description if field else "no such column") or error.errors()[0]["msg"]
        raise ValueError(f"{where}, column {column}: value {raw.get(column)!r}, expected {expected}") from None
