"""Means, interquartile means and bootstrap intervals of per-episode values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.estimates.bootstrap import draw
from wdmoe_env.arrays import FloatArray, IntArray

FEW_RUNS = 5
"""With fewer training runs than this, a bootstrap over runs says little."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and an interquartile mean, each with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float
    iqm: float
    iqm_low: float
    iqm_high: float

    @property
    def of_mean(self) -> Interval:
        """The mean and its interval."""
        return Interval(self.mean, self.low, self.high)

    @property
    def of_iqm(self) -> Interval:
        """The interquartile mean and its interval."""
        return Interval(self.iqm, self.iqm_low, self.iqm_high)

    def as_dict(self) -> dict[str, float | list[float]]:
        """The form in which `summary.json` holds it."""
        ends, iqm_ends = [self.low, self.high], [self.iqm_low, self.iqm_high]
        return {"mean": self.mean, "ci95": ends, "iqm": self.iqm, "iqm_ci95": iqm_ends}


def iqm(values: FloatArray) -> float:
    """Interquartile mean: the mean of the middle half, a quarter (rounded down) cut off at each end.

    >>> iqm(np.array([100.0, 1.0, 2.0, 3.0, -50.0]))
    2.0
    """
    # Not `scipy.stats.trim_mean`: it adds up in another order, and 393 of 1,495 samples differ in the last bit.
    ordered = np.sort(values, axis=None)
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())


def estimate(runs: Sequence[FloatArray], *, clusters: IntArray | None = None, seed: int = 0) -> Estimate:
    """Estimate mean and interquartile mean over all runs and episodes, with percentile bootstraps of both.

    A resample draws runs and, independently, clusters of episodes: its interval speaks for other runs of the same
    training and for other episodes. With a single run it speaks for that run alone.

    Args:
        runs: one (n,) array for each training run, a single one for a baseline. The i-th values of all runs come from
            the same episode: drawing episodes apart would take what runs have in common for independent evidence.
        clusters: (n,) what episodes have in common, such as the forward pass whose gate weights they replay. Whole
            clusters are drawn: their episodes are no independent evidence either. None: all are independent.
        seed: of the bootstrap.

    Raises:
        ValueError: there is nothing to estimate from, a value is not finite, or runs differ in length.
    """
    table = as_table(runs)
    drawn = draw(len(table), np.arange(table.shape[1]) if clusters is None else clusters, seed=seed)
    mean, middle = (
        interval(drawn.means(table), float(table.mean())),
        interval(drawn.iqms(table), iqm(table)),
    )
    return Estimate(mean.value, mean.low, mean.high, middle.value, middle.low, middle.high)


def ratio_of_means(
    runs: Sequence[FloatArray], over: Sequence[FloatArray], *, clusters: IntArray, seed: int = 0
) -> Interval:
    """Mean over all runs and episodes as a share of the mean of other values of the same runs and episodes.

    Args:
        runs: one (n,) array for each run.
        over: what they are related to, above 0, in the same form.
        clusters: as in `estimate`.
        seed: of the bootstrap.
    """
    table, base = as_table(runs), as_table(over)
    drawn = draw(len(table), clusters, seed=seed)
    return interval(drawn.means(table) / drawn.means(base), float(table.mean() / base.mean()))


def as_table(runs: Sequence[FloatArray]) -> FloatArray:
    """Values of all runs, (runs, episodes).

    Raises:
        ValueError: there are none, one is not finite, or runs differ in length.
    """
    if not runs or any(values.ndim != 1 or not values.size for values in runs):
        raise ValueError("expected at least one run, each a one-dimensional array of at least one value")
    if len({values.size for values in runs}) > 1:
        raise ValueError(f"runs hold {[values.size for values in runs]} episodes, expected the same number in each")
    table = np.stack(runs)
    if not np.isfinite(table).all():
        raise ValueError("expected finite values only")
    return table


def interval(resampled: FloatArray, value: float) -> Interval:
    """A value and its 95 % percentile interval."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    # Rounding must not put constant values outside of their interval.
    return Interval(value, min(float(low), value), max(float(high), value))


def paired_ratio(values: FloatArray, reference: FloatArray) -> FloatArray:
    """Ratio of each value to the reference's value in the same episode, (n,)."""
    if values.shape != reference.shape:
        raise ValueError(f"values have shape {values.shape}, the paired reference {reference.shape}: expected the same")
    return values / reference
