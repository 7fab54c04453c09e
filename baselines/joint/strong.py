"""Bounds from the strong dual for many cells: searched between what is proved already and what a decision reaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from baselines.joint.branch import Ladder, Stack, shut_all
from baselines.joint.cell import Cell, cells_of
from baselines.joint.facility import Prices, no_limits
from baselines.joint.problem import JointProblem, few_tokens, least_latency
from baselines.joint.start import starts
from wdmoe_env.arrays import FloatArray

FINE: Final = 0.25
"""Distance of two rungs of a ladder, as a part of how close a bound is to come."""
MOST_RUNGS: Final = 4000
HALVINGS: Final = 7
DEPTH: Final = 400
MOST_NODES, NODE_PAIRS, LARGE = 400, 100_000, 2048
"""Most branches of a cell; of a large one, times its pairs of token and expert; pairs above which none are made."""
ROUNDING: Final = 1e-9


class Effort(NamedTuple):
    """How far a search goes: to within this part of what is reached, with so many branches."""

    close: float
    nodes: int


def effort_of(problem: JointProblem, exact: bool) -> Effort:
    """What is spent on each cell: on branches only where asked to, or where cells are small."""
    if exact:
        return Effort(1e-3, 100_000)
    pairs = problem.weights[0].size
    return Effort(0.01, min(MOST_NODES, NODE_PAIRS // pairs) if pairs <= LARGE and few_tokens(problem) else 0)


def most_ratio(
    problem: JointProblem, reached: FloatArray, known: FloatArray, least: FloatArray, effort: Effort
) -> FloatArray:
    """Most gate mass over latency (N,) of decisions that keep at least a (N,) gate mass, 1/s.

    Args:
        problem: the cells.
        reached: (N,) of some decision of that mass each: where the search starts.
        known: (N,) what is proved already.
        least: (N,) gate mass that is kept.
        effort: how far to go.
    """
    fastest, found = least_latency(problem), known.copy()
    start = starts(problem, least, problem.plain_mass)
    for index, (cell, prices) in enumerate(zip(cells_of(problem), start, strict=True)):
        ladder = _ladder(cell, cell.plain_mass / reached[index], fastest[index] * (1.0 - ROUNDING), FINE * effort.close)
        prove = _prover(cell, ladder, prices)

        def beyond(ratio: float, nodes: int, prove: _Prover = prove, floor: float = float(least[index])) -> bool:
            return prove(ratio, floor, nodes)

        found[index] = _closest(beyond, reached[index], known[index], effort)
    return np.minimum(found * (1.0 + ROUNDING), known)


def least_seconds(
    problem: JointProblem, reached: FloatArray, known: FloatArray, mass: FloatArray, effort: Effort
) -> FloatArray:
    """Least seconds (N,) of decisions that keep at least a (N,) gate mass; arguments as for `most_ratio`."""
    found = known.copy()
    for index, (cell, prices) in enumerate(zip(cells_of(problem), starts(problem, mass, mass), strict=True)):

        def beyond(
            rate: float, nodes: int, cell: Cell = cell, prices: Prices = prices, floor: float = float(mass[index])
        ) -> bool:
            return _prover(cell, _ladder(cell, 1.0 / rate, 1.0 / rate, 1.0), prices)(0.0, floor, nodes)

        found[index] = 1.0 / _closest(beyond, 1.0 / reached[index], 1.0 / max(known[index], 1e-300), effort)
    return np.maximum(found * (1.0 - ROUNDING), known)


_Prover = Callable[[float, float, int], bool]


def _closest(beyond: Callable[[float, int], bool], low: float, high: float, effort: Effort) -> float:
    """Least value that `beyond` proves to be out of reach, between one that is reached and one that is not."""
    goal = low * (1.0 + effort.close)
    if goal >= high:
        return high
    if beyond(goal, 0):
        return goal
    low = goal
    for _ in range(HALVINGS):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if beyond(middle, 0) else (middle, high)
    if effort.nodes and beyond(goal, effort.nodes):
        return goal
    middle = float(np.sqrt(goal * high))
    return middle if effort.nodes and beyond(middle, effort.nodes) else high


def _ladder(cell: Cell, first: float, last: float, apart: float) -> Ladder:
    """Latencies that fall from the first to the last in equal parts."""
    count = min(int(np.ceil(np.log(max(first / last, 1.0)) / apart)) + 1, MOST_RUNGS)
    rungs = np.geomspace(first, last, count) if count > 1 else np.array([first])
    return Ladder(rungs, np.empty((count, cell.entries)), np.zeros(count, dtype=np.bool_))


def _prover(cell: Cell, ladder: Ladder, prices: Prices) -> _Prover:
    """A function that tries to prove that a ratio is out of reach above a mass, with so many branches."""
    found = np.zeros(cell.weights.shape)

    def prove(ratio: float, least: float, nodes: int) -> bool:
        # A search without branches leaves its prices to the next one.
        start = prices if nodes == 0 else Prices(*(values.copy() for values in prices))
        return bool(shut_all(cell, ladder, ratio, least, start, no_limits(cell), _stack(cell, nodes), nodes, found))

    return prove


def _stack(cell: Cell, nodes: int) -> Stack:
    experts, tokens = cell.weights.shape
    depth, devices = min(2 * nodes, DEPTH, experts * tokens + experts) + 4, len(cell.hosted)
    return Stack(
        pair=np.zeros((depth, experts, tokens), np.int8),
        expert=np.zeros((depth, experts), np.int8),
        token=np.zeros((depth, tokens)),
        place=np.zeros((depth, devices)),
        opening=np.zeros((depth, devices)),
        band=np.zeros((depth, 1)),
        rung=np.zeros(depth, np.int64),
    )
