"""The statistics of gate weights on cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from wdmoe_env.gating import statistics

# Columns are tokens; their two best experts, best first: (0, 1), (0, 2), (2, 0), (1, 2).
WEIGHTS = np.array([[0.6, 0.5, 0.3, 0.1], [0.3, 0.1, 0.1, 0.7], [0.1, 0.4, 0.6, 0.2]])


def test_renormalised_top_weight() -> None:
    expected = [0.6 / 0.9, 0.5 / 0.9, 0.6 / 0.9, 0.7 / 0.9]
    np.testing.assert_allclose(statistics.renormalised_top_weight(WEIGHTS), expected)
    np.testing.assert_allclose(statistics.renormalised_top_weight(WEIGHTS, top_k=1), 1.0)


def test_repeats() -> None:
    disjoint = np.array([[0.9, 0.0], [0.1, 0.0], [0.0, 0.9], [0.0, 0.1]])
    assert statistics.first_choice_repeat(WEIGHTS) == pytest.approx(1 / 3)
    assert statistics.shared_choice_repeat(WEIGHTS) == 1.0
    assert statistics.shared_choice_repeat(disjoint) == 0.0


def test_load_counts_top_k_of_each_token() -> None:
    np.testing.assert_array_equal(statistics.expert_load(WEIGHTS), [3, 2, 3])
    np.testing.assert_array_equal(statistics.expert_load(WEIGHTS, top_k=1), [2, 1, 1])


def test_ties_never_choose_more_than_top_k() -> None:
    assert statistics.expert_load(np.full((4, 5), 0.25), top_k=2).sum() == 10


def test_load_spread() -> None:
    assert statistics.load_cv(np.array([4, 4, 4, 4])) == 0.0
    assert statistics.load_cv(np.array([8, 0])) == 1.0
    assert statistics.load_entropy(np.array([4, 4, 4, 4])) == 2.0
    assert statistics.load_entropy(np.array([8, 0])) == 0.0


def test_leading_axes_are_kept() -> None:
    batch = np.broadcast_to(WEIGHTS, (2, 5, 3, 4))
    assert statistics.renormalised_top_weight(batch).shape == (2, 5, 4)
    assert statistics.first_choice_repeat(batch).shape == (2, 5)
    assert statistics.shared_choice_repeat(batch).shape == (2, 5)
    assert statistics.expert_load(batch).shape == (2, 5, 3)
    assert statistics.load_cv(statistics.expert_load(batch)).shape == (2, 5)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="top_k must be between 1 and experts=3, got 4"):
        statistics.expert_load(WEIGHTS, top_k=4)
    with pytest.raises(ValueError, match=r"weights must have the shape .*, got \(3, 1\)"):
        statistics.first_choice_repeat(WEIGHTS[:, :1])
    with pytest.raises(ValueError, match="load must be finite"):
        statistics.load_cv(np.zeros(3))
