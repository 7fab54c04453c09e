"""Pairs of policies: how often one earns more reward than the other in the same episode, and how much more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from evaluation.estimates.bootstrap import Resamples, draw
from evaluation.estimates.statistics import Interval, as_table, interval
from wdmoe_env.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Pair:
    """A policy against another one.

    Attributes:
        policy: whose reward is compared.
        other: with whose.
        probability: that it has more reward in an episode, a tie counting half, over all pairs of runs.
        change: difference of mean rewards as a share of the other's; None where the other's mean is not above 0 in
            every resample, as nothing can be related to it.
    """

    policy: str
    other: str
    probability: Interval
    change: Interval | None


def improvements(names: Sequence[str], rewards: Sequence[Sequence[FloatArray]], clusters: IntArray) -> tuple[Pair, ...]:
    """Compare every policy with every other one, episodes paired, with crossed bootstraps.

    Args:
        names: of the policies.
        rewards: of each policy, one (n,) array for each of its runs.
        clusters: (n,) what the episodes have in common.
    """
    tables = [as_table(runs) for runs in rewards]
    drawn = [draw(len(table), clusters, policy=index) for index, table in enumerate(tables)]
    means = [resamples.means(table) for resamples, table in zip(drawn, tables, strict=True)]
    return tuple(
        Pair(
            names[one],
            names[other],
            _probability(tables[one], tables[other], drawn[one], drawn[other]),
            _change(tables[one], tables[other], means[one], means[other]),
        )
        for one, other in permutations(range(len(names)), 2)
    )


def _probability(table: FloatArray, other: FloatArray, drawn: Resamples, drawn_other: Resamples) -> Interval:
    ahead = np.sign(table[:, np.newaxis] - other[np.newaxis]).reshape(-1, table.shape[1])
    pairs = (drawn.runs[:, :, np.newaxis] * drawn_other.runs[:, np.newaxis]).reshape(-1, len(ahead))
    score = 0.5 + 0.5 * ahead
    value = float(score.mean())
    return interval(Resamples(pairs, drawn.episodes).means(score), value)


def _change(table: FloatArray, other: FloatArray, means: FloatArray, means_other: FloatArray) -> Interval | None:
    base = float(other.mean())
    if min(base, float(means_other.min())) <= 0.0:
        return None
    value = float(table.mean()) / base - 1.0
    return interval(means / means_other - 1.0, value)
