"""A selection of one cell with its sums, and what small changes of it ask of the band."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.joint.band import NEVER, ROUGH, STEPS, all_need, device_need, least_time
from baselines.joint.cell import Cell
from baselines.joint.compiled import compiled
from wdmoe_env.arrays import BoolArray, FloatArray

NONE = -1
"""Stands for no expert, and for no token."""
CANDIDATE = -1.0
"""Gate weights below this mark experts that a token may not use."""
ENOUGH = 1.0 - 1e-9
FAR = 1e6
"""Stands for the change of a need that cannot be met, in bands."""
EDGE = 1e-6
LOOK, TIMING = 40.0, 50.0
"""Work of finding a device's changes, and of timing a plan for each device: that of so many pairs looked at."""


class Plan(NamedTuple):
    """A selection and its sums: (E, J) choice, (E,) tokens, (U,) tokens, used experts and band shares, (J,) experts.

    `uses` lists (J, K) the experts of each token, `sums` holds gate mass, latency in seconds, and seconds that a band
    of its own would save.
    """

    chosen: NDArray[np.int8]
    filled: FloatArray
    tokens: FloatArray
    used: FloatArray
    share: FloatArray
    places: NDArray[np.int64]
    uses: NDArray[np.int64]
    sums: FloatArray


class Search(NamedTuple):
    """What a search looks for, and what it knows of the plan that it changes.

    Attributes:
        least: gate mass that is kept.
        ratio: whether mass over latency is to be large; else latency is to be short.
        changes: (U, 3, 3) by how much a device's need changes with one token less to one more, and experts alike.
        left: (1,) work that may still be done, in pairs of token and expert that are looked at.
        closed: (U,) devices that no token may enter.
    """

    least: float
    ratio: bool
    changes: FloatArray
    left: FloatArray
    closed: BoolArray


@compiled
def plan_of(cell: Cell, chosen: NDArray[np.int8]) -> Plan:
    """Sum up a (E, J) selection, with its exact latency."""
    devices, tokens = len(cell.hosted), chosen.shape[1]
    plan = Plan(
        np.zeros_like(chosen),
        np.zeros(len(cell.host)),
        np.zeros(devices),
        np.zeros(devices),
        np.ones(devices),
        np.zeros(tokens, np.int64),
        np.full((tokens, cell.top_k), NONE),
        np.zeros(3),
    )
    for expert in range(len(cell.host)):
        for token in range(tokens):
            if chosen[expert, token]:
                toggle(cell, plan, expert, token)
    time_plan(cell, plan)
    return plan


@compiled
def time_plan(cell: Cell, plan: Plan) -> None:
    """Find the exact latency of a plan, and what the band is worth."""
    plan.sums[1] = least_time(cell, plan.tokens, plan.used, plan.share, plan.sums[1])
    total, slope = all_need(cell, plan.tokens, plan.used, plan.sums[1], plan.share)
    if total == NEVER:  # rounding, where one device takes the whole band
        slope = all_need(cell, plan.tokens, plan.used, plan.sums[1] * (1.0 + EDGE), plan.share)[1]
    plan.sums[2] = -1.0 / slope if slope < 0.0 else 0.0


@compiled
def toggle(cell: Cell, plan: Plan, expert: int, token: int) -> None:
    """Make a token use an expert, or no longer use it; the latency is left as it was."""
    sign = -1.0 if plan.chosen[expert, token] else 1.0
    device, before = cell.host[expert], plan.filled[expert] > 0
    plan.chosen[expert, token] = 1 - plan.chosen[expert, token]
    if sign > 0.0:
        plan.uses[token, plan.places[token]] = expert
        plan.places[token] += 1
    else:
        plan.places[token] -= 1
        last = plan.places[token]
        for place in range(last):
            if plan.uses[token, place] == expert:
                plan.uses[token, place] = plan.uses[token, last]
        plan.uses[token, last] = NONE
    plan.filled[expert] += sign
    plan.tokens[device] += sign
    plan.used[device] += (1.0 if plan.filled[expert] > 0 else 0.0) - (1.0 if before else 0.0)
    plan.sums[0] += sign * cell.weights[expert, token]


@compiled
def copied(plan: Plan) -> Plan:
    """A plan of the same selection, with arrays of its own."""
    return Plan(
        plan.chosen.copy(),
        plan.filled.copy(),
        plan.tokens.copy(),
        plan.used.copy(),
        plan.share.copy(),
        plan.places.copy(),
        plan.uses.copy(),
        plan.sums.copy(),
    )


@compiled
def assign(to: Plan, source: Plan) -> None:
    """Make a plan the same as another."""
    to.chosen[:], to.filled[:], to.tokens[:], to.used[:] = source.chosen, source.filled, source.tokens, source.used
    to.share[:], to.places[:], to.uses[:], to.sums[:] = source.share, source.places, source.uses, source.sums


@compiled
def value_of(mass: float, latency: float, search: Search) -> float:
    """What is maximised: mass over latency, or one over latency; minus the mass that is lacking, if any is."""
    if mass < search.least * ENOUGH:
        return mass - search.least
    return (mass if search.ratio else 1.0) / max(latency, 1e-300)


@compiled
def timed_value(cell: Cell, plan: Plan, search: Search) -> float:
    """The value of a plan with its exact latency, which is found."""
    search.left[0] -= TIMING * len(cell.hosted)
    time_plan(cell, plan)
    return value_of(plan.sums[0], plan.sums[1], search)


@compiled
def find_changes(cell: Cell, plan: Plan, device: int, search: Search) -> None:
    """Find by how much a device's need at the plan's latency changes, nearly: of those changes that a move can make."""
    changes, latency, tokens, used = search.changes, plan.sums[1], plan.tokens[device], plan.used[device]
    search.left[0] -= LOOK
    changes[device] = FAR
    now = 0.0
    if tokens > 0:
        now = device_need(cell, device, tokens, used, latency, plan.share[device], 2 * ROUGH)
        if now == NEVER:  # too much already: less is worth a band
            changes[device, 0] = -1.0
            return
        if now > 0.0:
            plan.share[device] = now
    for more in range(-1, 0 if search.closed[device] else 2):
        for opened in range(min(more, 0), 2):
            if tokens + more < used + opened or used + opened < 0 or (tokens == 0 and more + opened != 2):
                continue
            if opened == 0 and more == 0:
                changes[device, 1, 1] = 0.0
                continue
            steps = ROUGH if tokens > 0 else STEPS
            wanted = device_need(cell, device, tokens + more, used + opened, latency, plan.share[device], steps)
            if wanted != NEVER:
                changes[device, more + 1, opened + 1] = wanted - now


@compiled
def find_all_changes(cell: Cell, plan: Plan, search: Search) -> None:
    """The same for all devices."""
    for device in range(len(cell.hosted)):
        find_changes(cell, plan, device, search)


@compiled
def apply(cell: Cell, plan: Plan, token: int, leaves: int, enters: int) -> None:
    """Let a token leave an expert and enter another, either of which may be `NONE`."""
    if leaves != NONE:
        toggle(cell, plan, leaves, token)
    if enters != NONE:
        toggle(cell, plan, enters, token)


@compiled
def change(cell: Cell, plan: Plan, token: int, leaves: int, enters: int, search: Search) -> None:
    """The same, with what further changes ask of the two devices found anew."""
    apply(cell, plan, token, leaves, enters)
    if leaves != NONE:
        find_changes(cell, plan, cell.host[leaves], search)
    if enters != NONE and (leaves == NONE or cell.host[enters] != cell.host[leaves]):
        find_changes(cell, plan, cell.host[enters], search)
