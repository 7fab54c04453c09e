"""Single steps that are kept while policies run, with the cell as it truly was: what bounds on a step are found for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdmoe_env import Observation, Outcome, Simulator
from wdmoe_env.arrays import Batch, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class SampledSteps(Batch):
    """S single steps of a policy's episodes.

    Attributes:
        step: (S,) index within the episode.
        episode: (S,) index among all episodes of the plan.
        cells: the S cells just before the decision, with their true channels and compute.
        reference: (S,) block WLR, 1/s, of plain top-K with equal shares in the same cells.
        reward: (S,) what the step brought.
        latency: (S,) seconds that it took.
        retained_mass: (S,) what was kept of plain top-K routing's gate mass.
    """

    step: IntArray
    episode: IntArray
    cells: Observation
    reference: FloatArray
    reward: FloatArray
    latency: FloatArray
    retained_mass: FloatArray


class Sampler:
    """Keeps some steps of one chunk of episodes.

    Args:
        step: (S,) which steps, rising.
        episode: (S,) in which of the plan's episodes.
        start: index of the chunk's first episode.
    """

    def __init__(self, step: IntArray, episode: IntArray, start: int) -> None:
        self._step, self._episode, self._start = step, episode, start
        self._kept: list[SampledSteps] = []
        self._seen: tuple[Observation, FloatArray] | None = None

    def before(self, simulator: Simulator) -> None:
        """See the cells that are about to be decided."""
        self._seen = None
        if len(rows := self._rows(simulator.steps)):
            own = self._episode[rows] - self._start
            self._seen = simulator.true_observation().take(own), simulator.reference()[own]

    def after(self, outcome: Outcome, step: int) -> None:
        """See what came of it."""
        if self._seen is None:
            return
        rows = self._rows(step)
        episode = self._episode[rows]
        values = [outcome.metrics[name][episode - self._start] for name in ("reward", "latency", "retained_mass")]
        self._kept.append(SampledSteps(self._step[rows], episode, *self._seen, *values))

    def kept(self) -> list[SampledSteps]:
        """What was kept, step by step."""
        return self._kept

    def _rows(self, step: int) -> NDArray[np.int64]:
        return np.flatnonzero(self._step == step)
