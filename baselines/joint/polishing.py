"""The local search over whole experts and single tokens, for the cells of a problem one by one."""

from __future__ import annotations

import numpy as np

from baselines.joint.cell import Cell, cells_of
from baselines.joint.compiled import compiled
from baselines.joint.plan import (
    ENOUGH,
    Plan,
    Search,
    assign,
    copied,
    find_all_changes,
    plan_of,
    timed_value,
    value_of,
)
from baselines.joint.problem import JointProblem, few_tokens
from baselines.joint.rounding import Objective
from baselines.joint.token_moves import BETTER, fill, token_moves
from baselines.joint.whole import device_moves, exchanges, expert_moves, open_up, shut
from wdmoe_env.arrays import BoolArray, FloatArray, IntArray

WORK, FAR_WORK = 2.5e6, 2.5e5
"""Work that is done for a cell: that of so many pairs of token and expert that are looked at. The second: where all
that is hard about it is a device out of reach."""
KICKS, KICKED = 3, 3
"""How often a plan is disturbed and improved again while there is work left, and how many experts that takes."""
GREEDY = 2.0
"""Times the mean share of the band that a device takes which it is worth a try to do without."""


def polished(
    problem: JointProblem, chosen: BoolArray, least: FloatArray, objective: Objective, rows: IntArray | None = None
) -> BoolArray:
    """Improve (N, E, J) selections that keep at least a (N,) gate mass, or those of some rows; none becomes worse."""
    rows = np.arange(len(chosen)) if rows is None else rows
    found, work = chosen.copy(), WORK if few_tokens(problem) else FAR_WORK
    for index, cell in zip(rows, cells_of(problem, rows), strict=True):
        plan = plan_of(cell, chosen[index].astype(np.int8))
        devices = len(cell.hosted)
        changes, closed = np.zeros((devices, 3, 3)), np.zeros(devices, dtype=np.bool_)
        search = Search(float(least[index]), objective == "wlr", changes, np.array([work]), closed)
        polish(cell, plan, search)
        found[index] = plan.chosen
    return found


@compiled
def polish(cell: Cell, plan: Plan, search: Search) -> None:
    """Improve a plan in place until no move does any more; then shut and open experts and try again."""
    state = 1
    if plan.sums[0] < search.least * ENOUGH:
        find_all_changes(cell, plan, search)
        fill(cell, plan, search)
        timed_value(cell, plan, search)
    _descend(cell, plan, search)
    for _ in range(KICKS):
        if search.left[0] <= 0.0:
            break
        other = copied(plan)
        find_all_changes(cell, other, search)
        for _ in range(KICKED):
            state = (state * 75 + 74) % 65537  # a small generator: the same plans at every call
            expert = state % len(cell.host)
            if other.filled[expert] > 0:
                shut(cell, other, expert, 3.0, search)
            else:
                open_up(cell, other, expert, 10.0, search)
        if fill(cell, other, search):
            timed_value(cell, other, search)
            _descend(cell, other, search)
            now = value_of(plan.sums[0], plan.sums[1], search)
            if value_of(other.sums[0], other.sums[1], search) > now + abs(now) * BETTER:
                assign(plan, other)


@compiled
def _descend(cell: Cell, plan: Plan, search: Search) -> None:
    """Improve a plan until no move does, or all work is done."""
    premiums, opening = np.array([1.0, 1.5, 3.0, 10.0]), cell.fixed_s.max() > 0.0
    while search.left[0] > 0.0:
        gained = device_moves(cell, plan, search, premiums[1:3], GREEDY)
        gained = (opening and expert_moves(cell, plan, search, premiums[1:3])) or gained
        while search.left[0] > 0.0 and token_moves(cell, plan, search, premiums):
            gained = True
        gained = gained or (opening and exchanges(cell, plan, search, 1.5))
        if not gained and not device_moves(cell, plan, search, premiums[1:3], 0.0):
            break
