"""A local search for one cell that opens and shuts experts as a whole, beside moves of single tokens and of pairs.

Moves are ranked by what they promise at the present latency: the band that a device needs for one token more or less,
with one used expert more or less, times what the band is worth. The best are tried with the exact least latency.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.joint.band import NEVER, all_need, device_need, least_time
from baselines.joint.cell import Cell
from baselines.joint.compiled import compiled
from wdmoe_env.arrays import FloatArray

NONE = -1
CANDIDATE = -1.0
"""Gate weights below this mark experts that a token may not use."""
KEPT, PAIRS = 12, 32
"""Moves that are kept of each premium, and combinations that are tried exactly."""
BETTER, ENOUGH = 1.0 + 1e-7, 1.0 - 1e-9
FILLS = 400
KICKED = 3
"""Experts that are opened or shut at once to leave a plan that no move improves."""
FAR = 1e6
"""Stands for the change of a need that cannot be met, in bands."""


class Plan(NamedTuple):
    """A selection and its sums: (E, J) choice, (E,) tokens, (U,) tokens, used experts and band shares, (J,) experts.

    `sums` holds gate mass, latency in seconds, and seconds that a band of its own would save.
    """

    chosen: NDArray[np.int8]
    filled: FloatArray
    tokens: FloatArray
    used: FloatArray
    share: FloatArray
    places: FloatArray
    sums: FloatArray


class Moves(NamedTuple):
    """The best moves of single tokens, the best first: (R,) each; a key of minus infinity stands for none."""

    key: FloatArray
    token: NDArray[np.int64]
    leaves: NDArray[np.int64]
    enters: NDArray[np.int64]
    mass: FloatArray
    band: FloatArray


@compiled
def plan_of(cell: Cell, chosen: NDArray[np.int8]) -> Plan:
    """Sum up a (E, J) selection, with its exact latency."""
    devices = len(cell.hosted)
    plan = Plan(
        np.zeros_like(chosen),
        np.zeros(len(cell.host)),
        np.zeros(devices),
        np.zeros(devices),
        np.ones(devices),
        np.zeros(chosen.shape[1]),
        np.zeros(3),
    )
    for expert in range(len(cell.host)):
        for token in range(chosen.shape[1]):
            if chosen[expert, token]:
                _toggle(cell, plan, expert, token)
    time_plan(cell, plan)
    return plan


@compiled
def time_plan(cell: Cell, plan: Plan) -> None:
    """Find the exact latency of a plan, and what the band is worth."""
    plan.sums[1] = least_time(cell, plan.tokens, plan.used, plan.share, plan.sums[1])
    slope = all_need(cell, plan.tokens, plan.used, plan.sums[1], plan.share)[1]
    plan.sums[2] = -1.0 / slope if slope < 0.0 else 0.0


@compiled
def _toggle(cell: Cell, plan: Plan, expert: int, token: int) -> None:
    sign = -1.0 if plan.chosen[expert, token] else 1.0
    device, before = cell.host[expert], plan.filled[expert] > 0
    plan.chosen[expert, token] = 1 - plan.chosen[expert, token]
    plan.filled[expert] += sign
    plan.tokens[device] += sign
    plan.places[token] += sign
    plan.used[device] += (1.0 if plan.filled[expert] > 0 else 0.0) - (1.0 if before else 0.0)
    plan.sums[0] += sign * cell.weights[expert, token]


@compiled
def _copy(plan: Plan) -> Plan:
    return Plan(
        plan.chosen.copy(),
        plan.filled.copy(),
        plan.tokens.copy(),
        plan.used.copy(),
        plan.share.copy(),
        plan.places.copy(),
        plan.sums.copy(),
    )


@compiled
def _assign(to: Plan, source: Plan) -> None:
    to.chosen[:], to.filled[:], to.tokens[:], to.used[:] = source.chosen, source.filled, source.tokens, source.used
    to.share[:], to.places[:], to.sums[:] = source.share, source.places, source.sums


@compiled
def _value(mass: float, latency: float, least: float, ratio: bool) -> float:
    if mass < least * ENOUGH:
        return mass - least
    return (mass if ratio else 1.0) / max(latency, 1e-300)


@compiled
def _changes(cell: Cell, plan: Plan, device: int, changes: FloatArray) -> None:
    """Write by how much a device's need changes, (3, 3): with one token less to one more, and experts alike."""
    latency, tokens, used = plan.sums[1], plan.tokens[device], plan.used[device]
    start = plan.share[device]
    now = device_need(cell, device, tokens, used, latency, start) if tokens > 0 else 0.0
    for more in range(-1, 2):
        for opened in range(-1, 2):
            change = FAR
            if tokens + more >= 0 and used + opened >= 0:
                wanted = device_need(cell, device, tokens + more, used + opened, latency, start)
                change = wanted - now if wanted != NEVER else FAR
            changes[device, more + 1, opened + 1] = change


