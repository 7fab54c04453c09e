"""Episodes are those of the simulator: by a policy, and by whoever takes over."""

from dataclasses import replace

import numpy as np
import pytest

import baselines
from explorer.cells.changes import begin
from explorer.cells.episodes import Hand, PolicyEpisode, TakenOver, piece_of
from explorer.view import Piece
from wdmoe_env import load_scenario
from wdmoe_env.envs.actions import PriceAction


@pytest.fixture
def base():
    scenario = load_scenario("mobile")
    return PolicyEpisode(begin(scenario, 2, {}), baselines.make("wdmoe"))


def piece(step, price=0.2, share=None, devices=8):
    return Piece(step, (price,) * devices, share)


def rewards(episode, steps):
    return [episode.at(step).reward for step in steps]


def test_an_episode_is_what_the_simulator_brings(base):
    simulator, policy = begin(base.scenario, 2, {}), baselines.make("wdmoe")
    policy.reset(base.scenario, 1)
    expected = [float(simulator.step(policy.decide(simulator.observation)).reward[0]) for _ in range(6)]
    assert base.at(5).reward == expected[5]  # asked for in any order
    assert rewards(base, range(6)) == expected


def test_before_it_is_taken_over_an_episode_is_the_policys(base):
    taken = TakenOver(base, [piece(3)])
    assert taken.at(2) is base.at(2)
    assert taken.at(3).reward != base.at(3).reward


def test_prices_by_hand_are_those_of_a_price_action(base):
    held = piece(4, 0.3)
    moment, simulator = TakenOver(base, [held]).at(4), begin(base.scenario, 2, {})
    simulator.restore(base.at(4).state)
    codec = PriceAction(base.scenario)
    action = np.array([[2 * 0.3 - 1] * 8])
    decision = codec.decode(action, simulator.observation)
    assert np.array_equal(moment.decision.selection, decision.selection)
    assert simulator.step(moment.decision).reward[0] == moment.reward


def test_what_was_taken_over_before_changes_nothing_but_the_work(base):
    first = TakenOver(base, [piece(2, 0.1)])
    first.at(8)
    pieces = [piece(2, 0.1), piece(5, 0.6)]
    again, fresh = TakenOver(base, pieces, first), TakenOver(base, pieces)
    assert again.at(4) is first.at(4)
    assert rewards(again, range(2, 12)) == rewards(fresh, range(2, 12))
    assert again.at(5).reward != first.at(5).reward
    other = TakenOver(base, [piece(3, 0.1)], again)
    assert rewards(other, range(8)) == rewards(TakenOver(base, [piece(3, 0.1)]), range(8))


def test_a_share_by_hand_is_given_to_devices_with_tokens(base):
    share = (0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    held = replace(piece(0, 0.0), share=share)
    bandwidth = Hand(base.scenario, held).decide(base.at(0).known).bandwidth[0]
    assert bandwidth / base.scenario.radio.bandwidth_hz == pytest.approx(share)


def test_a_take_over_begins_near_the_policy():
    scenario = load_scenario("paper")
    base = PolicyEpisode(begin(scenario, 0, {}), baselines.make("price"))
    taken = TakenOver(base, [piece_of(base.at(0), 0, scenario)])
    assert taken.at(0).reward == pytest.approx(base.at(0).reward, rel=0.06)


@pytest.mark.parametrize(
    ("pieces", "error", "message"),
    [
        ([piece(0, devices=7)], ValueError, "7 prices, expected 8"),
        ([piece(999)], IndexError, "step is 999, expected 0 to 127"),
    ],
)
def test_what_does_not_fit_the_cell_is_refused(base, pieces, error, message):
    with pytest.raises(error, match=message):
        TakenOver(base, pieces)


def test_a_step_beyond_the_episode_is_refused(base):
    with pytest.raises(IndexError, match="step is 128, expected 0 to 127"):
        base.at(128)
