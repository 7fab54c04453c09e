from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from agents.plan.hyperparameters import hyperparameters
from agents.tune.space import MEMORY, MEMORYLESS, SPACE, first_try, rounded, search_space


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_every_value_is_allowed_and_documented(algorithm: Any) -> None:
    from agents.tune import space

    for name, distribution in (SPACE[algorithm] | MEMORY[algorithm] | MEMORYLESS[algorithm]).items():
        assert f"| {name}" in str(space.__doc__)
        if isinstance(distribution, CategoricalDistribution):
            ends = distribution.choices
        else:
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            ends = distribution.low, distribution.high
        for value in ends:
            hyperparameters(algorithm, "paper" if name in MEMORYLESS[algorithm] else None, **{name: value})


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
@pytest.mark.parametrize("name", [None, "paper", "jetson", "mobile", "cell-64", "tiny-moe"])
def test_present_values_are_in_the_space(algorithm: Any, name: str) -> None:
    current = hyperparameters(algorithm, name)
    space = search_space(algorithm, current)
    first = first_try(space, current)
    assert all(space[key]._contains(space[key].to_internal_repr(value)) for key, value in first.items())
    assert ("gamma" in space) == (current["gamma"] > 0)
    assert ("greedy_baseline" in space) == (algorithm == "ppo" and current["gamma"] == 0)


def test_grows_to_hold_the_present_values() -> None:
    current = hyperparameters("ppo", "paper", learning_rate=0.5, rollout=100, n_epochs=40, learning_rate_end=0.0)
    space = search_space("ppo", current)
    assert space["learning_rate"] == FloatDistribution(3e-4, 0.5, log=True)
    assert space["rollout"] == CategoricalDistribution((2048, 4096, 8192, 16384, 100))
    assert space["n_epochs"] == IntDistribution(2, 40)
    assert first_try(space, current)["learning_rate_end"] == 1e-5


def test_rounded() -> None:
    assert rounded({"a": 0.00123456, "b": 12345, "c": "auto_0.02"}) == {"a": 0.00123, "b": 12345, "c": "auto_0.02"}
