"""Means, interquartile means and bootstrap intervals of per-episode values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wdmoe_env.interface import FloatArray, IntArray

RESAMPLES = 4000
_BLOCK = 1 << 21


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, the 95 % interval of that mean, and the interquartile mean."""

    mean: float
    low: float
    high: float
    iqm: float

    def as_dict(self) -> dict[str, float | list[float]]:
        """The form in which `summary.json` holds it."""
        return {"mean": self.mean, "ci95": [self.low, self.high], "iqm": self.iqm}


def iqm(values: FloatArray) -> float:
    """Interquartile mean: the mean of the middle half, a quarter (rounded down) cut off at each end.

    >>> iqm(np.array([100.0, 1.0, 2.0, 3.0, -50.0]))
    2.0
    """
    ordered = np.sort(values, axis=None)
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())


def estimate(
    strata: Sequence[FloatArray], *, shared: bool = True, clusters: IntArray | None = None, seed: int = 0
) -> Estimate:
    """Estimate the mean of all strata, each weighing the same, with a percentile bootstrap of the mean.

    A stratum holds the values of one training run; a baseline has a single one. The interval therefore speaks for the
    runs that were given, not for all that training could have brought.

    Args:
        strata: one (n,) array for each stratum.
        shared: the i-th values of all strata come from the same episode. The episodes are then drawn once for all
            strata; drawing them apart would take what the runs have in common for independent evidence.
        clusters: (n,) what shared episodes have in common, such as the forward pass whose gate weights they replay.
            Whole clusters are drawn: their episodes are no independent evidence either. None: all are independent.
        seed: of the bootstrap.

    Raises:
        ValueError: there is nothing to estimate from, a value is not finite, or shared strata differ in length.
    """
    if not strata or any(values.ndim != 1 or not values.size for values in strata):
        raise ValueError("expected at least one stratum, each a one-dimensional array of at least one value")
    if not all(np.isfinite(values).all() for values in strata):
        raise ValueError("expected finite values only")
    if shared and len({values.size for values in strata}) > 1:
        raise ValueError(f"strata hold {[values.size for values in strata]} episodes, expected the same number in each")
    # One draw of episodes for all strata is the same as a draw from the average over the strata.
    drawn_from = [np.mean(strata, axis=0)] if shared else list(strata)
    means = bootstrap_means(drawn_from, clusters=clusters, seed=seed)
    low, high = np.percentile(means, [2.5, 97.5])
    mean = float(np.mean([values.mean() for values in strata]))
    # Rounding must not put the mean of constant values outside of their interval.
    return Estimate(mean, min(float(low), mean), max(float(high), mean), iqm(np.concatenate(list(strata))))


def bootstrap_means(
    strata: Sequence[FloatArray], *, clusters: IntArray | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> FloatArray:
    """Means of stratified resamples, (resamples,): each stratum is resampled within itself and weighs the same.

    A resample draws as many clusters as there are, with replacement; without clusters every value is one.
    """
    rng = np.random.default_rng(seed)
    means = np.zeros(resamples)
    for values in strata:
        _, of = np.unique(np.arange(values.size) if clusters is None else clusters, return_inverse=True)
        totals, sizes = np.bincount(of, weights=values), np.bincount(of)
        rows = max(1, _BLOCK // totals.size)
        for start in range(0, resamples, rows):
            count = min(rows, resamples - start)
            drawn = rng.integers(totals.size, size=(count, totals.size))
            means[start : start + count] += totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1) / len(strata)
    return means


def paired_ratio(values: FloatArray, reference: FloatArray) -> FloatArray:
    """Ratio of each value to the reference's value in the same episode, (n,)."""
    if values.shape != reference.shape:
        raise ValueError(f"values have shape {values.shape}, the paired reference {reference.shape}: expected the same")
    return values / reference
