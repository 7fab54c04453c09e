from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from evaluation.estimates.statistics import estimate, iqm, paired_ratio
from wdmoe_env.arrays import FloatArray

TRIALS = 400


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], 2.5),
        ([8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0], 4.5),
        ([1.0, 2.0, 6.0], 3.0),
        ([7.0], 7.0),
    ],
)
def test_iqm_by_hand(values: list[float], expected: float) -> None:
    assert iqm(np.array(values)) == expected


def test_estimate_by_hand() -> None:
    found = estimate([np.array([1.0, 3.0])])
    # Of the four equally likely resamples of two values, one is all low and one is all high.
    assert (found.mean, found.low, found.high, found.iqm) == (2.0, 1.0, 3.0, 2.0)
    assert found.as_dict() == {"mean": 2.0, "ci95": [1.0, 3.0], "iqm": 2.0, "iqm_ci95": [1.0, 3.0]}


def test_constant_values_have_an_interval_of_no_width() -> None:
    found = estimate([np.full(37, 0.1)])
    assert found.low == pytest.approx(0.1, rel=1e-12)
    assert found.high == pytest.approx(0.1, rel=1e-12)
    assert found.low <= found.mean <= found.high


def test_a_single_value_is_its_own_interval() -> None:
    found = estimate([np.array([4.0])])
    assert (found.mean, found.low, found.high) == (4.0, 4.0, 4.0)


def test_same_seed_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    assert estimate([values], seed=1) == estimate([values], seed=1)
    assert estimate([values], seed=1) != estimate([values], seed=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng: rng.normal(3.0, 2.0, size=60), 3.0),
        (lambda rng: rng.uniform(size=60), 0.5),
        (lambda rng: rng.exponential(size=60), 1.0),
    ],
    ids=["normal", "uniform", "exponential"],
)
def test_interval_covers_the_truth_in_about_95_percent(
    draw: Callable[[np.random.Generator], FloatArray], truth: float
) -> None:
    rng = np.random.default_rng(5)
    found = [estimate([draw(rng)], seed=trial) for trial in range(TRIALS)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.90 <= covered <= 0.98


def test_interval_of_the_mean_has_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = estimate([values])
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(values.size), rel=0.06)


def test_shared_episodes_are_no_independent_evidence() -> None:
    values = np.random.default_rng(2).normal(size=200)
    alone = estimate([values])
    together = estimate([values, values, values, values])
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=1e-9)


@pytest.mark.slow
def test_intervals_of_a_set_speak_for_training() -> None:
    """Runs differ more than episodes: intervals that only episodes are drawn for would cover next to nothing."""
    rng = np.random.default_rng(6)
    covered = []
    for trial in range(TRIALS // 2):
        runs = rng.normal(3.0, 1.0, size=(12, 1)) + rng.normal(0.0, 0.3, size=(1, 12)) + rng.normal(0.0, 0.3, (12, 12))
        found = estimate(list(runs), seed=trial)
        covered.append((found.low <= 3.0 <= found.high, found.iqm_low <= 3.0 <= found.iqm_high))
    of_mean, of_iqm = np.mean(covered, axis=0)
    assert 0.88 <= of_mean <= 0.97
    assert 0.88 <= of_iqm <= 0.98


def test_one_run_has_the_interval_of_its_episodes() -> None:
    values = np.random.default_rng(3).normal(size=30)
    rng = np.random.default_rng(0)
    means = values[rng.integers(30, size=(4000, 30))].mean(axis=1)
    found = estimate([values])
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), rel=1e-9)


def test_an_outlier_moves_the_mean_and_not_the_iqm() -> None:
    values = np.random.default_rng(4).normal(size=(5, 40))
    spoiled = values.copy()
    spoiled[2, :4] = -1e6
    plain, found = estimate(list(values)), estimate(list(spoiled))
    assert found.mean < -1e4
    assert found.iqm_low <= found.iqm <= found.iqm_high
    assert found.iqm == pytest.approx(plain.iqm, abs=0.1)
    assert found.iqm_high - found.iqm_low == pytest.approx(plain.iqm_high - plain.iqm_low, rel=0.5)


def test_paired() -> None:
    values, reference = np.array([1.0, 6.0]), np.array([2.0, 3.0])
    assert paired_ratio(values, reference).tolist() == [0.5, 2.0]
    with pytest.raises(ValueError, match="expected the same"):
        paired_ratio(values, reference[:1])


@pytest.mark.parametrize(
    ("strata", "message"),
    [
        ([], "at least one run"),
        ([np.zeros(0)], "at least one value"),
        ([np.array([1.0, np.nan])], "finite"),
        ([np.zeros(2), np.zeros(3)], r"\[2, 3\] episodes"),
    ],
)
def test_bad_input(strata: list[FloatArray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate(strata)


def test_episodes_of_one_cluster_are_one_piece_of_evidence():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(20), 10)
    values = rng.normal(size=20)[clusters] + 0.01 * rng.normal(size=200)
    alone, together = estimate([values]), estimate([values], clusters=clusters)
    assert together.mean == alone.mean
    # Ten copies of each of 20 values say what the 20 values say: the interval is wider by the root of ten.
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(np.sqrt(10), rel=0.15)


def test_clusters_of_one_change_nothing():
    values = np.random.default_rng(1).normal(size=50)
    assert estimate([values], clusters=np.arange(50)[::-1]).mean == estimate([values]).mean
    width = [found.high - found.low for found in (estimate([values]), estimate([values], clusters=np.arange(50)))]
    assert width[0] == width[1]
