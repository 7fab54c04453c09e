"""Which measurements a device of a scenario replays: found by board and power mode, read once while a file stays."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.hardware.boards.catalogue import board_names, load_board, roofline
from wdmoe_env.hardware.latency.measurement import Measurement
from wdmoe_env.hardware.latency.replay import (
    LatencyDistribution,
    LatencySequence,
    latency_distribution,
    latency_sequence,
)
from wdmoe_env.hardware.latency.table import TABLE, read_measurements

Floats = NDArray[np.float64]
ReplayMode = Literal["distribution", "sequence"]
LatencyReplay = LatencyDistribution | LatencySequence


class Source(NamedTuple):
    """Rows of a table.

    Attributes:
        file: path of a measurement table; None: the shipped one.
        board: name in the table; None: the only one that the file holds.
        power_mode: None: the default mode of a shipped board, or the only one that the file holds of the board.
    """

    file: str | None = None
    board: str | None = None
    power_mode: str | None = None

    def rows(self) -> list[Measurement]:
        """The rows.

        Raises:
            ValueError: there is no such file, board or power mode, or the shipped board is modelled, not measured.
        """
        if self.file is None:
            key = _shipped(self.board, self.power_mode)
            return [row for row in _read(str(TABLE), None) if (row.board, row.power_mode) == key]
        table = _read(self.file, _version(self.file))
        board = _named("board", self.board, [row.board for row in table], self.file)
        mine = [row for row in table if row.board == board]
        place = f"{self.file}, board {board!r}"
        mode = _named("power_mode", self.power_mode, [row.power_mode for row in mine], place)
        return [row for row in mine if row.power_mode == mode]


class Shape(NamedTuple):
    """The expert whose latency is wanted, and for how many tokens at most."""

    hidden: int
    intermediate: int
    max_tokens: int
    weight_bits: float


def recording(source: Source, replay: ReplayMode, shape: Shape) -> LatencyReplay:
    """What a device replays.

    Raises:
        ValueError: as `Source.rows`; or the rows do not determine it. Names file, board and power mode.
    """
    return _recording(source, replay, shape, _version(source.file))


def median_seconds(kept: LatencyReplay, max_tokens: int) -> Floats:
    """(max_tokens + 1,) median latency of an expert by tokens, s."""
    values = kept.median_s if isinstance(kept, LatencySequence) else np.median(kept.table[0], axis=-1)
    return np.asarray(values[: max_tokens + 1])


def affine_fit(seconds: Floats) -> tuple[float, float]:
    """Least-squares fit `fixed + n * per_token`, neither negative, to the seconds of 1, 2, ... tokens.

    >>> affine_fit(np.array([3.0, 5.0, 7.0]))
    (1.0, 2.0)
    """
    tokens = np.arange(1, len(seconds) + 1, dtype=np.float64)
    centred = tokens - tokens.mean()
    spread = float(centred @ centred)
    slope = max(float(centred @ seconds) / spread, 0.0) if spread else 0.0
    fixed = float(seconds.mean()) - slope * float(tokens.mean())
    if fixed < 0.0:
        return 0.0, float(tokens @ seconds) / float(tokens @ tokens)
    return fixed, slope


@lru_cache(maxsize=32)
def _recording(source: Source, replay: ReplayMode, shape: Shape, version: object) -> LatencyReplay:
    del version
    rows = source.rows()
    make = latency_distribution if replay == "distribution" else latency_sequence
    try:
        return make(rows, *shape)
    except ValueError as error:
        place = f"{source.file or TABLE.name}, board {rows[0].board!r}, power_mode {rows[0].power_mode!r}"
        raise ValueError(f"{place}: {error}") from None


@lru_cache(maxsize=16)
def _read(file: str, version: object) -> list[Measurement]:
    del version
    return read_measurements(Path(file))


def _version(file: str | None) -> object:
    """What tells versions of a file apart: time of change and size."""
    if file is None:
        return None
    if not (path := Path(file)).is_file():
        raise ValueError(f"no file {file!r}: tried {path.absolute()}")
    return path.stat().st_mtime_ns, path.stat().st_size


def _shipped(board: str | None, power_mode: str | None) -> tuple[str, str]:
    if board is None:
        raise ValueError(f"give a board, one of {', '.join(board_names())}, or a file of your own measurements")
    mode = load_board(board).default_mode if power_mode is None else power_mode
    if not roofline(board, mode).measured:
        raise ValueError(
            f"board {board!r} in power_mode {mode!r} is modelled, it was not measured: use compute kind 'roofline', or "
            "name a file of your own measurements"
        )
    return board, mode


def _named(what: str, name: str | None, held: Sequence[str], place: str) -> str:
    known = sorted(set(held))
    if name is None and len(known) == 1:
        return known[0]
    if name not in known:
        raise ValueError(f"{place}: {what} {name!r}, expected one of those that the file holds: {', '.join(known)}")
    return name
