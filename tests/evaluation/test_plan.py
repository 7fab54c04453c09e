from __future__ import annotations

import pytest

from evaluation.errors import EvaluationError
from evaluation.plan import Plan, Purpose, held_out_seed
from wdmoe_env import Scenario, load_scenario


def test_held_out_seeds_differ_and_training_cannot_have_them() -> None:
    seeds = {held_out_seed(seed, chunk, purpose) for seed in range(20) for chunk in range(20) for purpose in Purpose}
    assert len(seeds) == 800
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


@pytest.mark.parametrize("wrong", [{"episodes": 0}, {"episodes": -3}, {"episodes": 1, "seed": -1}])
def test_bad_plan(wrong: dict[str, int]) -> None:
    with pytest.raises(EvaluationError, match=r"is (0|-1|-3), expected at least"):
        Plan(**wrong)
