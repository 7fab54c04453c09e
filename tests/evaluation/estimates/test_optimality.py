from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.toy import preset

import baselines
from baselines import bound
from evaluation.comparison import Comparison, compare, num_decisions
from evaluation.episodes.contenders import Contender, find_contenders
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan
from evaluation.episodes.runner import PolicyRun, run_policy
from evaluation.episodes.sampling import SampledSteps
from evaluation.estimates import optimality
from evaluation.estimates.certified import certify
from evaluation.estimates.optimality import OptimalityEstimator
from wdmoe_env import Scenario

STEPS = 8


def nothing() -> None:
    """Do nothing."""


def steps_of(run: PolicyRun) -> SampledSteps:
    assert run.sampled is not None
    return run.sampled


@pytest.fixture(scope="module")
def run(tiny: Scenario, plan: Plan) -> PolicyRun:
    return run_policy(baselines.make("top-k+bandwidth"), tiny, plan)


@pytest.fixture(scope="module")
def moving() -> Scenario:
    return preset("mobile", model={"layers": 2}, traffic={"tokens": 8, "passes_per_episode": 3})


def test_what_is_kept_belongs_to_the_step(tiny: Scenario, run: PolicyRun, plan: Plan) -> None:
    steps = steps_of(run)
    assert len(steps.step) == plan.num_sampled(tiny) == STEPS
    assert len(set(zip(steps.step, steps.episode, strict=True))) == STEPS
    for name in ("reward", "latency", "retained_mass"):
        kept = getattr(steps, name)
        np.testing.assert_allclose(kept, run.steps[name][steps.step, steps.episode], rtol=1e-6)
    np.testing.assert_array_equal(steps.cells.layer, steps.step)


def test_what_is_kept_are_the_true_channels(moving: Scenario, plan: Plan) -> None:
    run = run_policy(baselines.make("top-k"), moving, plan)
    steps = steps_of(run)
    expected = run.steps["wlr"][steps.step, steps.episode]
    np.testing.assert_allclose(bound.plain_wlr(steps.cells, moving), expected, rtol=1e-6)


