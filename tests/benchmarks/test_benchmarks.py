"""The comparison of joint decisions: its states, its judge, and the bounds that nothing may beat."""

import json

import numpy as np
import pytest
from support.toy import preset, toy

from benchmarks import joint

import baselines
from wdmoe_env import Simulator

OPTIONS = joint.Options(steps=6, batch=2, repeats=1, seconds=0.0)


@pytest.fixture(scope="module", params=["toy", "paper", "mobile"])
def rows(request):
    scenario = toy() if request.param == "toy" else preset(request.param)
    return {row.method: row for row in joint.measure(scenario, OPTIONS)}


@pytest.mark.slow
def test_a_row_for_each_method_and_bound(rows):
    assert list(rows) == [*joint.METHODS, "bound at the floor", "bound on the reward"]
    assert all(row.states == 6 and row.batch_us > 0 and row.single_us > 0 for row in rows.values())
    assert json.loads(json.dumps([vars(row) for row in rows.values()]))


def test_plain_top_k_is_the_measure(rows):
    plain = rows["top-k"]
    assert plain.retained_mass == 1.0
    assert plain.latency_ratio == 1.0
    assert plain.reward == pytest.approx(1.0)


def test_nothing_beats_the_bounds(rows):
    for method in joint.METHODS:
        row = rows[method]
        assert row.bound_ratio <= row.latency_ratio * (1 + 1e-9)
        assert 0.0 <= row.gap_mean <= row.gap_max
        assert row.reward_share <= 1.0


def test_price_keeps_the_floor_and_leads(rows):
    price = rows["price, latency"]
    assert price.below_floor == 0.0
    assert price.floor_gap_mean >= -1e-9
    assert price.latency_ratio <= rows["top-k+bandwidth"].latency_ratio


def test_slsqp_splits_as_newton_does(rows):
    assert rows["wdmoe, SLSQP"].latency_ratio == pytest.approx(rows["wdmoe"].latency_ratio, rel=1e-5)


def test_verdicts_and_cells_are_text(rows):
    assert len(list(joint.verdicts(list(rows.values())))) == 5
    assert all(len(joint.cells(row)) == len(joint.COLUMNS) for row in rows.values())


def test_a_broken_bound_names_state_and_method():
    states = joint.draw_states(toy(), 3, seed=0)
    with pytest.raises(ArithmeticError, match=r"toy, state 1: latency of x is 2, above 1$"):
        joint.check_below(np.array([1.0, 2.0, 1.0]), np.ones(3), "latency of x", states)


def test_states_are_of_episodes_of_their_own_and_spread_over_the_layers():
    scenario = preset("paper")
    states = joint.draw_states(scenario, 64, seed=0)
    assert states.observation.layer.tolist() == [index // 2 for index in range(64)]
    assert len(np.unique(states.observation.gain_dl, axis=0)) == 64
    again = joint.draw_states(scenario, 64, seed=0)
    assert np.array_equal(states.observation.gain_dl, again.observation.gain_dl)


@pytest.mark.parametrize("name", ["paper", "cell-64"])
def test_the_judge_agrees_with_the_simulator(name):
    """Both presets observe the true channel."""
    scenario, policy = preset(name), baselines.make("wdmoe", theta_start=0.5)
    simulator = Simulator(scenario, 4, split="test")
    policy.reset(scenario, 4)
    simulator.reset(3)
    states = joint.States(scenario, simulator.true_observation(), simulator.passes)
    decision = policy.decide(states.observation)
    result = joint.outcome_of(decision, states)
    outcome = simulator.step(decision)
    assert result.latency == pytest.approx(outcome.metrics["latency"], rel=1e-12)
    assert result.mass == pytest.approx(outcome.metrics["retained_mass"], rel=1e-6)
    assert result.reward == pytest.approx(outcome.reward, rel=1e-4)
