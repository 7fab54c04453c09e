"""How much room there is beyond `price`: what each row knows, and that looking ahead is honest and helps."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.toy import preset, toy

from benchmarks import room

from wdmoe_env import Scenario, Simulator

OPTIONS = room.Options(episodes=3, lookahead_episodes=2, horizon=3)


@pytest.fixture(scope="module")
def hot() -> Scenario:
    """Devices that heat up fast, and lose most of their speed by it."""
    heat = {"thermal_time_constant_s": 0.002, "thermal_threshold": 0.05, "thermal_slowdown": 0.9}
    busy = {"model": {"hidden_size": 4096, "intermediate_size": 16384}, "traffic": {"tokens": 12}}
    return toy(load={"mean": 0.1, "std": 0.0, **heat}, layers=3, **busy)


@pytest.mark.slow
def test_nothing_to_know_or_to_foresee_in_paper():
    """There the channel is observed as it is, and no decision changes a later layer."""
    scenario = preset("paper", model={"layers": 2}, traffic={"tokens": 16})
    rows = list(room.measure(scenario, OPTIONS))
    told, ahead = rows[:8], rows[8:]
    assert [row.method for row in told[:6]] == list(room.KNOWN)
    less = {"price, average gains of both links", "oracle: gains without fading"}  # than is observed
    assert [row.gain for row in told if row.method not in less] == [0.0] * 6
    assert all(row.gain < 0.0 for row in told if row.method in less)
    assert [row.episodes for row in rows] == [3] * 8 + [2] * 3
    assert ahead[1].gain >= 0.0
    assert ahead[2].ahead == pytest.approx(0.0, abs=1e-9)
    assert [row.ahead is None for row in rows] == [True] * 10 + [False]
    assert json.loads(json.dumps([vars(row) for row in rows]))
    assert all(len(room.cells(row)) == len(room.COLUMNS) for row in rows)


@pytest.mark.slow
def test_the_true_channel_is_worth_something_where_it_is_known_late():
    scenario = preset("mobile", model={"layers": 4}, traffic={"tokens": 16, "passes_per_episode": 1})
    options = room.Options(episodes=8, lookahead_episodes=0)
    rows = {row.method: row for row in room.measure(scenario, options)}
    assert rows["price"].gain == 0.0
    assert rows["price, average gains"].gain != 0.0
    assert rows["oracle: true channel"].gain_ci95[0] > 0.0
    assert rows["oracle: true channel"].pass_ms < rows["price"].pass_ms
    assert rows["oracle: true channel and compute"].reward == rows["oracle: true channel"].reward


def test_what_is_shown():
    scenario = preset("mobile", model={"layers": 4}, traffic={"tokens": 16})
    simulator = Simulator(scenario, 2, "validation")
    simulator.reset(0)
    for _ in range(2):
        simulator.step(room.knowing(room.averages, scenario, 2)(simulator))
    seen = simulator.observation
    assert np.array_equal(room.averages(simulator).gain_dl, seen.average_gain_dl)
    assert np.array_equal(room.averages(simulator).gain_ul, seen.average_gain_ul)
    both = room.averages_of_both_links(simulator)
    assert np.array_equal(both.gain_dl, both.gain_ul)
    assert np.allclose(2.0 * np.log(both.gain_ul), np.log(seen.average_gain_dl) + np.log(seen.average_gain_ul))
    assert np.array_equal(room.path_gain(simulator).gain_ul, simulator.cell.path_gain[:, 0])
    assert np.array_equal(room.true_channel(simulator).gain_ul, simulator.cell.gain[:, 1])


@pytest.mark.slow
@pytest.mark.parametrize("futures", [0, 2])
def test_looking_ahead_changes_nothing_and_draws_nothing(hot: Scenario, futures: int):
    simulator, untouched = (Simulator(hot, 2, "validation") for _ in range(2))
    for each in (simulator, untouched):
        each.reset(3)
    decision = room.looking_ahead(hot, 2, 3, futures)(simulator)
    assert simulator.steps == 0
    one, other = (each.step(decision) for each in (simulator, untouched))
    assert np.array_equal(one.reward, other.reward)
    assert np.array_equal(one.observation.gain_dl, other.observation.gain_dl)
    assert np.array_equal(one.observation.load, other.observation.load)


@pytest.mark.slow
def test_looking_ahead_to_the_end_is_never_worse_than_what_follows(hot: Scenario):
    """What is imagined is what happens: a guess at the future would lose somewhere."""
    ways = room.CANDIDATES[0].decider(hot, 4), room.looking_ahead(hot, 4, 1), room.looking_ahead(hot, 4, 3)
    myopic, near, far = (room.run(decide, hot, 4, 0).reward for decide in ways)
    assert (far >= myopic - 1e-12).all()
    assert far.mean() > near.mean() + 1e-3


def test_load_counts_in_the_selection_alone():
    scenario = preset("jetson", model={"layers": 2}, traffic={"tokens": 16})
    simulator = Simulator(scenario, 2, "validation")
    simulator.reset(0)
    price = room.knowing(Simulator.true_observation, scenario, 2)(simulator)
    plain, much = (room.Candidate(exponent=exponent).decider(scenario, 2)(simulator) for exponent in (1.0, 4.0))
    assert np.array_equal(plain.selection, price.selection)
    assert np.array_equal(plain.bandwidth, price.bandwidth)
    assert not np.array_equal(much.selection, price.selection)
    split = room.allocate_for(much.selection, simulator.true_observation(), scenario)
    assert np.array_equal(much.bandwidth, split)


@pytest.mark.slow
def test_futures_that_do_not_come_tell_nothing_of_the_one_that_does():
    """Where fading follows the time that passes, the future that comes sets lucky decisions apart."""
    scenario = preset("mobile", model={"layers": 4})
    simulator = Simulator(scenario, 8, "validation")
    simulator.reset(0)
    now = simulator.state()

    def decisions(futures: int) -> list[np.ndarray]:
        found = []
        for seed in (1, 3):
            simulator.restore(replace(now, rng=np.random.default_rng(seed)))
            found.append(room.looking_ahead(scenario, 8, 2, futures)(simulator).selection)
        return found

    assert np.array_equal(*decisions(1))
    assert not np.array_equal(*decisions(0))
