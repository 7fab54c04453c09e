"""One cell of the joint problem, in the form that compiled functions take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from baselines.joint.problem import JointProblem
from wdmoe_env.arrays import FloatArray, IntArray


class Cell(NamedTuple):
    """What the optimum of one cell depends on.

    Attributes:
        weights: (E, J) gate weights, `problem.BANNED` where an expert is no candidate.
        host: (E,) device of each expert.
        top_k: K, most experts a token may use.
        plain_mass: gate mass of plain top-K routing.
        fixed_s, token_s: (U,) seconds of a used expert, and of each of its tokens.
        cn0: (2, U) bandwidth at which the SNR of a link is 1, as a share of the band.
        payload: seconds that a token takes in one direction at a rate of one nat for each Hz of the band.
        outage_s: longest seconds of a token in one direction.
        hosted: (U,) experts of each device.
        start: (U, most hosted + 1) where a device's row with so many used experts starts in a table of needs.
        entries: length of such a table, the last entry of which is the latency that it is of.
    """

    weights: FloatArray
    host: IntArray
    top_k: int
    plain_mass: float
    fixed_s: FloatArray
    token_s: FloatArray
    cn0: FloatArray
    payload: float
    outage_s: float
    hosted: IntArray
    start: IntArray
    entries: int


def cells_of(problem: JointProblem, rows: IntArray | None = None) -> Iterator[Cell]:
    """Yield the cells of a problem one by one, or those of some rows."""
    radio, host = problem.links.radio, problem.compute.host.astype(np.int64)
    count, (_, tokens) = problem.fixed_s.shape[1], problem.weights.shape[1:]
    hosted = np.bincount(host, minlength=count)
    length = np.arange(hosted.max() + 1) * (tokens - 1) + 1  # from as many tokens as experts to all tokens of each
    sizes = np.where((np.arange(len(length)) >= 1) & (np.arange(len(length)) <= hosted[:, None]), length, 0)
    start = (np.cumsum(sizes) - sizes.ravel()).reshape(sizes.shape)
    for index in range(len(problem.plain_mass)) if rows is None else rows:
        yield Cell(
            weights=problem.weights[index].astype(np.float64),
            host=host,
            top_k=problem.top_k,
            plain_mass=float(problem.plain_mass[index]),
            fixed_s=np.ascontiguousarray(problem.fixed_s[index], dtype=np.float64),
            token_s=np.ascontiguousarray(problem.links.token_s[index], dtype=np.float64),
            cn0=np.ascontiguousarray(problem.links.cn0[:, index] / problem.links.band),
            payload=float(radio.payload_nats / problem.links.band),
            outage_s=float(radio.outage_s),
            hosted=hosted,
            start=start,
            entries=int(sizes.sum()) + 1,
        )
