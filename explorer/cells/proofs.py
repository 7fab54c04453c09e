"""What is proved of the cells that episodes meet: the most reward of a layer, the least time for its mass."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from evaluation.episodes.plan import BOUNDED_METRIC, SHARED_SCALE
from evaluation.estimates.optimality import StepBounds, prove
from explorer.cells.episodes import Moment
from wdmoe_env import Observation, Scenario

BATCH = 4


@dataclass(frozen=True, slots=True)
class Proved:
    """What no decision in a layer can beat.

    Attributes:
        reward: the most of it.
        bounds: of this layer alone.
    """

    reward: float
    bounds: StepBounds

    def least_latency(self, mass: float) -> float:
        """Seconds that a layer takes at least which keeps so much of the gate mass."""
        return float(self.bounds.least_latency(mass)[0])


def provable(scenario: Scenario) -> bool:
    """Whether a bound on the reward is known for a scenario."""
    return scenario.bounded and (scenario.reward.metric, scenario.reward.scale) == (BOUNDED_METRIC, SHARED_SCALE)


class Proofs:
    """What was proved of a scenario's cells until now; policies that meet the same cell share it."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario, self._lock = scenario, Lock()
        self._known: dict[bytes, Proved] = {}

    def of(self, moment: Moment) -> Proved | None:
        """What is proved of a cell; None where nothing is yet."""
        return self._known.get(_key(moment.cell))

    def prove(self, moments: Sequence[Moment], seconds: float) -> bool:
        """Prove of these what is not yet proved, first ones first, for about so many seconds; return whether all is."""
        if not provable(self._scenario):
            return True
        end = time.monotonic() + seconds
        with self._lock:
            left = {_key(moment.cell): moment for moment in moments if self.of(moment) is None}
            while left and time.monotonic() < end:
                some = [left.pop(key) for key in list(left)[:BATCH]]
                self._prove(some)
        return not left

    def _prove(self, moments: Sequence[Moment]) -> None:
        cells = Observation.join([moment.cell for moment in moments])
        found = prove(cells, np.array([moment.reference for moment in moments]), self._scenario)
        for row, moment in enumerate(moments):
            self._known[_key(moment.cell)] = Proved(float(found.reward[row]), found.take(slice(row, row + 1)))


def _key(cell: Observation) -> bytes:
    """All that a bound depends on."""
    digest = hashlib.blake2b(digest_size=16)
    parts = [cell.gain_dl, cell.gain_ul, cell.load, cell.gate_weights]
    if cell.compute is not None:
        parts += [cell.compute.fixed_s, cell.compute.token_s]
    for values in parts:
        digest.update(values.tobytes())
    return digest.digest()
