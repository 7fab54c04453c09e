"""Where tokens go whose device is gone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdmoe_env.system.availability import NoDeviceLeftError, OnFailure, reassign

WEIGHTS = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
DECIDED = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool)
NONE = np.zeros((2, 4), dtype=bool)


def test_nothing_changes_where_all_are_there() -> None:
    for how in ("next-best", "renormalise"):
        assert (reassign(WEIGHTS, DECIDED, np.ones(4, bool), NONE, how) == DECIDED).all()


def test_the_next_best_living_expert_takes_over() -> None:
    living = np.array([False, True, True, True])
    found = reassign(WEIGHTS, DECIDED, living, NONE, "next-best")
    assert found.astype(int).tolist() == [[0, 1, 1, 0], [0, 0, 1, 1]]


def test_weights_are_renormalised_without_it() -> None:
    living = np.array([False, True, True, True])
    found = reassign(WEIGHTS, DECIDED, living, NONE, "renormalise")
    assert found.astype(int).tolist() == [[0, 1, 0, 0], [0, 0, 1, 1]]


def test_a_token_that_lost_all_gets_one() -> None:
    living = np.array([False, False, True, True])
    found = reassign(WEIGHTS, DECIDED, living, NONE, "renormalise")
    assert found.astype(int).tolist() == [[0, 0, 1, 0], [0, 0, 1, 1]]


def test_what_has_answered_is_kept_though_its_device_is_gone() -> None:
    living, answered = np.array([False, False, True, True]), NONE.copy()
    answered[0, 0] = True
    found = reassign(WEIGHTS, DECIDED, living, answered, "next-best")
    assert found.astype(int).tolist() == [[1, 0, 1, 0], [0, 0, 1, 1]]


def test_no_device_is_left() -> None:
    with pytest.raises(NoDeviceLeftError, match="no device is left"):
        reassign(WEIGHTS, DECIDED, np.zeros(4, bool), NONE, "next-best")


@given(st.integers(0, 2**32 - 1), st.sampled_from(["next-best", "renormalise"]))
def test_any_loss(seed: int, how: OnFailure) -> None:
    rng = np.random.default_rng(seed)
    experts, k = int(rng.integers(2, 9)), int(rng.integers(1, 4))
    weights = rng.dirichlet(np.ones(experts), size=5)
    selection = np.argsort(np.argsort(-weights)) < min(k, experts)
    living = rng.random(experts) < 0.5
    living[rng.integers(experts)] = True
    answered = selection & (rng.random(selection.shape) < 0.3)
    found = reassign(weights, selection, living, answered, how)
    assert (found | ~answered).all()
    assert (found <= (living | answered)).all()
    assert (found.sum(axis=1) >= 1).all()
    assert (found.sum(axis=1) <= selection.sum(axis=1)).all()
    # Settled: asked again, nothing changes.
    assert (reassign(weights, found, living, answered, how) == found).all()
