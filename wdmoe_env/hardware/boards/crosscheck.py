"""Check the catalogue against end-to-end rates of language models: nothing real may beat a lower bound."""

import csv
from dataclasses import dataclass
from pathlib import Path

from wdmoe_env.hardware.boards.catalogue import board_names, load_board

# Parameters read for each token. The least that the model's name allows (A3B: 2.5e9 and more), or the model card's
# count without embeddings: a bound has to err on the low side.
ACTIVE_PARAMETERS = {
    "Nemotron 3 30B-A3B": 2.5e9,
    "Qwen3-30B-A3B": 2.5e9,
    "Qwen3.5-35B-A3B": 2.5e9,
    "Gemma 4 26B-A4B": 3.5e9,
    "GPT-OSS-20B": 3.0e9,
    "Qwen 3 4B": 3.5e9,
    "Qwen 3 8B": 6.9e9,
    "Qwen3-32B": 31.0e9,
    "Nemotron3 Nano 4B": 3.5e9,
}
# All models listed are quantised to 4 bits or a little more.
BITS = 4.0
COLUMNS = ("model", "device", "quant", "engine", "tok_s_conc1", "tok_s_conc8")


@dataclass(frozen=True)
class Comparison:
    """A measured rate in tokens/s beside the most that the board's specification allows."""

    model: str
    board: str
    concurrency: int
    measured: float
    bound: float

    @property
    def share(self) -> float:
        """Measured over bound; above 1 the bound, and with it a figure of the board, is wrong."""
        return self.measured / self.bound


def crosscheck(path: Path) -> tuple[list[Comparison], list[str]]:
    """Compare a table of end-to-end rates with the catalogue; also say which rows were left out and why.

    A step that makes one token for each of c requests takes at least ``active parameters * 4 bits / specified memory
    bandwidth`` and ``c * 2 * active parameters / specified peak``: at least one request's weights are read.

    Raises:
        ValueError: the file lacks a column or holds a rate that is no positive number.
    """
    compared, left_out = [], []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise ValueError(f"{path}: column {', '.join(missing)} is missing; expected {', '.join(COLUMNS)}")
        for raw in reader:
            board, model = raw["device"].replace("_", "-"), raw["model"]
            if board not in board_names():
                left_out.append(f"{model} on {raw['device']}: the board is not in the catalogue")
            elif model not in ACTIVE_PARAMETERS:
                left_out.append(f"{model} on {raw['device']}: its active parameters are not known here")
            else:
                where = f"{path}, row {reader.line_num}"
                for concurrency in (1, 8):
                    if cell := raw[f"tok_s_conc{concurrency}"]:
                        compared.append(_compare(model, board, concurrency, _rate(cell, where)))
    return compared, left_out


def rate_bound(board: str, active_parameters: float, concurrency: int) -> float:
    """Most tokens/s that a board's specification allows, of all requests together."""
    spec = load_board(board)
    memory = active_parameters * BITS / 8 / spec.spec_bandwidth
    compute = concurrency * 2 * active_parameters / spec.spec_peak
    return concurrency / max(memory, compute)


def _compare(model: str, board: str, concurrency: int, measured: float) -> Comparison:
    bound = rate_bound(board, ACTIVE_PARAMETERS[model], concurrency)
    return Comparison(model, board, concurrency, measured, bound)


def _rate(cell: str, where: str) -> float:
    try:
        rate = float(cell)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e9:
        raise ValueError(f"{where}: value {cell!r} is no rate, expected tokens/s > 0")
    return rate
