from __future__ import annotations

import numpy as np
import pytest

from evaluation.estimates.improvement import Pair, improvements
from wdmoe_env.arrays import FloatArray

EPISODES = 60


def compared(one: list[FloatArray], other: list[FloatArray]) -> tuple[Pair, Pair]:
    first, second = improvements(["one", "other"], [one, other], np.arange(len(one[0])))
    assert (first.policy, first.other, second.policy, second.other) == ("one", "other", "other", "one")
    return first, second


def test_by_hand() -> None:
    first, second = compared([np.array([2.0, 4.0])], [np.array([2.0, 1.0])])
    assert (first.probability.value, second.probability.value) == (0.75, 0.25)
    assert (first.probability.low, first.probability.high) == (0.5, 1.0)
    assert first.change is not None
    assert second.change is not None
    assert (first.change.value, second.change.value) == (1.0, -0.5)
    assert (first.change.low, first.change.high) == (0.0, 3.0)


def test_probability_is_over_all_pairs_of_runs() -> None:
    ones = np.ones(EPISODES)
    first, _ = compared([1.0 * ones, 3.0 * ones], [2.0 * ones, 0.0 * ones, 3.0 * ones])
    # 1 > 0; 3 > 2, 3 > 0 and 3 = 3, of six pairs.
    assert first.probability.value == pytest.approx(3.5 / 6)
    assert first.probability.low < 0.2
    assert first.probability.high > 0.9


def test_episodes_are_paired() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(1.0, 2.0, size=EPISODES)
    first, _ = compared([1.03 * base], [base])
    assert (first.probability.value, first.probability.low, first.probability.high) == (1.0, 1.0, 1.0)
    assert first.change is not None
    assert (first.change.low, first.change.high) == (pytest.approx(0.03), pytest.approx(0.03))


def test_runs_that_differ_widen_the_interval() -> None:
    base = np.random.default_rng(0).uniform(1.0, 2.0, size=EPISODES)
    first, _ = compared([base * factor for factor in (0.9, 1.0, 1.1, 1.2, 1.3)], [base])
    assert first.change is not None
    assert first.change.value == pytest.approx(0.1)
    # Five runs, each drawn with replacement: the deviation of their mean is 0.1414 / sqrt(5).
    assert first.change.high - first.change.low == pytest.approx(2 * 1.96 * np.sqrt(0.02 / 5), rel=0.1)


def test_nothing_is_related_to_a_reward_that_may_not_be_above_zero() -> None:
    first, second = compared([np.full(EPISODES, 2.0)], [np.linspace(-5.0, 5.1, EPISODES)])
    assert first.change is None
    assert second.change is not None
