from __future__ import annotations

import numpy as np
import pytest

from evaluation.estimates import bootstrap
from evaluation.estimates.bootstrap import draw
from evaluation.estimates.statistics import iqm

RUNS, EPISODES = 4, 30


@pytest.fixture
def table() -> np.ndarray:
    # Values repeat, so that ties are met too.
    return np.random.default_rng(0).integers(12, size=(RUNS, EPISODES)) / 4.0


def test_a_resample_is_the_table_that_drawn_runs_and_clusters_span(table: np.ndarray) -> None:
    clusters = np.random.default_rng(1).integers(9, size=EPISODES)
    drawn = draw(RUNS, clusters, resamples=40)
    means, middles = drawn.means(table), drawn.iqms(table)
    shares = drawn.shares_above(table, np.array([0.5, 1.3]))
    for index, (runs, episodes) in enumerate(zip(drawn.runs, drawn.episodes, strict=True)):
        held = np.repeat(np.repeat(table, runs, axis=0), episodes, axis=1)
        assert means[index] == pytest.approx(held.mean())
        assert middles[index] == pytest.approx(iqm(held))
        assert shares[index] == pytest.approx([(held > 0.5).mean(), (held > 1.3).mean()])


def test_whole_clusters_and_as_many_as_there_are_are_drawn() -> None:
    clusters = np.array([5, 9, 5, 7, 9, 5])
    drawn = draw(3, clusters, resamples=50)
    assert (drawn.runs.sum(axis=1) == 3).all()
    assert (drawn.episodes[:, [0, 1, 3]].sum(axis=1) == 3).all()
    for cluster in (5, 9):
        of_it = drawn.episodes[:, clusters == cluster]
        assert (of_it == of_it[:, :1]).all()


def test_policies_share_episodes_but_not_runs() -> None:
    clusters = np.arange(EPISODES)
    one, other = draw(RUNS, clusters, policy=0), draw(RUNS, clusters, policy=1)
    np.testing.assert_array_equal(one.episodes, other.episodes)
    first = [drawn.runs[:, 0] / 1.0 for drawn in (one, other)]
    assert abs(np.corrcoef(*first)[0, 1]) < 0.05
    by_episode = one.episodes[:, 0] / 1.0
    assert abs(np.corrcoef(first[0], by_episode)[0, 1]) < 0.05
    assert (draw(1, clusters, policy=3).runs == 1).all()


def test_blocks_change_nothing(table: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[np.ndarray]:
        bootstrap._counts.cache_clear()
        drawn = draw(RUNS, np.arange(EPISODES), resamples=100)
        return [drawn.means(table), drawn.iqms(table), drawn.shares_above(table, np.array([1.0]))]

    whole = found()
    monkeypatch.setattr(bootstrap, "_BLOCK", 7 * EPISODES)
    for one, other in zip(whole, found(), strict=True):
        np.testing.assert_array_equal(one, other)
