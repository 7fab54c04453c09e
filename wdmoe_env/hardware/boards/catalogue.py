"""The board catalogue: what the simulator needs to know about a device, per power mode."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator
from typing_extensions import Self  # the board's Python 3.10 has none of its own

from wdmoe_env.files.yaml import read_yaml

CATALOGUE = Path(__file__).with_name("boards.yaml")


class Roofline(BaseModel):
    """Time of one expert for n > 0 tokens: ``launch_s + weight_bytes / memory_bandwidth + n * flops / peak_flops``.

    The figures are effective ones for 16-bit weights, so they lie below the specification.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    peak_flops: PositiveFloat = Field(description="effective fp16 rate, FLOP/s")
    memory_bandwidth: PositiveFloat = Field(description="effective memory bandwidth, B/s")
    launch_s: float = Field(ge=0, description="fixed cost of a call from PyTorch, host to host, s")
    median_error: float | None = Field(ge=0, description="median relative error on held-out shapes; None: not measured")
    measured: bool = Field(description="whether launch and bandwidth were fitted to this board's own measurements")
    peak_basis: Literal["fitted", "scaled", "spec"] = Field(
        description="fitted: to this mode's GEMMs; scaled: by units and clock from a fitted mode; spec: data sheet"
    )
    spec_peak: PositiveFloat = Field(description="dense fp16 tensor rate of this power mode by specification, FLOP/s")
    source: str

    @model_validator(mode="after")
    def _error_is_stated(self) -> Self:
        if self.measured == (self.median_error is None):
            raise ValueError(f"median_error={self.median_error} with measured={self.measured}: state it iff measured")
        return self


class Board(BaseModel):
    """One board: its memory, its specification and its roofline in each power mode."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    memory_gb: PositiveFloat = Field(description="memory shared by CPU and GPU, 10^9 B")
    spec_peak: PositiveFloat = Field(description="dense fp16 tensor rate in the fastest mode, FLOP/s")
    spec_bandwidth: PositiveFloat = Field(description="memory bandwidth in the fastest mode, B/s")
    default_mode: str
    power_modes: dict[str, Roofline] = Field(min_length=1)
    source: str

    @model_validator(mode="after")
    def _default_mode_exists(self) -> Self:
        if self.default_mode not in self.power_modes:
            raise ValueError(f"default_mode={self.default_mode!r} is none of {', '.join(self.power_modes)}")
        return self


@cache
def _catalogue() -> dict[str, Board]:
    return {name: Board(name=name, **entry) for name, entry in read_yaml(CATALOGUE).items()}


def board_names() -> tuple[str, ...]:
    """Names of all boards in the catalogue.

    >>> "orin-nano-8gb" in board_names()
    True
    """
    return tuple(_catalogue())


def load_board(name: str) -> Board:
    """Board of that name; raises ValueError listing the known boards when there is none.

    >>> load_board("agx-orin-64gb").memory_gb
    64.0
    """
    if name not in _catalogue():
        raise ValueError(f"board={name!r} is not in the catalogue; known boards: {', '.join(board_names())}")
    return _catalogue()[name]


def roofline(board: str, power_mode: str | None = None) -> Roofline:
    """Roofline of a board in a power mode (its default mode when None); ValueError for an unknown board or mode.

    >>> roofline("orin-nano-8gb", "15W").peak_basis
    'fitted'
    """
    entry = load_board(board)
    mode = entry.default_mode if power_mode is None else power_mode
    if mode not in entry.power_modes:
        known = ", ".join(entry.power_modes)
        raise ValueError(f"power_mode={mode!r} is not known for board {board!r}; known power modes: {known}")
    return entry.power_modes[mode]
