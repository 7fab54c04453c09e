"""From prices to whole decisions: selections that keep the wanted gate mass, and a local search that improves them.

Prices settle all but a few tokens, those that gain about the same by two selections. Of these, first as many change as
it takes to reach the wanted mass, those that lose least for it. Then moves are tried alone and in pairs: the most
promising ones at the prices, with an exact split of the band.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from baselines.joint.moves import NOBODY, Moves, every_move, select
from baselines.joint.problem import JointProblem
from wdmoe_env.arrays import BoolArray, FloatArray
from wdmoe_env.system import bandwidth
from wdmoe_env.system.latency import block_latency, communication_time, device_time

Objective = Literal["wlr", "latency"]
EPSILON = 1e-9
"""Relative differences of masses and values that count as none."""


@dataclass(slots=True)
class RoundedSelection:
    """Selections of N cells, and what they come to with an exact split of the band.

    Attributes:
        chosen: (N, E, J) selection.
        tokens: (N, E) tokens of each expert.
        mass: (N,) gate mass.
        latency: (N,) seconds.
    """

    chosen: BoolArray
    tokens: FloatArray
    mass: FloatArray
    latency: FloatArray


def round_prices(problem: JointProblem, price: FloatArray, least: FloatArray) -> RoundedSelection:
    """Select by (N, U) prices, and then change tokens until just the (N,) least gate mass is kept, if it can be."""
    chosen = select(problem, price)
    weights = problem.weights.astype(np.float64)
    deficit = least - (weights * chosen).sum(axis=(1, 2))
    moves = _best_of_tokens(every_move(problem, chosen, price), np.sign(deficit)[:, None], chosen.shape)
    gained = np.cumsum(np.where(np.isfinite(moves.loss), np.abs(moves.mass), 0.0), axis=1)
    # A lack is filled by the first moves that suffice, an excess is given up by as many as it covers.
    enough = np.where(deficit[:, None] > 0, gained - np.abs(moves.mass) < deficit[:, None], gained <= -deficit[:, None])
    moves.apply(chosen, np.logical_and.accumulate(enough, axis=1) & np.isfinite(moves.loss))
    tokens = chosen.sum(axis=2, dtype=np.float64)
    return RoundedSelection(chosen, tokens, (weights * chosen).sum(axis=(1, 2)), exact_latency(problem, tokens))


def _best_of_tokens(moves: Moves, sign: FloatArray, shape: tuple[int, ...]) -> Moves:
    """Each token's move of least loss for the mass in the wanted direction, in the order of that: (N, J)."""
    useful = moves.mass * sign > EPSILON
    ratio = np.where(useful, moves.loss / np.where(useful, np.abs(moves.mass), 1.0), np.inf)
    by_token = ratio.reshape(shape[0], -1, shape[2])
    best = by_token.argmin(axis=1)
    own = np.take_along_axis(by_token, best[:, None], axis=1)[:, 0]
    index = best * shape[2] + np.arange(shape[2])
    order = np.argsort(own, axis=1, kind="stable")
    found = moves.take(np.take_along_axis(index, order, axis=1))
    loss = np.where(np.isfinite(np.take_along_axis(own, order, axis=1)), found.loss, np.inf)
    return Moves(found.token, found.enters, found.leaves, found.mass, loss)


