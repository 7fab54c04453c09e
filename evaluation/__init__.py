"""Evaluation: paired runs on held-out seeds, statistics, plots and a report.

>>> import baselines
>>> import evaluation
>>> rules = [baselines.make(name) for name in ("top-k", "top-k+bandwidth")]
>>> comparison = evaluation.compare_policies("tiny-moe", rules, episodes=2)
>>> [result.name for result in comparison.results]
['top-k', 'top-k+bandwidth']
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evaluation.comparison import Comparison
    from wdmoe_env import Policy, Scenario

__all__ = ["compare_policies", "print_table"]


def compare_policies(
    scenario: str | Path | Scenario,
    policies: Sequence[Policy],
    episodes: int = 100,
    seed: int = 0,
    bound_steps: int = 0,
) -> Comparison:
    """Run policies in the same held-out episodes, as `evaluate.py` does.

    Args:
        scenario: a preset's name, the path of a YAML file, or a Scenario.
        policies: what is compared, each under its name.
        episodes: how many held-out episodes.
        seed: decides their channels, gate weights and loads.
        bound_steps: how many single steps are compared with what is proved to be the most they can bring.

    Raises:
        EvaluationError: two policies have the same name, or one does not fit the scenario, or decides badly.
        ValueError: the scenario is unknown, or broken.
    """
    from evaluation.comparison import compare
    from evaluation.episodes.contenders import Contender, check_fit, check_names
    from evaluation.episodes.plan import Plan
    from wdmoe_env import load_scenario

    cell = load_scenario(scenario)
    contenders = [Contender(policy.name, policy.name, (policy,)) for policy in policies]
    check_names(contenders)
    check_fit(contenders, [cell])
    return compare(cell, contenders, Plan(episodes=episodes, seed=seed, bound_steps=bound_steps))


def print_table(comparison: Comparison) -> None:
    """Print a comparison: a row for each policy, means with 95 % intervals over episodes, paired."""
    from evaluation.report.terminal import print_table

    print_table(comparison)
