"""Comparing policies in Python: the same runner, the same episodes, the same table as `evaluate.py`."""

import numpy as np
import pytest

import baselines
import evaluation
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan
from evaluation.episodes.runner import run_policy
from wdmoe_env import load_scenario
from wdmoe_env.envs.adapter import PredictedPolicy

SCENARIO = load_scenario("paper", gating={"bank_passes": 2}, model={"layers": 2})


def test_a_predicted_policy_beside_rules(capsys: pytest.CaptureFixture[str]) -> None:
    mine = PredictedPolicy(lambda seen: np.zeros((len(seen), 8)), name="mine")
    policies = [mine, baselines.make("top-k"), baselines.make("constant-price", price=0.125)]
    comparison = evaluation.compare_policies(SCENARIO, policies, episodes=3, seed=2)
    assert [result.name for result in comparison.results] == ["mine", "top-k", "constant-price"]
    rewards = {result.name: result.runs[0].episodes["reward"] for result in comparison.results}
    # An action of 0 is a price of 0.125 for every device.
    np.testing.assert_array_equal(rewards["mine"], rewards["constant-price"])
    alone = run_policy(baselines.make("top-k"), SCENARIO, Plan(episodes=3, seed=2, bound_steps=0))
    np.testing.assert_array_equal(rewards["top-k"], alone.episodes["reward"])
    evaluation.print_table(comparison)
    printed = capsys.readouterr().out
    assert "paper · 3 held-out episodes" in printed
    assert "mine" in printed


def test_two_of_one_name_or_none_are_refused() -> None:
    with pytest.raises(EvaluationError, match="more than one policy is called 'top-k'"):
        evaluation.compare_policies(SCENARIO, [baselines.make("top-k"), baselines.make("top-k")], episodes=1)
    with pytest.raises(EvaluationError, match="no policies given"):
        evaluation.compare_policies(SCENARIO, [], episodes=1)


def test_one_that_does_not_fit_is_named() -> None:
    wrong = PredictedPolicy(lambda seen: seen, name="mine", observation="image")
    with pytest.raises(EvaluationError, match="policy 'mine' cannot run in scenario 'paper': observation is 'image'"):
        evaluation.compare_policies(SCENARIO, [wrong], episodes=1)
