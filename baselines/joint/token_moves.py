"""Moves of tokens, singly, in pairs and many at once, ranked by what they promise, tried with the exact latency."""

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
    Search,
    apply,
    assign,
    change,
    copied,
    find_all_changes,
    timed_value,
    value_of,
)
from wdmoe_env.arrays import FloatArray

KEPT, TRIED, FILLED = 12, 32, 8
"""Moves that are kept of each premium, combinations that are tried exactly, and moves of a search for mass."""
BETTER = 1e-7
"""Relative gain from which on a plan counts as better."""
HOPE = 0.02
"""Part of the value by which what a combination promises may be too little."""
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
    cell: Cell, plan: Plan, search: Search, premium: float, lack: float, moves: Moves, first: int, last: int
) -> None:
    """Keep the moves that gain most; with a lack, those that gain most mass for their band."""
    search.left[0] -= cell.weights.size
    worth, changes = plan.sums[2] / plan.sums[1], search.changes
    for token in range(len(plan.places)):
        leaver, lost, freed = NONE, -np.inf, 0.0
        for place in range(plan.places[token]):
            expert = plan.uses[token, place]
            less = changes[cell.host[expert], 0, 0 if plan.filled[expert] == 1 else 1]
            score = -premium * cell.weights[expert, token] / cell.plain_mass - less * worth
            if score > lost:
                leaver, lost, freed = expert, score, less
        if lack <= 0.0 and plan.places[token] > 1:
            keep(moves, first, last, lost, token, leaver, NONE, -cell.weights[leaver, token], freed)
        out, more = cell.host[leaver], plan.places[token] < cell.top_k
        single = plan.filled[leaver] == 1
        for expert in range(len(cell.host)):
            weight = cell.weights[expert, token]
            if plan.chosen[expert, token] or weight < CANDIDATE:
                continue
            device, new = cell.host[expert], 1 if plan.filled[expert] == 0 else 0
            band = changes[device, 2, 1 + new]
            if more:
                key = _key(weight, band, premium, lack, worth, cell.plain_mass)
                keep(moves, first, last, key, token, NONE, expert, weight, band)
            mass = weight - cell.weights[leaver, token]
            band = changes[device, 1, 1 + new - (1 if single else 0)] if device == out else band + freed
            key = _key(mass, band, premium, lack, worth, cell.plain_mass)
            keep(moves, first, last, key, token, leaver, expert, mass, band)


@compiled
def _key(mass: float, band: float, premium: float, lack: float, worth: float, plain: float) -> float:
    if lack > 0.0:
        return min(mass, lack) / max(band * worth, 1e-6) if mass > 0.0 else -np.inf
    return premium * mass / plain - band * worth


@compiled
def token_moves(cell: Cell, plan: Plan, search: Search, premiums: FloatArray) -> bool:
    """Make good moves of many tokens, or else the best of one or two; tell whether the plan got better."""
    find_all_changes(cell, plan, search)
    moves = no_moves(KEPT * len(premiums) + 1)
    for index in range(len(premiums)):
        _scan(cell, plan, search, premiums[index], 0.0, moves, index * KEPT, (index + 1) * KEPT)
    return _many(cell, plan, search, moves, len(premiums)) or _best_pair(cell, plan, search, moves)


@compiled
def _many(cell: Cell, plan: Plan, search: Search, moves: Moves, premiums: int) -> bool:
    """Make all moves of a premium that promise a gain, on devices of their own each; tell whether that is better."""
    value, before = value_of(plan.sums[0], plan.sums[1], search), copied(plan)
    changes = search.changes.copy()
    for index in range(premiums):
        made = _make(cell, plan, search, moves, index * KEPT, (index + 1) * KEPT, np.inf)
        kept = made > 1 and fill(cell, plan, search)
        if kept and timed_value(cell, plan, search) > value + abs(value) * BETTER:
            return True
        assign(plan, before)
        search.changes[:] = changes
    return False


@compiled
def _make(cell: Cell, plan: Plan, search: Search, moves: Moves, first: int, last: int, enough: float) -> int:
    """Make the moves of these places that promise a gain, but one for a token and a device; return how many."""
    touched, moved, made = np.zeros(len(cell.hosted)), np.zeros(len(plan.places)), 0
    for place in range(first, last):
        if not moves.key[place] > 0.0 or plan.sums[0] >= enough:
            break
        token, leaves, enters = moves.token[place], moves.leaves[place], moves.enters[place]
        busy = moved[token] > 0.0
        for expert in (leaves, enters):
            busy = busy or (expert != NONE and touched[cell.host[expert]] > 0.0)
        if busy:
            continue
        moved[token], made = 1.0, made + 1
        for expert in (leaves, enters):
            if expert != NONE:
                touched[cell.host[expert]] = 1.0
        change(cell, plan, token, leaves, enters, search)
    return made


@compiled
def _best_pair(cell: Cell, plan: Plan, search: Search, moves: Moves) -> bool:
    """Make the best move of a token or of two; tell whether the plan got better."""
    count = len(moves.key)
    moves.key[count - 1] = 0.0  # one that changes nothing: pairs with it are single moves
    best = no_moves(TRIED)
    now, before = value_of(plan.sums[0], plan.sums[1], search), copied(plan)
    least = now - abs(now) * HOPE
    for one in range(count):
        for other in range(one + 1, count):
            if moves.key[one] == -np.inf or moves.key[other] == -np.inf or moves.token[one] == moves.token[other]:
                continue
            mass = plan.sums[0] + moves.mass[one] + moves.mass[other]
            band = moves.band[one] + moves.band[other]
            latency = max(plan.sums[1] + band * plan.sums[2], 0.2 * plan.sums[1])
            key = value_of(mass, latency, search)
            if key > least and (mass >= search.least * ENOUGH or mass > plan.sums[0]):
                keep(best, 0, TRIED, key, one, other, NONE, mass, band)
    found, top = before, now
    for place in range(TRIED):
        if best.key[place] == -np.inf:
            break
        for index in (best.token[place], best.leaves[place]):
            if moves.token[index] != NONE:
                apply(cell, plan, moves.token[index], moves.leaves[index], moves.enters[index])
        value = timed_value(cell, plan, search)
        if value > top + abs(now) * BETTER:
            top, found = value, copied(plan)
        assign(plan, before)
    assign(plan, found)
    return top > now


@compiled
def fill(cell: Cell, plan: Plan, search: Search) -> bool:
    """Take on experts until enough mass is kept, the cheapest for their mass first; tell whether it is."""
    moves, enough = no_moves(FILLED), search.least * ENOUGH
    for _ in range(FILLS):
        if plan.sums[0] >= enough:
            return True
        moves.key[:] = -np.inf
        _scan(cell, plan, search, 1.0, search.least - plan.sums[0], moves, 0, FILLED)
        if _make(cell, plan, search, moves, 0, FILLED, enough) == 0:
            return False
    return False
