"""A selection of one cell with its sums, and what small changes of it ask of the band."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.joint.band import NEVER, all_need, device_need, least_time
from baselines.joint.cell import Cell
from baselines.joint.compiled import compiled
from wdmoe_env.arrays import FloatArray

NONE = -1
"""Stands for no expert, and for no token."""
CANDIDATE = -1.0
"""Gate weights below this mark experts that a token may not use."""
ENOUGH = 1.0 - 1e-9
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
                toggle(cell, plan, expert, token)
    time_plan(cell, plan)
    return plan


@compiled
def time_plan(cell: Cell, plan: Plan) -> None:
    """Find the exact latency of a plan, and what the band is worth."""
    plan.sums[1] = least_time(cell, plan.tokens, plan.used, plan.share, plan.sums[1])
    slope = all_need(cell, plan.tokens, plan.used, plan.sums[1], plan.share)[1]
    plan.sums[2] = -1.0 / slope if slope < 0.0 else 0.0


@compiled
def toggle(cell: Cell, plan: Plan, expert: int, token: int) -> None:
    """Make a token use an expert, or no longer use it; the latency is left as it was."""
    sign = -1.0 if plan.chosen[expert, token] else 1.0
    device, before = cell.host[expert], plan.filled[expert] > 0
    plan.chosen[expert, token] = 1 - plan.chosen[expert, token]
    plan.filled[expert] += sign
    plan.tokens[device] += sign
    plan.places[token] += sign
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
        plan.sums.copy(),
    )


@compiled
def assign(to: Plan, source: Plan) -> None:
    """Make a plan the same as another."""
    to.chosen[:], to.filled[:], to.tokens[:], to.used[:] = source.chosen, source.filled, source.tokens, source.used
    to.share[:], to.places[:], to.sums[:] = source.share, source.places, source.sums


@compiled
def value_of(mass: float, latency: float, least: float, ratio: bool) -> float:
    """What is maximised: mass over latency, or one over latency; minus the mass that is lacking, if any is."""
    if mass < least * ENOUGH:
        return mass - least
    return (mass if ratio else 1.0) / max(latency, 1e-300)


@compiled
def find_changes(cell: Cell, plan: Plan, device: int, changes: FloatArray) -> None:
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
def apply(cell: Cell, plan: Plan, token: int, leaves: int, enters: int) -> None:
    """Let a token leave an expert and enter another, either of which may be `NONE`."""
    if leaves != NONE:
        toggle(cell, plan, leaves, token)
    if enters != NONE:
        toggle(cell, plan, enters, token)


@compiled
def change(cell: Cell, plan: Plan, token: int, leaves: int, enters: int, changes: FloatArray) -> None:
    """The same, with what further changes ask of the two devices found anew."""
    apply(cell, plan, token, leaves, enters)
    if leaves != NONE:
        find_changes(cell, plan, cell.host[leaves], changes)
    if enters != NONE:
        find_changes(cell, plan, cell.host[enters], changes)