@compiled
def _no_moves(count: int) -> Moves:
    none = np.full(count, NONE)
    return Moves(np.full(count, -np.inf), none, none.copy(), none.copy(), np.zeros(count), np.zeros(count))


@compiled
def _keep(
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
            _keep(moves, first, last, lost, token, leaver, NONE, -cell.weights[leaver, token], freed)
        out = cell.host[leaver]
        single = plan.filled[leaver] == 1
        for expert in range(len(cell.host)):
            weight = cell.weights[expert, token]
            if plan.chosen[expert, token] or weight < CANDIDATE:
                continue
            device, new = cell.host[expert], 1 if plan.filled[expert] == 0 else 0
            mass, band = weight, changes[device, 2, 1 + new]
            if plan.places[token] < cell.top_k:
                _keep(
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
            _keep(
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
def _apply(cell: Cell, plan: Plan, token: int, leaves: int, enters: int) -> None:
    if leaves != NONE:
        _toggle(cell, plan, leaves, token)
    if enters != NONE:
        _toggle(cell, plan, enters, token)


@compiled
def _token_moves(cell: Cell, plan: Plan, least: float, ratio: bool, premiums: FloatArray, changes: FloatArray) -> bool:
    """Make the best move of a token or of two; tell whether the plan got better."""
    for device in range(len(cell.hosted)):
        _changes(cell, plan, device, changes)
    moves = _no_moves(KEPT * len(premiums) + 1)
    for index in range(len(premiums)):
        _scan(cell, plan, changes, premiums[index], 0.0, moves, index * KEPT, (index + 1) * KEPT)
    count = len(moves.key)
    moves.key[count - 1] = 0.0  # one that changes nothing: pairs with it are single moves
    best = _no_moves(PAIRS)
    for one in range(count):
        for other in range(one + 1, count):
            if moves.key[one] == -np.inf or moves.key[other] == -np.inf or moves.token[one] == moves.token[other]:
                continue
            mass = plan.sums[0] + moves.mass[one] + moves.mass[other]
            band = moves.band[one] + moves.band[other]
            latency = max(plan.sums[1] + band * plan.sums[2], 0.2 * plan.sums[1])
            key = _value(mass, latency, least, ratio)
            if mass >= least * ENOUGH or mass > plan.sums[0]:
                _keep(best, 0, PAIRS, key, one, other, NONE, mass, band)
    now, before = _value(plan.sums[0], plan.sums[1], least, ratio), _copy(plan)
    found, top = before, now
    for place in range(PAIRS):
        if best.key[place] == -np.inf:
            break
        for index in (best.token[place], best.leaves[place]):
            if moves.token[index] != NONE:
                _apply(cell, plan, moves.token[index], moves.leaves[index], moves.enters[index])
        time_plan(cell, plan)
        value = _value(plan.sums[0], plan.sums[1], least, ratio)
        if value > top + abs(now) * (BETTER - 1.0):
            top, found = value, _copy(plan)
        _assign(plan, before)
    _assign(plan, found)
    return top > now


@compiled
def _fill(cell: Cell, plan: Plan, least: float, changes: FloatArray) -> bool:
    """Take on experts until enough mass is kept, the cheapest for their mass first; tell whether it is."""
    moves = _no_moves(1)
    for _ in range(FILLS):
        if plan.sums[0] >= least * ENOUGH:
            return True
        moves.key[0] = -np.inf
        _scan(cell, plan, changes, 1.0, least - plan.sums[0], moves, 0, 1)
        if moves.key[0] == -np.inf:
            return False
        _change(cell, plan, moves.token[0], moves.leaves[0], moves.enters[0], changes)
    return False


@compiled
def _change(cell: Cell, plan: Plan, token: int, leaves: int, enters: int, changes: FloatArray) -> None:
    _apply(cell, plan, token, leaves, enters)
    if leaves != NONE:
        _changes(cell, plan, cell.host[leaves], changes)
    if enters != NONE:
        _changes(cell, plan, cell.host[enters], changes)


@compiled
def _shut(cell: Cell, plan: Plan, expert: int, premium: float, changes: FloatArray) -> float:
    """Send all tokens of an expert to where they gain most, or nowhere; return by how much needs change, about."""
    worth, source = plan.sums[2] / plan.sums[1], cell.host[expert]
    band = 0.0
    for token in range(len(plan.places)):
        if not plan.chosen[expert, token]:
            continue
        best, to = -np.inf, NONE
        if plan.places[token] > 1:
            best = 0.0
        for other in range(len(cell.host)):
            if plan.chosen[other, token] or cell.weights[other, token] < CANDIDATE or other == expert:
                continue
            new = 1 if plan.filled[other] == 0 else 0
            score = premium * cell.weights[other, token] / cell.plain_mass
            score -= changes[cell.host[other], 2, 1 + new] * worth
            if score > best:
                best, to = score, other
        if best > -np.inf:
            band += changes[source, 0, 0 if plan.filled[expert] == 1 else 1]
            if to != NONE:
                band += changes[cell.host[to], 2, 2 if plan.filled[to] == 0 else 1]
            _change(cell, plan, token, expert, to, changes)
    return band


@compiled
def _open(cell: Cell, plan: Plan, expert: int, premium: float, changes: FloatArray) -> float:
    """Take an expert on for all tokens that gain by it, once it is open; return by how much needs change, about."""
    worth, device = plan.sums[2] / plan.sums[1], cell.host[expert]
    band = 0.0
    for token in range(len(plan.places)):
        if plan.chosen[expert, token] or cell.weights[expert, token] < CANDIDATE:
            continue
        weight = cell.weights[expert, token]
        best, out = -np.inf, NONE
        cost = changes[device, 2, 1] * worth
        if plan.places[token] < cell.top_k:
            best = premium * weight / cell.plain_mass - cost
        for other in range(len(cell.host)):
            if plan.chosen[other, token]:
                score = premium * (weight - cell.weights[other, token]) / cell.plain_mass - cost
                score -= changes[cell.host[other], 0, 0 if plan.filled[other] == 1 else 1] * worth
                if score > best:
                    best, out = score, other
        if best > 0.0:
            band += changes[device, 2, 2 if plan.filled[expert] == 0 else 1]
            if out != NONE:
                band += changes[cell.host[out], 0, 0 if plan.filled[out] == 1 else 1]
            _change(cell, plan, token, out, expert, changes)
    return band


@compiled
def _expert_moves(cell: Cell, plan: Plan, least: float, ratio: bool, premiums: FloatArray, changes: FloatArray) -> bool:
    """Open or shut experts one after another where that is better at once; tell whether the plan got better."""
    value, before, gained = _value(plan.sums[0], plan.sums[1], least, ratio), _copy(plan), False
    fresh = np.zeros_like(changes)
    for device in range(len(cell.hosted)):
        _changes(cell, plan, device, fresh)
    for expert in range(len(cell.host)):
        for premium in premiums:
            changes[:] = fresh
            if before.filled[expert] > 0:
                band = _shut(cell, plan, expert, premium, changes)
            else:
                band = _open(cell, plan, expert, premium, changes)
            if plan.sums[0] == before.sums[0]:
                continue
            after, latency = -np.inf, max(plan.sums[1] + band * plan.sums[2], 0.2 * plan.sums[1])
            # Even if the mass that is lacking cost nothing: is it better?
            if _value(max(plan.sums[0], least), latency, least, ratio) > value and _fill(cell, plan, least, changes):
                time_plan(cell, plan)
                after = _value(plan.sums[0], plan.sums[1], least, ratio)
            if after > value + abs(value) * (BETTER - 1.0):
                value, gained = after, True
                _assign(before, plan)
                for device in range(len(cell.hosted)):
                    _changes(cell, plan, device, fresh)
                break
            _assign(plan, before)
    return gained


@compiled
def _exchanges(cell: Cell, plan: Plan, least: float, ratio: bool, premium: float, changes: FloatArray) -> bool:
    """Move all tokens of an expert to one that is shut, if that is better; tell whether the plan got better."""
    best, worth = _no_moves(KEPT), plan.sums[2] / plan.sums[1]
    for out in range(len(cell.host)):
        if plan.filled[out] == 0:
            continue
        for into in range(len(cell.host)):
            if plan.filled[into] == 0:
                mass, band = _exchange(cell, plan, out, into)
                _keep(best, 0, KEPT, premium * mass / cell.plain_mass - band * worth, NONE, out, into, mass, band)
    value, before = _value(plan.sums[0], plan.sums[1], least, ratio), _copy(plan)
    for place in range(KEPT):
        if best.key[place] == -np.inf:
            break
        for token in range(len(plan.places)):
            if before.chosen[best.leaves[place], token]:
                _apply(cell, plan, token, best.leaves[place], best.enters[place])
        for device in range(len(cell.hosted)):
            _changes(cell, plan, device, changes)
        if _fill(cell, plan, least, changes):
            time_plan(cell, plan)
            if _value(plan.sums[0], plan.sums[1], least, ratio) > value + abs(value) * (BETTER - 1.0):
                return True
        _assign(plan, before)
    return False


@compiled
def _exchange(cell: Cell, plan: Plan, out: int, into: int) -> tuple[float, float]:
    """Gate mass that is won and band that is needed if an expert takes over all tokens of another."""
    mass, one, other = 0.0, cell.host[out], cell.host[into]
    for token in range(len(plan.places)):
        if plan.chosen[out, token]:
            if cell.weights[into, token] < CANDIDATE:
                return -FAR, FAR
            mass += cell.weights[into, token] - cell.weights[out, token]
    if one == other:
        return mass, 0.0
    latency, count = plan.sums[1], plan.filled[out]
    band = 0.0
    for device, more, opened in ((one, -count, -1.0), (other, count, 1.0)):
        tokens, used = plan.tokens[device], plan.used[device]
        now = device_need(cell, device, tokens, used, latency, plan.share[device])
        after = device_need(cell, device, tokens + more, used + opened, latency, plan.share[device])
        band += after - now if after != NEVER else FAR
    return mass, band


@compiled
def _descend(cell: Cell, plan: Plan, least: float, ratio: bool, sweeps: int, changes: FloatArray) -> None:
    premiums = np.array([1.0, 1.5, 3.0, 10.0])
    for _ in range(sweeps):
        if _token_moves(cell, plan, least, ratio, premiums, changes):
            continue
        if _expert_moves(cell, plan, least, ratio, premiums[1:3], changes):
            continue
        if not _exchanges(cell, plan, least, ratio, 1.5, changes):
            break


@compiled
def polish(cell: Cell, plan: Plan, least: float, ratio: bool, sweeps: int, kicks: int) -> None:
    """Improve a plan in place until no move does any more, or for so many sweeps; then shut experts and try again."""
    changes, state = np.zeros((len(cell.hosted), 3, 3)), 1
    if plan.sums[0] < least * ENOUGH:
        for device in range(len(cell.hosted)):
            _changes(cell, plan, device, changes)
        _fill(cell, plan, least, changes)
        time_plan(cell, plan)
    _descend(cell, plan, least, ratio, sweeps, changes)
    for _ in range(kicks):
        other = _copy(plan)
        for device in range(len(cell.hosted)):
            _changes(cell, other, device, changes)
        for _ in range(KICKED):
            state = (state * 75 + 74) % 65537  # a small generator: the same plans at every call
            expert = state % len(cell.host)
            if other.filled[expert] > 0:
                _shut(cell, other, expert, 3.0, changes)
            else:
                _open(cell, other, expert, 10.0, changes)
        if _fill(cell, other, least, changes):
            time_plan(cell, other)
            _descend(cell, other, least, ratio, sweeps // 2, changes)
            now = _value(plan.sums[0], plan.sums[1], least, ratio)
            if _value(other.sums[0], other.sums[1], least, ratio) > now + abs(now) * (BETTER - 1.0):
                _assign(plan, other)
