"""How close single steps come to what is proved to be the most that any decision could have brought in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from baselines import bound
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.runner import PolicyRun
from evaluation.episodes.sampling import SampledSteps
from wdmoe_env import Observation, Scenario
from wdmoe_env.arrays import BoolArray, FloatArray, IntArray

BATCH = 32
"""Cells whose bounds are found together: large cells fill memory, and the progress bar moves on after each batch."""
ABOVE = 0.75
"""Part of the way from the mass floor to 1 at which the frontier is found too: it is steep there."""
TOLERANCE = 1e-6
"""By how much of a bound rounding may exceed it."""


@dataclass(frozen=True, slots=True)
class StepBounds:
    """What is proved about S steps.

    Attributes:
        reward: (S,) the most that any decision brings, those below the mass floor included.
        above: (S,) the most that any decision brings which keeps the mass floor: the ruler, as no bonus for breaking
            the floor stretches it.
        line: least latency in seconds against retained mass, in each step.
    """

    reward: FloatArray
    above: FloatArray
    line: bound.Frontier

    def least_latency(self, mass: float | FloatArray) -> FloatArray:
        """Least seconds (S,) at a retained mass: one number, or (S,)."""
        masses = np.broadcast_to(mass, self.reward.shape)
        rows = zip(masses, self.line.mass, self.line.latency, strict=True)
        return np.array([np.interp(at, across, up) for at, across, up in rows])

    def take(self, rows: slice) -> StepBounds:
        """What is proved about some of the steps."""
        line = bound.Frontier(self.line.mass[rows], self.line.latency[rows])
        return StepBounds(self.reward[rows], self.above[rows], line)


@dataclass(frozen=True, slots=True)
class StepOptimality:
    """A run's sampled steps beside what is proved about them.

    Attributes:
        share: (S,) reward as a share of the most that any decision could have brought in the same cell.
        bounds: what is proved; the same object for all runs that met the same cells.
        latency: (S,) seconds that the steps took.
        mean_latency: seconds of all steps of the run, not of the sampled ones alone.
        clusters: (S,) what the steps' episodes have in common, as in `PolicyRun`.
    """

    share: FloatArray
    bounds: StepBounds
    latency: FloatArray
    mean_latency: float
    clusters: IntArray


@dataclass(frozen=True, slots=True)
class OptimalityEstimator:
    """Finds the bounds of one scenario's sampled steps, once for all policies that meet the same cells.

    Attributes:
        scenario: what is simulated.
        known: cells that were judged before, and what is proved about them.
    """

    scenario: Scenario
    known: list[tuple[Observation, StepBounds]] = field(default_factory=list)

    def measure(self, run: PolicyRun, name: str, tick: Callable[[], None]) -> StepOptimality | None:
        """Compare a run's sampled steps with their bounds; None where it has none.

        Args:
            run: of a policy in the scenario.
            name: what errors call the policy.
            tick: called for each step, for a progress bar.

        Raises:
            EvaluationError: a step is better than what is proved to be possible.
        """
        steps = run.sampled
        if steps is None:
            return None
        bounds = self._bounds(steps, tick)
        self._check(steps, bounds, name)
        mean_latency = float(run.steps["latency"].mean(dtype=np.float64))
        return StepOptimality(
            steps.reward / bounds.reward, bounds, steps.latency, mean_latency, run.clusters[steps.episode]
        )

    def _bounds(self, steps: SampledSteps, tick: Callable[[], None]) -> StepBounds:
        cells, count = steps.cells, len(steps.cells.layer)
        found = next((bounds for known, bounds in self.known if _same_cells(known, cells)), None)
        if found is not None:
            for _ in range(count):
                tick()
            return found
        parts = []
        for start in range(0, count, BATCH):
            rows = slice(start, start + BATCH)
            some = cells.take(rows)
            parts.append(prove(some, steps.reference[rows], self.scenario))
            for _ in some.layer:
                tick()
        mass, latency = (_stacked([getattr(part.line, name) for part in parts]) for name in ("mass", "latency"))
        reward, above = (np.concatenate([getattr(part, name) for part in parts]) for name in ("reward", "above"))
        found = StepBounds(reward, above, bound.Frontier(mass, latency))
        self.known.append((cells, found))
        return found

    def _check(self, steps: SampledSteps, bounds: StepBounds, name: str) -> None:
        least = bounds.least_latency(steps.retained_mass - bound.MASS_TOLERANCE)
        most = bounds.reward
        self._refuse_beyond(steps.reward > most * (1.0 + TOLERANCE), steps, name, "reward", steps.reward, most)
        self._refuse_beyond(steps.latency < least * (1.0 - TOLERANCE), steps, name, "latency", steps.latency, least)

    def _refuse_beyond(
        self, wrong: BoolArray, steps: SampledSteps, name: str, what: str, value: FloatArray, limit: FloatArray
    ) -> None:
        if not wrong.any():
            return
        at = int(wrong.argmax())
        raise EvaluationError(
            f"policy {name!r} in scenario {self.scenario.name!r}, step {steps.step[at]}, episode {steps.episode[at]}: "
            f"{what} {value[at]:.8g} is better than {limit[at]:.8g}, which is proved to be the best: a bug in the "
            "model or in the proof, please report it"
        )


def prove(cells: Observation, reference: FloatArray, scenario: Scenario) -> StepBounds:
    """What is proved about S cells as they truly are, from the (S,) block WLR of plain top-K, 1/s, in them."""
    floor = scenario.reward.mass_floor
    masses = np.unique([*bound.reward_grid(scenario), floor + ABOVE * (1.0 - floor)])
    line = bound.frontier(cells, scenario, masses.tolist())
    ratio = bound.wlr_bound(cells, scenario, line)
    above = ratio / reference if scenario.reward.normalize == "top-k" else ratio
    return StepBounds(bound.reward_bound(cells, scenario, line, reference, ratio), above, line)


def _stacked(rows: list[FloatArray]) -> FloatArray:
    """All rows below each other; those of a batch with fewer points end with their last one again."""
    points = max(values.shape[1] for values in rows)
    return np.concatenate([np.pad(values, ((0, 0), (0, points - values.shape[1])), mode="edge") for values in rows])


def _same_cells(one: Observation, other: Observation) -> bool:
    """Whether all is the same that a bound depends on; how long devices took before is not."""
    names = ("gain_dl", "gain_ul", "load", "gate_weights")
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
    if not same or one.compute is None or other.compute is None:
        return same and one.compute is other.compute
    pairs = ((getattr(cells.compute, name) for cells in (one, other)) for name in ("fixed_s", "token_s"))
    return all(np.array_equal(*pair) for pair in pairs)