def improve(
    problem: JointProblem,
    price: FloatArray,
    least: FloatArray,
    start: RoundedSelection,
    objective: Objective,
    candidates: int,
    trials: int,
) -> bool:
    """Make the best single move or pair of moves in each cell, in place; tell whether any cell got better.

    Args:
        problem: the cells.
        price: (N, U) prices, which rank the moves.
        least: (N,) gate mass that must be kept.
        start: what is improved.
        objective: `wlr`: most mass over latency. `latency`: least latency.
        candidates: moves of each cell that are combined.
        trials: combinations of each cell that are tried exactly.
    """
    moves = _promising(every_move(problem, start.chosen, price), candidates)
    first, second = np.triu_indices(moves.loss.shape[1], 1)
    mass, loss = (values[:, first] + values[:, second] for values in (moves.mass, moves.loss))
    spent = (problem.compute.per_expert(price) * start.tokens).sum(axis=1, keepdims=True)
    rank = _rank(start.mass[:, None], mass, loss, spent, least[:, None], objective)
    rank[moves.token[:, first] == moves.token[:, second]] = np.inf
    best = np.argpartition(rank, min(trials, rank.shape[1] - 1), axis=1)[:, :trials]
    change = moves.change(start.tokens.shape[1])
    row = np.arange(len(rank))[:, None]
    possible = np.isfinite(rank[row, best])
    changes = (change[row, first[best]] + change[row, second[best]]) * possible[:, :, None]
    tokens = start.tokens[:, None] + changes
    masses = start.mass[:, None] + mass[row, best]
    latency = exact_latency(problem, tokens)
    value = np.where(possible, _value(masses, latency, least[:, None], objective), -np.inf)
    winner = value.argmax(axis=1)
    cell = np.arange(len(rank))
    now = _value(start.mass, start.latency, least, objective)
    better = value[cell, winner] > now + EPSILON * np.abs(now)
    pair = best[cell, winner]
    start.mass = np.where(better, masses[cell, winner], start.mass)
    start.latency = np.where(better, latency[cell, winner], start.latency)
    start.tokens = np.where(better[:, None], tokens[cell, winner], start.tokens)
    made = np.stack([first[pair], second[pair]], axis=1)
    moves.take(made).apply(start.chosen, better[:, None] & (moves.take(made).token != NOBODY))
    return bool(better.any())


def exact_latency(problem: JointProblem, tokens: FloatArray) -> FloatArray:
    """Seconds (N, ...) of the layer with (N, ..., E) tokens of each expert and an exact split of the band."""
    cells, experts, devices = tokens.shape[0], tokens.shape[-1], problem.fixed_s.shape[-1]
    each = tokens[0, ..., 0].size
    flat = tokens.reshape(-1, experts)
    token_s, fixed_s = (np.repeat(values, each, axis=0) for values in (problem.links.token_s, problem.fixed_s))
    cn0, compute, radio = np.repeat(problem.links.cn0, each, axis=1), problem.compute, problem.links.radio
    on_device = compute.per_device(flat)
    seconds = on_device * token_s
    if compute.has_fixed:
        seconds = seconds + compute.per_device((flat > 0).astype(np.float64)) * fixed_s
    split = bandwidth.split(on_device, seconds, cn0, radio)
    times = device_time(on_device, communication_time(split, cn0, radio), seconds)
    return block_latency(times.reshape(cells * each, devices)).reshape(tokens.shape[:-1])


def _promising(moves: Moves, count: int) -> Moves:
    """The moves of least loss, and one that changes nothing: pairs with it are single moves."""
    if count < moves.loss.shape[1]:
        moves = moves.take(np.argpartition(moves.loss, count, axis=1)[:, :count])
    blank = np.full((len(moves.loss), 1), NOBODY)
    return moves.joined(Moves(blank, blank, blank, np.zeros(blank.shape), np.zeros(blank.shape)))


def _rank(
    before: FloatArray, mass: FloatArray, loss: FloatArray, spent: FloatArray, least: FloatArray, objective: Objective
) -> FloatArray:
    """What combinations promise at the prices, the less the better: (N, C).

    At the prices, latency is in proportion to what tokens spend; they spend as much more as they win and lose.
    """
    after, expenditure = before + mass, spent + mass + loss
    rank = expenditure / spent
    if objective == "wlr":
        rank = rank * np.maximum(before, EPSILON) / np.maximum(after, EPSILON)
    deficit = least * (1.0 - EPSILON) - after
    return np.where(deficit > 0, 1e3 + deficit + loss, rank)


def _value(mass: FloatArray, latency: FloatArray, least: FloatArray, objective: Objective) -> FloatArray:
    """What is maximised; where too little mass is kept, minus what is lacking: below all else."""
    deficit = least * (1.0 - EPSILON) - mass
    gain = mass / latency if objective == "wlr" else 1.0 / latency
    return np.where(deficit > 0, -deficit, gain)
