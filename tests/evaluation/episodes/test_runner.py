from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import baselines
from evaluation.comparison import compare, num_decisions
from evaluation.episodes.contenders import Contender, find_contenders
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan
from evaluation.episodes.runner import EPISODE_METRICS, run_policy
from wdmoe_env import Decision, Observation, Scenario, Simulator, load_scenario
from wdmoe_env.system.metrics import SCHEMA


class Spy:
    """Decides like plain top-K, remembers what it saw, and spoils its third decision if told to."""

    def __init__(self, spoil: Callable[[Decision], Decision] = lambda decision: decision) -> None:
        self.name, self.seen, self._policy, self._spoil = "spy", list[Observation](), baselines.make("top-k"), spoil

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        self._policy.reset(scenario, num_envs)

    def decide(self, observation: Observation) -> Decision:
        self.seen.append(observation)
        decision = self._policy.decide(observation)
        return self._spoil(decision) if len(self.seen) == 2 else decision


class Slow(Spy):
    """Gives the first device nearly all of the band."""

    def decide(self, observation: Observation) -> Decision:
        decision = super().decide(observation)
        band = np.full_like(decision.bandwidth, 1e4)
        band[:, 0] = 5e7
        return replace(decision, bandwidth=band)


def test_metrics_of_an_episode(tiny: Scenario, plan: Plan) -> None:
    run = run_policy(baselines.make("top-k"), tiny, plan)
    assert {name: array.shape for name, array in run.steps.items()} == dict.fromkeys(SCHEMA, (2, 5))
    assert {name: array.shape for name, array in run.episodes.items()} == dict.fromkeys(EPISODE_METRICS, (5,))
    np.testing.assert_allclose(run.episodes["latency_ms"], run.steps["latency"].sum(axis=0) * 1e3, rtol=1e-6)
    np.testing.assert_allclose(run.episodes["wlr"], run.steps["wlr"].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(run.episodes["reward"], 1.0, rtol=1e-12)
    assert run.decision_us.shape == (8,)
    assert (run.decision_us > 0).all()


def test_latency_is_that_of_one_forward_pass(plan: Plan) -> None:
    small = {"model": {"layers": 2}, "gating": {"bank_passes": 4}}
    scenario = load_scenario("paper", **small, traffic={"tokens": 8, "passes_per_episode": 3})
    run = run_policy(baselines.make("top-k"), scenario, plan)
    np.testing.assert_allclose(run.episodes["latency_ms"], run.steps["latency"].sum(axis=0) / 3 * 1e3, rtol=1e-6)


def test_every_policy_meets_the_same_channels_and_gate_weights(tiny: Scenario, plan: Plan) -> None:
    first, second = Spy(), Slow()
    fast, slow = run_policy(first, tiny, plan), run_policy(second, tiny, plan)
    assert (slow.episodes["latency_ms"] > fast.episodes["latency_ms"]).all()
    for one, other in zip(first.seen, second.seen, strict=True):
        np.testing.assert_array_equal(one.gain_dl, other.gain_dl)
        np.testing.assert_array_equal(one.gate_weights, other.gate_weights)


def test_another_seed_meets_others(tiny: Scenario, plan: Plan) -> None:
    first, second = Spy(), Spy()
    run_policy(first, tiny, plan)
    run_policy(second, tiny, replace(plan, seed=4))
    assert not np.array_equal(first.seen[0].gain_dl, second.seen[0].gain_dl)


def test_gate_weights_are_held_out(tiny: Scenario, plan: Plan) -> None:
    spy = Spy()
    run_policy(spy, tiny, plan)
    training = Simulator(tiny, 64, split="train").reset(seed=0).gate_weights
    assert not any(np.array_equal(spy.seen[0].gate_weights[0], weights) for weights in training)


def test_a_policy_against_itself_has_ratio_exactly_one(tiny: Scenario, plan: Plan) -> None:
    result = compare(tiny, find_contenders(["again=top-k"]), plan).results[0]
    assert result.name == "again"
    assert (result.ratio[0] == 1.0).all()
    ratio = result.estimates["latency_vs_top_k"]
    assert (ratio.mean, ratio.low, ratio.high, ratio.iqm) == (1.0, 1.0, 1.0, 1.0)


@pytest.mark.slow
def test_top_k_is_the_reference_even_if_not_asked_for(tiny: Scenario, plan: Plan) -> None:
    alone = compare(tiny, find_contenders(["top-k+bandwidth"]), plan)
    both = compare(tiny, find_contenders(["top-k", "top-k+bandwidth"]), plan)
    assert [result.name for result in alone.results] == ["top-k+bandwidth"]
    np.testing.assert_array_equal(alone.results[0].ratio[0], both.results[1].ratio[0])
    assert (alone.results[0].ratio[0] < 1).all()


def test_a_set_of_runs_counts_each_run_the_same(tiny: Scenario, plan: Plan) -> None:
    runs = Contender("set", "set", (Spy(), Slow()))
    result = compare(tiny, [runs], plan).results[0]
    single = [np.mean(run.episodes["latency_ms"]) for run in result.runs]
    assert result.estimates["latency_ms"].mean == pytest.approx(np.mean(single))


def test_ticks_once_a_decision(tiny: Scenario, plan: Plan) -> None:
    contenders, ticks = find_contenders(["random"]), list[str]()
    compare(tiny, contenders, plan, ticks.append)
    assert len(ticks) == num_decisions(tiny, contenders, plan)
    assert set(ticks) == {"top-k", "random"}


def test_slowest_device_shares_sum_to_one(tiny: Scenario, plan: Plan) -> None:
    slowest = run_policy(baselines.make("top-k"), tiny, plan).slowest
    assert slowest.sum() == pytest.approx(1.0)
    # Devices that finish together share a layer, so no share of an exact split exceeds an equal part of one layer.
    shared = run_policy(baselines.make("top-k+bandwidth"), tiny, plan).slowest
    assert shared.max() < slowest.max()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: replace(d, bandwidth=d.bandwidth * 2), "sums to"),
        (lambda d: replace(d, bandwidth=d.bandwidth * np.nan), "nan Hz"),
        (lambda d: replace(d, selection=np.zeros_like(d.selection)), "0 experts"),
        (lambda d: replace(d, selection=d.selection[:, :1]), "shape"),
    ],
)
def test_an_invalid_decision_names_policy_scenario_and_step(
    tiny: Scenario, plan: Plan, spoil: Callable[[Decision], Decision], message: str
) -> None:
    with pytest.raises(EvaluationError, match=rf"policy 'spy' in scenario 'tiny', step 1: .*{message}"):
        run_policy(Spy(spoil), tiny, plan)


def test_a_metric_that_is_not_finite_names_policy_scenario_and_step(
    tiny: Scenario, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Simulator.step

    def broken(self: Simulator, decision: Decision) -> object:
        outcome = step(self, decision)
        return replace(outcome, metrics={**outcome.metrics, "wlr": outcome.metrics["wlr"] * np.nan})

    monkeypatch.setattr(Simulator, "step", broken)
    with pytest.raises(EvaluationError, match="policy 'top-k' in scenario 'tiny', step 0: metric 'wlr' is not finite"):
        run_policy(baselines.make("top-k"), tiny, plan)
