"""A local search for one cell that opens and shuts experts as a whole, beside moves of single tokens and of pairs.

Moves are ranked by what they promise at the present latency: the band that a device needs for one token more or less,
with one used expert more or less, times what the band is worth. The best are tried with the exact least latency.
"""

from __future__ import annotations

import numpy as np

from baselines.joint.band import NEVER, device_need
from baselines.joint.cell import Cell
from baselines.joint.compiled import compiled
from baselines.joint.plan import (
    CANDIDATE,
    ENOUGH,
    FAR,
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
from baselines.joint.token_moves import BETTER, KEPT, fill, keep, no_moves, token_moves
from wdmoe_env.arrays import FloatArray

KICKED = 3
"""Experts that are opened or shut at once to leave a plan that no move improves."""


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
            change(cell, plan, token, expert, to, changes)
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
            change(cell, plan, token, out, expert, changes)
    return band


@compiled
def _expert_moves(cell: Cell, plan: Plan, least: float, ratio: bool, premiums: FloatArray, changes: FloatArray) -> bool:
    """Open or shut experts one after another where that is better at once; tell whether the plan got better."""
    value, before, gained = value_of(plan.sums[0], plan.sums[1], least, ratio), copied(plan), False
    fresh = np.zeros_like(changes)
    for device in range(len(cell.hosted)):
        find_changes(cell, plan, device, fresh)
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
            if value_of(max(plan.sums[0], least), latency, least, ratio) > value and fill(cell, plan, least, changes):
                time_plan(cell, plan)
                after = value_of(plan.sums[0], plan.sums[1], least, ratio)
            if after > value + abs(value) * BETTER:
                value, gained = after, True
                assign(before, plan)
                for device in range(len(cell.hosted)):
                    find_changes(cell, plan, device, fresh)
                break
            assign(plan, before)
    return gained


@compiled
def _exchanges(cell: Cell, plan: Plan, least: float, ratio: bool, premium: float, changes: FloatArray) -> bool:
    """Move all tokens of an expert to one that is shut, if that is better; tell whether the plan got better."""
    best, worth = no_moves(KEPT), plan.sums[2] / plan.sums[1]
    for out in range(len(cell.host)):
        if plan.filled[out] == 0:
            continue
        for into in range(len(cell.host)):
            if plan.filled[into] == 0:
                mass, band = _exchange(cell, plan, out, into)
                keep(best, 0, KEPT, premium * mass / cell.plain_mass - band * worth, NONE, out, into, mass, band)
    value, before = value_of(plan.sums[0], plan.sums[1], least, ratio), copied(plan)
    for place in range(KEPT):
        if best.key[place] == -np.inf:
            break
        for token in range(len(plan.places)):
            if before.chosen[best.leaves[place], token]:
                apply(cell, plan, token, best.leaves[place], best.enters[place])
        for device in range(len(cell.hosted)):
            find_changes(cell, plan, device, changes)
        if fill(cell, plan, least, changes):
            time_plan(cell, plan)
            if value_of(plan.sums[0], plan.sums[1], least, ratio) > value + abs(value) * BETTER:
                return True
        assign(plan, before)
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
        if token_moves(cell, plan, least, ratio, premiums, changes):
            continue
        if cell.fixed_s.max() == 0.0:  # an open expert costs nothing
            break
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
            find_changes(cell, plan, device, changes)
        fill(cell, plan, least, changes)
        time_plan(cell, plan)
    _descend(cell, plan, least, ratio, sweeps, changes)
    for _ in range(kicks):
        other = copied(plan)
        for device in range(len(cell.hosted)):
            find_changes(cell, other, device, changes)
        for _ in range(KICKED):
            state = (state * 75 + 74) % 65537  # a small generator: the same plans at every call
            expert = state % len(cell.host)
            if other.filled[expert] > 0:
                _shut(cell, other, expert, 3.0, changes)
            else:
                _open(cell, other, expert, 10.0, changes)
        if fill(cell, other, least, changes):
            time_plan(cell, other)
            _descend(cell, other, least, ratio, sweeps // 2, changes)
            now = value_of(plan.sums[0], plan.sums[1], least, ratio)
            if value_of(other.sums[0], other.sums[1], least, ratio) > now + abs(now) * BETTER:
                assign(plan, other)
