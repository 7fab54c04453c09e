"""The crossed bootstrap: which training runs and which episodes each resample holds, and what follows from them.

All runs of a policy meet the same episodes, so values form a table of runs by episodes. A resample draws rows and
clusters of columns independently, both with replacement, and holds the table that they span.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import FloatArray, IntArray

RESAMPLES = 4000
_BLOCK = 1 << 17
"""Values that are worked on together: few enough to stay in a processor's cache."""
_RUNS = 1
"""Random stream of the runs of the first policy; 0 is the stream of the episodes."""


@dataclass(frozen=True, slots=True)
class Resamples:
    """How often each of B resamples holds each of R runs and each of N episodes.

    Attributes:
        runs: (B, R).
        episodes: (B, N).
    """

    runs: IntArray
    episodes: IntArray

    def means(self, table: FloatArray) -> FloatArray:
        """Mean of a (R, N) table in each resample, (B,)."""
        found = [
            ((runs @ table) * episodes).sum(axis=1) / (runs.sum(axis=1) * episodes.sum(axis=1))
            for runs, episodes in self._blocks(table.shape[1])
        ]
        return np.concatenate(found)

    def iqms(self, table: FloatArray) -> FloatArray:
        """Interquartile mean of a (R, N) table in each resample, (B,), as `statistics.iqm` has it."""
        ordered = np.sort(table, axis=None)
        found = []
        for rank in self._ranks(table):
            total = rank[:, -1:]
            cut = total // 4
            held = np.diff(np.clip(rank, cut, total - cut), axis=1, prepend=cut)
            found.append(held @ ordered / (total - 2 * cut)[:, 0])
        return np.concatenate(found)

    def shares_above(self, table: FloatArray, levels: FloatArray) -> FloatArray:
        """Share of a (R, N) table that is above each of L levels, in each resample, (B, L)."""
        below = np.searchsorted(np.sort(table, axis=None), levels, side="right")
        found = []
        for rank in self._ranks(table):
            found.append(1.0 - np.pad(rank, ((0, 0), (1, 0)))[:, below] / rank[:, -1:])
        return np.concatenate(found)

    def _ranks(self, table: FloatArray) -> Iterator[FloatArray]:
        """How many values of a resample are at most the i-th of the sorted table, (b, R N), block by block."""
        run, episode = np.divmod(np.argsort(table, axis=None, kind="stable"), table.shape[1])
        for runs, episodes in self._blocks(table.size):
            yield np.cumsum(runs[:, run] * episodes[:, episode], axis=1)

    def _blocks(self, width: int) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Some resamples at a time, so that `width` values of each do not fill memory."""
        size = max(1, _BLOCK // width)
        for start in range(0, len(self.runs), size):
            rows = slice(start, start + size)
            yield self.runs[rows].astype(np.float64), self.episodes[rows].astype(np.float64)


def draw(runs: int, clusters: IntArray, *, seed: int = 0, policy: int = 0, resamples: int = RESAMPLES) -> Resamples:
    """Draw as many runs and as many clusters of episodes as there are.

    Args:
        runs: R, how many there are; a single one is in every resample.
        clusters: (N,) what episodes have in common; those of one cluster are drawn together.
        seed: of the bootstrap. The same clusters and seed give the same episodes, whatever the runs: policies that are
            drawn so are paired.
        policy: policies of other numbers have other runs, drawn independently.
        resamples: B.
    """
    _, of = np.unique(clusters, return_inverse=True)
    episodes = _counts(int(of.max()) + 1, seed, 0, resamples)[:, of]
    return Resamples(_counts(runs, seed, _RUNS + policy, resamples), episodes)


@lru_cache(maxsize=16)
def _counts(size: int, seed: int, stream: int, resamples: int) -> NDArray[np.uint32]:
    """How often each of `size` things is among as many draws with replacement, (resamples, size)."""
    rng = np.random.default_rng([seed, stream])
    counts = np.empty((resamples, size), dtype=np.uint32)
    rows = max(1, _BLOCK // size)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = rng.integers(size, size=(count, size)) + size * np.arange(count)[:, np.newaxis]
        counts[start : start + count] = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
    counts.flags.writeable = False
    return counts
