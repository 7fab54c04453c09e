"""What `python -m agents.tune` searches: which hyperparameters, between which values.

| hyperparameter | PPO | SAC |
|---|---|---|
| learning_rate, at first | 0.0003 to 0.01, log | 0.0001 to 0.003, log |
| learning_rate_end | 1e-5 to 0.001, log | 2e-6 to 0.0002, log |
| rollout | 2048, 4096, 8192 or 16384 | |
| batch_size | 256, 512, 1024 or 2048 | 128, 256 or 512 |
| n_epochs | 2 to 10 | |
| clip_range | 0.1 to 0.3 | |
| log_std_init | -2.5 to -0.5 | |
| learning_starts | | 2048, 4096 or 8192 |
| tau | | 0.002 to 0.02, log |
| gradient_steps | | 1 to 4 |
| ent_coef | | auto_0.005, auto_0.02 or auto_0.1 |
| gamma, where decisions change later states | 0 to 0.99 | 0 to 0.99 |
| gae_lambda, there too | 0 to 1 | |
| greedy_baseline, where they do not | 0 or 1 | |

All else stays as the YAML file has it. Whatever value that has now is part of the space, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from agents.plan.hyperparameters import Algorithm

SPACE: Final[dict[Algorithm, dict[str, BaseDistribution]]] = {
    "ppo": {
        "learning_rate": FloatDistribution(3e-4, 1e-2, log=True),
        "learning_rate_end": FloatDistribution(1e-5, 1e-3, log=True),
        "rollout": CategoricalDistribution((2048, 4096, 8192, 16384)),
        "batch_size": CategoricalDistribution((256, 512, 1024, 2048)),
        "n_epochs": IntDistribution(2, 10),
        "clip_range": FloatDistribution(0.1, 0.3),
        "log_std_init": FloatDistribution(-2.5, -0.5),
    },
    "sac": {
        "learning_rate": FloatDistribution(1e-4, 3e-3, log=True),
        "learning_rate_end": FloatDistribution(2e-6, 2e-4, log=True),
        "batch_size": CategoricalDistribution((128, 256, 512)),
        "learning_starts": CategoricalDistribution((2048, 4096, 8192)),
        "tau": FloatDistribution(2e-3, 2e-2, log=True),
        "gradient_steps": IntDistribution(1, 4),
        "ent_coef": CategoricalDistribution(("auto_0.005", "auto_0.02", "auto_0.1")),
    },
}
MEMORY: Final[dict[Algorithm, dict[str, BaseDistribution]]] = {
    "ppo": {"gamma": FloatDistribution(0.0, 0.99), "gae_lambda": FloatDistribution(0.0, 1.0)},
    "sac": {"gamma": FloatDistribution(0.0, 0.99)},
}
"""Searched where the present gamma is above 0: it is 0 where a decision does not change later states."""


MEMORYLESS: Final[dict[Algorithm, dict[str, BaseDistribution]]] = {
    "ppo": {"greedy_baseline": CategoricalDistribution((0, 1))},
    "sac": {},
}
"""Searched where it is 0."""


def search_space(algorithm: Algorithm, current: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """The space of an algorithm, as wide as it takes to hold the present hyperparameters."""
    space = SPACE[algorithm] | (MEMORY if current["gamma"] > 0.0 else MEMORYLESS)[algorithm]
    return {name: _holding(distribution, current[name]) for name, distribution in space.items()}


def first_try(space: Mapping[str, BaseDistribution], current: Mapping[str, Any]) -> dict[str, Any]:
    """The present hyperparameters, as far as they are searched; 0 has no logarithm, and becomes the least."""
    return {
        name: max(current[name], distribution.low) if _logarithmic(distribution) else current[name]  # type: ignore[attr-defined]
        for name, distribution in space.items()
    }


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values to three digits, so that what is tried is what can be copied into a YAML file."""
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in values.items()}


def _logarithmic(distribution: BaseDistribution) -> bool:
    return isinstance(distribution, FloatDistribution) and distribution.log


def _holding(distribution: BaseDistribution, value: Any) -> BaseDistribution:
    if isinstance(distribution, CategoricalDistribution):
        known = distribution.choices
        return distribution if value in known else CategoricalDistribution((*known, value))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.log and value <= 0:
        return distribution
    low, high = min(distribution.low, value), max(distribution.high, value)
    return type(distribution)(low, high, log=distribution.log)
