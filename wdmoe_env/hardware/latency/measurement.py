"""One measured latency, a row of a measurement table: its columns, and what follows from them."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}
EXPERT = "swiglu_expert"
MAX_S = 1e5
"""A single run may stall, but not for more than a day."""

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
    latency_s: float = Field(
        gt=0, le=MAX_S, allow_inf_nan=False, description=f"a finite number > 0, in seconds, at most {MAX_S:g}"
    )
    std_s: float | None = Field(
        default=None, ge=0, le=1e9, allow_inf_nan=False, description="empty or a finite number >= 0, in seconds"
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


def significant(value: float, digits: int = 6) -> float:
    """Value rounded to so many significant digits.

    >>> significant(0.00123456789, 3)
    0.00123
    """
    return float(f"{value:.{digits - 1}e}") if math.isfinite(value) else value
