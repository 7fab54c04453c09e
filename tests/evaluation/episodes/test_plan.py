from __future__ import annotations

import numpy as np
import pytest

from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan, Purpose, held_out_seed
from wdmoe_env import Scenario, load_scenario


def test_held_out_seeds_differ_and_training_cannot_have_them() -> None:
    seeds = {held_out_seed(seed, chunk, purpose) for seed in range(20) for chunk in range(20) for purpose in Purpose}
    assert len(seeds) == 400 * len(Purpose)
    assert min(seeds) >= 2**127
    assert max(seeds) < 2**128


def test_chunks_hold_all_episodes(tiny: Scenario) -> None:
    chunks = list(Plan(episodes=150).chunks(tiny))
    assert [size for _, size in chunks] == [64, 64, 22]
    assert len({seed for seed, _ in chunks}) == 3


def test_more_episodes_begin_with_the_same_ones(tiny: Scenario) -> None:
    assert list(Plan(episodes=200).chunks(tiny))[:2] == list(Plan(episodes=128).chunks(tiny))


def test_large_cells_get_smaller_chunks() -> None:
    large = load_scenario("cell-64", traffic={"tokens": 4096})
    assert [size for _, size in Plan(episodes=20).chunks(large)] == [16, 4]


def test_sampled_steps_are_those_of_the_plan(tiny: Scenario) -> None:
    plan = Plan(episodes=50, seed=1, bound_steps=30)
    step, episode = plan.sample(tiny)
    again = Plan(episodes=50, seed=1, decisions=3, bound_steps=30).sample(tiny)
    np.testing.assert_array_equal((step, episode), again)
    assert not np.array_equal((step, episode), Plan(episodes=50, seed=2, bound_steps=30).sample(tiny))
    assert len(set(zip(step, episode, strict=True))) == 30
    assert (np.diff(step) >= 0).all()
    assert set(step) == {0, 1}
    assert episode.max() < 50


def test_no_more_steps_are_sampled_than_there_are(tiny: Scenario) -> None:
    assert Plan(episodes=3).num_sampled(tiny) == 6
    assert sorted(zip(*Plan(episodes=3).sample(tiny), strict=True)) == [(s, e) for s in range(2) for e in range(3)]
    assert Plan(episodes=3, bound_steps=0).num_sampled(tiny) == 0


def test_no_steps_are_sampled_where_no_bound_is_known() -> None:
    assert Plan(episodes=3).num_sampled(load_scenario("paper", reward={"metric": "wlr_device"})) == 0


@pytest.mark.parametrize(
    "wrong", [{"episodes": 0}, {"episodes": -3}, {"episodes": 1, "seed": -1}, {"episodes": 1, "bound_steps": -1}]
)
def test_bad_plan(wrong: dict[str, int]) -> None:
    with pytest.raises(EvaluationError, match=r"is (0|-1|-3), expected a whole number of at least [01]"):
        Plan(**wrong)
