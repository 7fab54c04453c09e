"""The local search over whole experts, for the cells of a problem one by one."""

from __future__ import annotations

from typing import Final

import numpy as np

from baselines.joint.cell import cells_of
from baselines.joint.plan import plan_of
from baselines.joint.problem import JointProblem
from baselines.joint.rounding import Objective
from baselines.joint.whole import polish
from wdmoe_env.arrays import BoolArray, FloatArray

SWEEPS: Final = (2, 20)
"""Least and most improvements of a cell."""
PAIRS: Final = 16_000
"""Pairs of token and expert that are looked at in all improvements of a cell, about."""
KICKS, SMALL = 3, 256
"""How often a cell of up to so many pairs of token and expert is disturbed and improved again."""


def polished(problem: JointProblem, chosen: BoolArray, least: FloatArray, objective: Objective) -> BoolArray:
    """Improve (N, E, J) selections that keep at least a (N,) gate mass; none becomes worse."""
    found, pairs = np.empty_like(chosen), problem.weights[0].size
    sweeps = int(np.clip(PAIRS // pairs, *SWEEPS))
    for index, cell in enumerate(cells_of(problem)):
        plan = plan_of(cell, chosen[index].astype(np.int8))
        polish(cell, plan, float(least[index]), objective == "wlr", sweeps, KICKS if pairs <= SMALL else 0)
        found[index] = plan.chosen
    return found