def test_chunks_do_not_matter(tiny: Scenario, plan: Plan, run: PolicyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.episodes.plan.MAX_CHUNK", 2)
    steps = steps_of(run_policy(baselines.make("top-k+bandwidth"), tiny, plan))
    found = sorted(zip(steps.step, steps.episode, strict=True))
    assert found == sorted(zip(steps_of(run).step, steps_of(run).episode, strict=True))


def test_cells_are_copied_by_row(run: PolicyRun) -> None:
    cells = steps_of(run).cells
    some = cells.take(np.array([3, 1]))
    np.testing.assert_array_equal(some.gate_weights[0], cells.gate_weights[3])
    assert some.plain is not None
    assert cells.plain is not None
    np.testing.assert_array_equal(some.plain.table[1], cells.plain.table[1])
    assert not np.shares_memory(some.gain_dl, cells.gain_dl)
    assert replace(cells, plain=None, routed=None).take(np.array([0])).plain is None


@pytest.mark.slow
def test_no_step_brings_more_than_its_bound_and_price_comes_close(comparison: Comparison, tiny: Scenario) -> None:
    price = compare(tiny, find_contenders(["price"]), Plan(episodes=5, seed=3, decisions=1)).results[0]
    assert 0.9 < price.estimates["optimality"].mean <= 1.0
    for result in comparison.results:
        assert (result.optimality[0].share <= 1.0).all()
        assert result.estimates["optimality"].mean < price.estimates["optimality"].mean


def test_policies_that_meet_the_same_cells_share_one_proof(comparison: Comparison) -> None:
    first, *others = [result.optimality[0].bounds for result in comparison.results]
    assert all(other is first for other in others)
    assert comparison.bound is not None
    assert comparison.bound.shared


@pytest.mark.slow
def test_policies_that_change_the_channels_are_judged_in_their_own_cells(moving: Scenario, plan: Plan) -> None:
    comparison = compare(moving, find_contenders(["top-k", "random"]), plan)
    one, other = [result.optimality[0] for result in comparison.results]
    assert not np.array_equal(one.bounds.reward, other.bounds.reward)
    assert comparison.bound is not None
    assert comparison.bound.as_dict()["states"] == "per policy"
    alone = certify(moving, [one])
    assert comparison.bound.reward == alone.reward
    assert (comparison.bound.latency_ms <= alone.latency_ms).all()
    assert comparison.bound.latency_at_floor_ms.mean <= alone.latency_at_floor_ms.mean


@pytest.mark.slow
def test_a_set_of_runs_is_judged_run_by_run(tiny: Scenario, plan: Plan) -> None:
    runs = Contender("set", "set", (baselines.make("top-k"), baselines.make("random")))
    result = compare(tiny, [runs], plan).results[0]
    single = [one.share.mean() for one in result.optimality]
    assert result.estimates["optimality"].mean == pytest.approx(np.mean(single))


@pytest.mark.slow
def test_batches_do_not_change_the_bounds(tiny: Scenario, run: PolicyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = OptimalityEstimator(tiny).measure(run, "x", nothing)
    monkeypatch.setattr(optimality, "BATCH", 3)
    parts = OptimalityEstimator(tiny).measure(run, "x", nothing)
    assert whole is not None
    assert parts is not None
    np.testing.assert_allclose(parts.bounds.reward, whole.bounds.reward, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("reward", 10.0, r"policy 'x' in scenario 'tiny', step \d+, episode \d+: reward .* is better than .* proved"),
        ("latency", 0.1, r"policy 'x' in scenario 'tiny', step \d+, episode \d+: latency .* is better than .* proved"),
    ],
)
def test_a_step_better_than_its_bound_stops_everything(
    tiny: Scenario, run: PolicyRun, name: str, change: float, message: str
) -> None:
    steps = steps_of(run)
    spoiled = getattr(steps, name).copy()
    spoiled[2] *= change
    impossible = replace(run, sampled=replace(steps, **{name: spoiled}))
    with pytest.raises(EvaluationError, match=message) as caught:
        OptimalityEstimator(tiny).measure(impossible, "x", nothing)
    assert f"step {steps.step[2]}, episode {steps.episode[2]}:" in str(caught.value)


@pytest.mark.parametrize("without", [{"reward": {"metric": "wlr_token"}}, {}])
def test_without_a_bound_nothing_is_judged(tiny: Scenario, plan: Plan, without: dict[str, dict[str, str]]) -> None:
    scenario = tiny.model_copy(update={"reward": tiny.reward.model_copy(update=without.get("reward", {}))})
    plan = plan if without else replace(plan, bound_steps=0)
    contenders, ticks = find_contenders(["random"]), list[str]()
    comparison = compare(scenario, contenders, plan, ticks.append)
    assert comparison.bound is None
    assert comparison.results[0].optimality == ()
    assert "optimality" not in comparison.results[0].estimates
    assert len(ticks) == num_decisions(scenario, contenders, plan)


def test_least_latency_is_that_of_the_line(comparison: Comparison) -> None:
    bounds = comparison.results[0].optimality[0].bounds
    at_one = bounds.least_latency(1.0)
    np.testing.assert_allclose(at_one, bounds.line.latency[:, -1])
    mixed = bounds.least_latency(np.array([0.5] + [1.0] * (STEPS - 1)))
    np.testing.assert_allclose(mixed[1:], at_one[1:])
    assert mixed[0] < at_one[0]


def test_the_certified_frontier_rises_to_what_all_mass_costs(comparison: Comparison, tiny: Scenario) -> None:
    certified = comparison.bound
    assert certified is not None
    assert (np.diff(certified.latency_ms) >= 0).all()
    # A mean over layers of the same mass cannot beat masses that are chosen freely.
    free = np.interp(tiny.reward.mass_floor, certified.mass, certified.latency_ms)
    assert free <= certified.latency_at_floor_ms.mean * (1.0 + 1e-9)
    assert certified.latency_at_floor_ms.mean < comparison.results[0].estimates["latency_ms"].mean
    shown = certified.as_dict()["frontier"]["retained_mass"]
    assert 0.75 * tiny.reward.mass_floor <= shown[0] < shown[-1] == 1.0


def test_the_mean_is_corrected_by_the_run_that_follows_the_bound(comparison: Comparison, tiny: Scenario) -> None:
    one = comparison.results[0].optimality[0]
    floor = one.bounds.least_latency(tiny.reward.mass_floor)
    follows = replace(one, latency=2.0 * floor, mean_latency=3.0 * float(floor.mean()))
    astray = replace(one, latency=floor[::-1].copy(), mean_latency=1.0)
    plain = certify(tiny, [astray]).latency_at_floor_ms.mean
    assert plain == pytest.approx(1e3 * tiny.model.layers * floor.mean())
    assert certify(tiny, [astray, follows]).latency_at_floor_ms.mean == pytest.approx(1.5 * plain)
