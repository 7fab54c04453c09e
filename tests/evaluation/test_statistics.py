from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from evaluation.statistics import bootstrap_means, estimate, iqm, paired_ratio
from wdmoe_env.interface import FloatArray

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
    assert found.as_dict() == {"mean": 2.0, "ci95": [1.0, 3.0], "iqm": 2.0}


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


def test_blocks_do_not_change_the_size_of_the_result() -> None:
    assert bootstrap_means([np.zeros(1_500_000)], resamples=3).tolist() == [0.0] * 3


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


def test_strata_weigh_the_same_whatever_their_size() -> None:
    found = estimate([np.zeros(10), np.full(1000, 2.0)], shared=False)
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)


def test_shared_episodes_are_no_independent_evidence() -> None:
    values = np.random.default_rng(2).normal(size=200)
    alone = estimate([values])
    together = estimate([values, values, values, values])
    apart = estimate([values, values, values, values], shared=False)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=1e-9)
    assert apart.high - apart.low == pytest.approx((alone.high - alone.low) / 2, rel=0.1)


def test_paired() -> None:
    values, reference = np.array([1.0, 6.0]), np.array([2.0, 3.0])
    assert paired_ratio(values, reference).tolist() == [0.5, 2.0]
    with pytest.raises(ValueError, match="expected the same"):
        paired_ratio(values, reference[:1])


@pytest.mark.parametrize(
    ("strata", "message"),
    [
        ([], "at least one stratum"),
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
