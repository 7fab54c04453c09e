"""Single steps that are kept while policies run, with the cell as it truly was: what bounds on a step are found for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdmoe_env import Observation, Outcome, Simulator
from wdmoe_env.arrays import FloatArray, IntArray
from wdmoe_env.system.compute import ComputeModel
from wdmoe_env.system.selection import PlainSums


@dataclass(frozen=True, slots=True)
class SampledSteps:
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
            self._seen = take(simulator.true_observation(), own), simulator.reference()[own]

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


def take(cells: Observation, rows: IntArray | slice) -> Observation:
    """Some of the cells; rows that are listed are copied."""
    return _each(lambda array: array[rows], cells)


def together(parts: Sequence[Observation]) -> Observation:
    """All cells one after the other."""
    return _each(lambda *arrays: np.concatenate(arrays), *parts)


def join(parts: Sequence[SampledSteps]) -> SampledSteps | None:
    """All steps one after the other; None where there are none."""
    if not parts:
        return None
    cells = together([part.cells for part in parts])
    step, episode, reference, reward, latency, mass = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("step", "episode", "reference", "reward", "latency", "retained_mass")
    )
    return SampledSteps(step, episode, cells, reference, reward, latency, mass)


def _each(change: Callable[..., NDArray[Any]], *cells: Observation) -> Observation:
    """Observation whose arrays are made from the arrays of the same name in all of `cells`."""
    arrays: dict[str, Any] = {}
    for name in (field.name for field in fields(Observation)):
        values = [getattr(one, name) for one in cells]
        if name == "plain" and values[0] is not None:
            arrays[name] = PlainSums(change(*[value.table for value in values]))
        elif name == "compute" and values[0] is not None:
            fixed, token = ([getattr(value, part) for value in values] for part in ("fixed_s", "token_s"))
            arrays[name] = ComputeModel(change(*fixed), change(*token), values[0].host)
        else:
            arrays[name] = None if values[0] is None else change(*values)
    return Observation(**arrays)
