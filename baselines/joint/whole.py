"""Moves of whole experts: all tokens of one leave it, or all that gain by it come, or another takes all of them over.

Moves are ranked by what they promise at the present latency: the band that a device needs for one token more or less,
with one used expert more or less, times what the band is worth. The best are tried with the exact least latency.
"""

from __future__ import annotations

import numpy as np

from baselines.joint.band import NEVER, ROUGH, device_need
from baselines.joint.cell import Cell
from baselines.joint.compiled import compiled
from baselines.joint.plan import (
    CANDIDATE,
    FAR,
    LOOK,
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
from baselines.joint.token_moves import BETTER, KEPT, fill, keep, no_moves
from wdmoe_env.arrays import FloatArray


@compiled
def shut(cell: Cell, plan: Plan, expert: int, premium: float, search: Search) -> float:
    """Send all tokens of an expert to where they gain most, or nowhere; return by how much needs change, about."""
    worth, source, changes = plan.sums[2] / plan.sums[1], cell.host[expert], search.changes
    band = 0.0
    for token in range(len(plan.places)):
        if not plan.chosen[expert, token]:
            continue
        search.left[0] -= len(cell.host)
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
            change(cell, plan, token, expert, to, search)
    return band


@compiled
def open_up(cell: Cell, plan: Plan, expert: int, premium: float, search: Search) -> float:
    """Take an expert on for all tokens that gain by it, once it is open; return by how much needs change, about."""
    worth, device, changes = plan.sums[2] / plan.sums[1], cell.host[expert], search.changes
    search.left[0] -= len(plan.places)
    band = 0.0
    for token in range(len(plan.places)):
        if plan.chosen[expert, token] or cell.weights[expert, token] < CANDIDATE:
            continue
        weight = cell.weights[expert, token]
        best, out = -np.inf, NONE
        cost = changes[device, 2, 1 if plan.tokens[device] > 0 else 2] * worth
        if plan.places[token] < cell.top_k:
            best = premium * weight / cell.plain_mass - cost
        for place in range(plan.places[token]):
            other = plan.uses[token, place]
            score = premium * (weight - cell.weights[other, token]) / cell.plain_mass - cost
            score -= changes[cell.host[other], 0, 0 if plan.filled[other] == 1 else 1] * worth
            if score > best:
                best, out = score, other
        if best > 0.0:
            band += changes[device, 2, 2 if plan.filled[expert] == 0 else 1]
            if out != NONE:
                band += changes[cell.host[out], 0, 0 if plan.filled[out] == 1 else 1]
            change(cell, plan, token, out, expert, search)
    return band


@compiled
def expert_moves(cell: Cell, plan: Plan, search: Search, premiums: FloatArray) -> bool:
    """Open or shut experts one after another where that is better at once; tell whether the plan got better."""
    find_all_changes(cell, plan, search)
    value, before, gained = value_of(plan.sums[0], plan.sums[1], search), copied(plan), False
    fresh = search.changes.copy()
    for expert in range(len(cell.host)):
        if search.left[0] <= 0.0:
            break
        for premium in premiums:
            if before.filled[expert] > 0:
                band = shut(cell, plan, expert, premium, search)
            else:
                band = open_up(cell, plan, expert, premium, search)
            if plan.sums[0] == before.sums[0]:
                continue
            after, latency = -np.inf, max(plan.sums[1] + band * plan.sums[2], 0.2 * plan.sums[1])
            # Even if the mass that is lacking cost nothing: is it better?
            if value_of(max(plan.sums[0], search.least), latency, search) > value and fill(cell, plan, search):
                after = timed_value(cell, plan, search)
            if after > value + abs(value) * BETTER:
                value, gained = after, True
                assign(before, plan)
                find_all_changes(cell, plan, search)
                fresh[:] = search.changes
                break
            assign(plan, before)
            search.changes[:] = fresh
    return gained


@compiled
def device_moves(cell: Cell, plan: Plan, search: Search, premiums: FloatArray, share: float) -> bool:
    """Send all tokens away from a device, where that is better at once; tell whether the plan got better.

    What the band is worth does not tell: a device far away takes nearly all of it, and gives nothing back for less.
    Tried are the device that takes most of the band, and those that take `share` times the mean or more.
    """
    value, before, gained = value_of(plan.sums[0], plan.sums[1], search), copied(plan), False
    taken = plan.share * (plan.tokens > 0)
    many = int((taken > share * taken.sum() / (taken > 0.0).sum()).sum())
    for device in np.argsort(-taken)[: max(many, 1)]:
        if search.left[0] <= 0.0:
            break
        search.closed[device] = True
        for premium in premiums:
            find_all_changes(cell, plan, search)
            for expert in range(len(cell.host)):
                if cell.host[expert] == device and plan.filled[expert] > 0:
                    shut(cell, plan, expert, premium, search)
            after = -np.inf
            if plan.tokens[device] == 0:
                timed_value(cell, plan, search)
                if value_of(max(plan.sums[0], search.least), plan.sums[1], search) > value and fill(cell, plan, search):
                    after = timed_value(cell, plan, search)
            if after > value + abs(value) * BETTER:
                value, gained = after, True
                assign(before, plan)
                break
            assign(plan, before)
        search.closed[device] = False
    return gained


@compiled
def exchanges(cell: Cell, plan: Plan, search: Search, premium: float) -> bool:
    """Move all tokens of an expert to one that is shut, if that is better; tell whether the plan got better."""
    best, worth = no_moves(KEPT), plan.sums[2] / plan.sums[1]
    for out in range(len(cell.host)):
        if plan.filled[out] == 0:
            continue
        theirs = np.flatnonzero(plan.chosen[out])
        for into in range(len(cell.host)):
            if plan.filled[into] == 0:
                search.left[0] -= len(theirs)
                mass = 0.0
                for token in theirs:
                    weight = cell.weights[into, token]
                    mass += weight - cell.weights[out, token] if weight >= CANDIDATE else -FAR
                most = premium * mass / cell.plain_mass + plan.share[cell.host[out]] * worth
                if most > best.key[KEPT - 1]:
                    search.left[0] -= LOOK
                    band = _exchange(cell, plan, out, into)
                    key = premium * mass / cell.plain_mass - band * worth
                    keep(best, 0, KEPT, key, NONE, out, into, mass, band)
    value, before = value_of(plan.sums[0], plan.sums[1], search), copied(plan)
    for place in range(KEPT):
        if best.key[place] == -np.inf:
            break
        for each in range(len(plan.places)):
            if before.chosen[best.leaves[place], each]:
                apply(cell, plan, each, int(best.leaves[place]), int(best.enters[place]))
        find_all_changes(cell, plan, search)
        if fill(cell, plan, search) and timed_value(cell, plan, search) > value + abs(value) * BETTER:
            return True
        assign(plan, before)
    return False


@compiled
def _exchange(cell: Cell, plan: Plan, out: int, into: int) -> float:
    """Band that is needed if an expert takes over all tokens of another."""
    one, other = cell.host[out], cell.host[into]
    if one == other:
        return 0.0
    latency, count = plan.sums[1], plan.filled[out]
    band = 0.0
    for device, more, opened in ((one, -count, -1.0), (other, count, 1.0)):
        tokens, used = plan.tokens[device], plan.used[device]
        now = plan.share[device] if tokens > 0 else 0.0
        after = device_need(cell, device, tokens + more, used + opened, latency, plan.share[device], 2 * ROUGH)
        band += after - now if after != NEVER else FAR
    return band
