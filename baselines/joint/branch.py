"""Branch and bound for one cell: no decision of a ratio, or within a latency, is left once all branches are shut.

Latencies are taken from a falling ladder. Within the latency T of a rung every decision of a branch keeps at most the
mass D that `facility` proves, so one of mass over latency W or more takes no longer than D / W: go down to there. Where
D is below the least mass, the branch is shut. Where it leads no further down, an expert or a pair is fixed each way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.joint.ascent import ascend
from baselines.joint.band import fill_needs, least_time
from baselines.joint.cell import Cell
from baselines.joint.compiled import compiled
from baselines.joint.facility import FREE, OPEN, SHUT, Choice, Limits, Prices
from wdmoe_env.arrays import BoolArray, FloatArray

FIRST, LATER = 300, 100
"""Steps of the search for prices in the root of a tree, and in each rung and branch after it."""
SAME = 1.0 - 1e-9
FAR = 0.98
"""Part of a latency that a step down a ladder aims at: of many short steps each would need its own prices."""
UNSURE = 0.02
"""Least x (1 - x) of a mean choice x that is branched on for its own sake."""


class Ladder(NamedTuple):
    """Falling latencies (R,), tables of needs (R, entries), and which of them are filled (R,)."""

    latency: FloatArray
    needs: FloatArray
    filled: BoolArray


class Stack(NamedTuple):
    """Open branches: limits and prices of D of them, and the (D,) rungs from which on they are open."""

    pair: NDArray[np.int8]
    expert: NDArray[np.int8]
    token: FloatArray
    place: FloatArray
    opening: FloatArray
    band: FloatArray
    rung: NDArray[np.int64]


@compiled
def shut_all(
    cell: Cell,
    ladder: Ladder,
    ratio: float,
    least: float,
    prices: Prices,
    limits: Limits,
    stack: Stack,
    nodes: int,
    found: FloatArray,
) -> bool:
    """Whether it is proved that no decision of at least a gate mass reaches a ratio of mass to latency.

    What is covered are latencies of the ladder's first and less. None of that ratio takes longer if the first is the
    plain mass over the ratio or more, as none keeps more mass. The last must be one that no decision falls below;
    with a ratio of 0, what is proved is that none of that mass takes the first latency or less.

    Args:
        cell: the cell.
        ladder: falling latencies; tables are filled when they are needed.
        ratio, least: mass over latency and mass of the decisions that are looked for.
        prices: first prices; changed.
        limits, stack: room to work in; `limits` says what is fixed from the start.
        nodes: most branches that are opened.
        found: (E, J) where a branch leaves one decision that is not ruled out, 1 where it uses an expert.
    """
    mean = Choice(np.zeros(cell.weights.shape), np.zeros(len(cell.host)))
    depth, opened = 0, 0
    _push(stack, 0, limits, prices, 0)
    while depth >= 0:
        _pop(stack, depth, cell, limits, prices)
        rung, depth = stack.rung[depth], depth - 1
        stuck = _go_down(cell, ladder, ratio, least, prices, limits, rung, FIRST if opened == 0 else LATER, mean)
        if stuck < 0:
            continue
        if opened >= nodes or depth + 3 > len(stack.rung):
            return False
        opened += 1
        expert, token = _fork(cell, limits, mean)
        if expert < 0:
            if _ruled_out(cell, limits, ladder.latency[0], ratio, least):
                continue
            found[:] = limits.pair == OPEN
            return False
        for mark in (SHUT, OPEN):
            depth += 1
            _push(stack, depth, limits, prices, stuck)
            _fix(stack, depth, expert, token, mark)
    return True


@compiled
def _go_down(
    cell: Cell,
    ladder: Ladder,
    ratio: float,
    least: float,
    prices: Prices,
    limits: Limits,
    rung: int,
    steps: int,
    mean: Choice,
) -> int:
    """The rung at which a branch is stuck; -1 if it is shut."""
    last = len(ladder.latency) - 1
    mean.pair[:], mean.expert[:] = 0.5, 0.5
    while True:
        if not ladder.filled[rung]:
            fill_needs(cell, ladder.latency[rung], ladder.needs[rung])
            ladder.filled[rung] = True
        below = ladder.latency[min(rung + 1, last)]
        target = max(least, ratio * below) * SAME
        goal = max(least, ratio * min(below, ladder.latency[rung] * FAR)) * SAME
        mass = ascend(cell, ladder.needs[rung], prices, limits, goal, steps, mean)
        if mass < least * SAME or mass < ratio * ladder.latency[last] * SAME:
            return -1
        if mass >= target:
            return rung
        while rung < last and ladder.latency[rung + 1] * ratio >= mass:
            rung += 1
        steps = LATER


@compiled
def _ruled_out(cell: Cell, limits: Limits, longest: float, ratio: float, least: float) -> bool:
    """Whether the one decision that is left keeps too little mass, or takes too long for the ratio."""
    mass, places = 0.0, np.zeros(cell.weights.shape[1])
    tokens, used = np.zeros(len(cell.hosted)), np.zeros(len(cell.hosted))
    for expert in range(len(cell.host)):
        there = 0
        for token in range(cell.weights.shape[1]):
            if limits.pair[expert, token] == OPEN:
                mass += cell.weights[expert, token]
                places[token] += 1.0
                there += 1
        tokens[cell.host[expert]] += there
        used[cell.host[expert]] += 1.0 if there > 0 else 0.0
    if mass < least * SAME or places.min() < 1.0 or places.max() > cell.top_k:
        return True
    latency = least_time(cell, tokens, used, np.ones_like(tokens), 0.0) * SAME
    return mass < ratio * latency or latency > longest


@compiled
def _fork(cell: Cell, limits: Limits, mean: Choice) -> tuple[int, int]:
    """Expert, and token or -1 for all of it, that the mean choice is least sure of; (-1, -1) if all is fixed."""
    best, who, what = -1.0, -1, -1
    for expert in range(len(cell.host)):
        if limits.expert[expert] == FREE:
            doubt = mean.expert[expert] * (1.0 - mean.expert[expert]) + UNSURE
            if doubt > best:
                best, who, what = doubt, expert, -1
    if best > 2.0 * UNSURE:
        return who, what
    for expert in range(len(cell.host)):
        for token in range(cell.weights.shape[1]):
            if limits.pair[expert, token] == FREE:
                doubt = (
                    mean.pair[expert, token] * (1.0 - mean.pair[expert, token]) * (0.5 + cell.weights[expert, token])
                )
                if doubt > best:
                    best, who, what = doubt, expert, token
    return who, what


@compiled
def _push(stack: Stack, depth: int, limits: Limits, prices: Prices, rung: int) -> None:
    stack.pair[depth], stack.expert[depth], stack.rung[depth] = limits.pair, limits.expert, rung
    stack.token[depth], stack.place[depth] = prices.token, prices.place
    stack.opening[depth], stack.band[depth] = prices.opening, prices.band


@compiled
def _pop(stack: Stack, depth: int, cell: Cell, limits: Limits, prices: Prices) -> None:
    """Take limits and prices from the stack, and find the ranges that follow for the devices."""
    limits.pair[:], limits.expert[:] = stack.pair[depth], stack.expert[depth]
    prices.token[:], prices.place[:] = stack.token[depth], stack.place[depth]
    prices.opening[:], prices.band[:] = stack.opening[depth], stack.band[depth]
    limits.least_used[:], limits.most_used[:], limits.least_tokens[:], limits.most_tokens[:] = 0, 0, 0, 0
    for expert in range(len(cell.host)):
        device = cell.host[expert]
        limits.least_used[device] += 1 if limits.expert[expert] == OPEN else 0
        limits.most_used[device] += 1 if limits.expert[expert] != SHUT else 0
        for token in range(cell.weights.shape[1]):
            limits.least_tokens[device] += 1 if limits.pair[expert, token] == OPEN else 0
            limits.most_tokens[device] += 1 if limits.pair[expert, token] != SHUT else 0


@compiled
def _fix(stack: Stack, depth: int, expert: int, token: int, mark: int) -> None:
    if token < 0:
        stack.expert[depth, expert] = mark
        if mark == SHUT:
            stack.pair[depth, expert, :] = SHUT
        return
    stack.pair[depth, expert, token] = mark
    if mark == OPEN:
        stack.expert[depth, expert] = OPEN
