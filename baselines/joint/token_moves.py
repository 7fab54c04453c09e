"""Moves of single tokens and of pairs of them, ranked by what they promise and tried with the exact latency."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.joint.cell import Cell
from baselines.joint.compiled import compiled
from baselines.joint.plan import (
    CANDIDATE,
    ENOUGH,
    NONE,
    Plan,
    apply,
    assign,
    change,
    copied,
    find_changes,
    time_plan,
    value_of,
)
from wdmoe_env.arrays import FloatArray

KEPT, TRIED = 12, 32
"""Moves that are kept of each premium, and combinations that are tried exactly."""
BETTER = 1e-7
"""Relative gain from which on a plan counts as better."""
FILLS = 400


class Moves(NamedTuple):
    """The best moves of single tokens, the best first: (R,) each; a key of minus infinity stands for none."""

    key: FloatArray
    token: NDArray[np.int64]
    leaves: NDArray[np.int64]
    enters: NDArray[np.int64]
    mass: FloatArray
    band: FloatArray


@compiled
def no_moves(count: int) -> Moves:
    """Room for so many moves."""
    none = np.full(count, NONE)
    return Moves(np.full(count, -np.inf), none, none.copy(), none.copy(), np.zeros(count), np.zeros(count))


@compiled
def keep(
    moves: Moves, first: int, last: int, key: float, token: int, leaves: int, enters: int, mass: float, band: float
) -> None:
    """Insert a move where it belongs in the places from first to last."""
    if not key > moves.key[last - 1]:
        return
    place = last - 1
    while place > first and moves.key[place - 1] < key:
        for values in (moves.key, moves.mass, moves.band):
            values[place] = values[place - 1]
        for numbers in (moves.token, moves.leaves, moves.enters):
            numbers[place] = numbers[place - 1]
        place -= 1
    moves.key[place], moves.mass[place], moves.band[place] = key, mass, band
    moves.token[place], moves.leaves[place], moves.enters[place] = token, leaves, enters


@compiled
def _scan(
    cell: Cell, plan: Plan, changes: FloatArray, premium: float, lack: float, moves: Moves, first: int, last: int
) -> None:
    """Keep the moves that gain most; with a lack, those that gain most mass for their band."""
    worth = plan.sums[2] / plan.sums[1]
    for token in range(len(plan.places)):
        leaver, lost, freed = NONE, -np.inf, 0.0
        for expert in range(len(cell.host)):
            if plan.chosen[expert, token]:
                change = changes[cell.host[expert], 0, 0 if plan.filled[expert] == 1 else 1]
                score = -premium * cell.weights[expert, token] / cell.plain_mass - change * worth
                if score > lost:
                    leaver, lost, freed = expert, score, change
        if lack <= 0.0 and plan.places[token] > 1:
            keep(moves, first, last, lost, token, leaver, NONE, -cell.weights[leaver, token], freed)
        out = cell.host[leaver]
        single = plan.filled[leaver] == 1
        for expert in range(len(cell.host)):
            weight = cell.weights[expert, token]
            if plan.chosen[expert, token] or weight < CANDIDATE:
                continue
            device, new = cell.host[expert], 1 if plan.filled[expert] == 0 else 0
            mass, band = weight, changes[device, 2, 1 + new]
            if plan.places[token] < cell.top_k:
                keep(
                    moves,
                    first,
                    last,
                    _key(mass, band, premium, lack, worth, cell.plain_mass),
                    token,
                    NONE,
                    expert,
                    mass,
                    band,
                )
            mass = weight - cell.weights[leaver, token]
            band = changes[device, 1, 1 + new - (1 if single else 0)] if device == out else band + freed
            keep(
                moves,
                first,
                last,
                _key(mass, band, premium, lack, worth, cell.plain_mass),
                token,
                leaver,
                expert,
                mass,
                band,
            )


@compiled
def _key(mass: float, band: float, premium: float, lack: float, worth: float, plain: float) -> float:
    if lack > 0.0:
        return min(mass, lack) / max(band * worth, 1e-6) if mass > 0.0 else -np.inf
    return premium * mass / plain - band * worth


@compiled
def token_moves(cell: Cell, plan: Plan, least: float, ratio: bool, premiums: FloatArray, changes: FloatArray) -> bool:
    """Make the best move of a token or of two; tell whether the plan got better."""
    for device in range(len(cell.hosted)):
        find_changes(cell, plan, device, changes)
    moves = no_moves(KEPT * len(premiums) + 1)
    for index in range(len(premiums)):
        _scan(cell, plan, changes, premiums[index], 0.0, moves, index * KEPT, (index + 1) * KEPT)
    count = len(moves.key)
    moves.key[count - 1] = 0.0  # one that changes nothing: pairs with it are single moves
    best = no_moves(TRIED)
    for one in range(count):
        for other in range(one + 1, count):
            if moves.key[one] == -np.inf or moves.key[other] == -np.inf or moves.token[one] == moves.token[other]:
                continue
            mass = plan.sums[0] + moves.mass[one] + moves.mass[other]
            band = moves.band[one] + moves.band[other]
            latency = max(plan.sums[1] + band * plan.sums[2], 0.2 * plan.sums[1])
            key = value_of(mass, latency, least, ratio)
            if mass >= least * ENOUGH or mass > plan.sums[0]:
                keep(best, 0, TRIED, key, one, other, NONE, mass, band)
    now, before = value_of(plan.sums[0], plan.sums[1], least, ratio), copied(plan)
    found, top = before, now
    for place in range(TRIED):
        if best.key[place] == -np.inf:
            break
        for index in (best.token[place], best.leaves[place]):
            if moves.token[index] != NONE:
                apply(cell, plan, moves.token[index], moves.leaves[index], moves.enters[index])
        time_plan(cell, plan)
        value = value_of(plan.sums[0], plan.sums[1], least, ratio)
        if value > top + abs(now) * BETTER:
            top, found = value, copied(plan)
        assign(plan, before)
    assign(plan, found)
    return top > now


@compiled
def fill(cell: Cell, plan: Plan, least: float, changes: FloatArray) -> bool:
    """Take on experts until enough mass is kept, the cheapest for their mass first; tell whether it is."""
    moves = no_moves(1)
    for _ in range(FILLS):
        if plan.sums[0] >= least * ENOUGH:
            return True
        moves.key[0] = -np.inf
        _scan(cell, plan, changes, 1.0, least - plan.sums[0], moves, 0, 1)
        if moves.key[0] == -np.inf:
            return False
        change(cell, plan, moves.token[0], moves.leaves[0], moves.enters[0], changes)
    return False
