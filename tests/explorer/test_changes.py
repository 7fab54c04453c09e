"""Changes of a cell do what they say, and nothing else."""

import numpy as np
import pytest

from explorer.cells.changes import SPLIT, SpedUp, begin, changed, placed
from wdmoe_env import Simulator, load_scenario
from wdmoe_env.hardware.latency.replay import LatencySequence
from wdmoe_env.settings.devices import MeasuredCompute

LINEAR, MEASURED = "paper", "jetson"


def test_without_changes_the_scenario_is_the_same():
    scenario = load_scenario(LINEAR)
    assert changed(scenario, None, {}) is scenario


def test_another_band_is_the_scenarios():
    assert changed(load_scenario(LINEAR), 5e7, {}).radio.bandwidth_hz == 5e7


@pytest.mark.parametrize("name", [LINEAR, MEASURED, "many-experts"])
def test_a_faster_device_computes_that_much_faster_and_others_as_before(name):
    scenario = load_scenario(name)
    simulators = [begin(changed(scenario, None, speed), 3, {}) for speed in ({}, {1: 2.0, 2: 0.5})]
    tokens = np.full((1, scenario.model.experts), 3)
    before, after = (simulator.compute_time(tokens)[0] for simulator in simulators)
    factor = np.ones(scenario.num_devices)
    factor[[1, 2]] = 0.5, 2.0
    assert after == pytest.approx(before * factor, rel=1e-12)
    known = [simulator.scenario.compute_model for simulator in simulators]
    assert known[1].token_s == pytest.approx(known[0].token_s * factor)
    assert known[1].fixed_s == pytest.approx(known[0].fixed_s * factor)


def test_a_sequence_of_measurements_is_replayed_faster(monkeypatch):
    recorded = LatencySequence(np.array([4.0, 6.0]), np.array([1, 1]), np.array([0.0, 5.0]))
    of = MeasuredCompute(kind="measured", board="orin-nano-8gb")
    monkeypatch.setattr(MeasuredCompute, "recording", lambda self, model, tokens: recorded)
    found = SpedUp(of=of, speed=4.0).recording(load_scenario(MEASURED).model, 1)
    assert found.seconds(np.array([1]), 0, 0) == pytest.approx(recorded.seconds(np.array([1]), 0, 0) / 4)
    assert found.seconds(np.array([1]), 1, 0) == pytest.approx(1.5)
    assert found.median_s == pytest.approx([0.0, 1.25])


def test_a_device_moved_away_keeps_direction_and_fading_and_loses_the_path_loss():
    scenario = load_scenario(LINEAR)
    here = begin(scenario, 5, {})
    where = float(abs(here.cell.position[0, 4]))
    there = begin(scenario, 5, {4: 10 * where})
    assert np.angle(there.cell.position) == pytest.approx(np.angle(here.cell.position))
    assert abs(there.cell.position[0, 4]) == pytest.approx(10 * where)
    ratio = there.cell.gain / here.cell.gain
    assert ratio[0, :, 4] == pytest.approx(0.01)  # free space: 20 dB for ten times the distance
    assert np.delete(ratio, 4, axis=-1) == pytest.approx(1.0)
    assert there.observation.gain_dl == pytest.approx(there.cell.gain[:, 0])


def test_what_follows_is_drawn_as_before():
    scenario = load_scenario("mobile")
    one, other = begin(scenario, 5, {}), Simulator(scenario, 1, SPLIT)
    other.reset(5)
    assert np.array_equal(one.observation.gate_weights, other.observation.gate_weights)
    assert np.array_equal(begin(scenario, 5, {0: 50.0}).observation.gate_weights, other.observation.gate_weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda scenario: changed(scenario, None, {8: 2.0}), "speed names device 8, expected 0 to 7"),
        (lambda scenario: begin(scenario, 0, {9: 30.0}), "distance names device 9"),
    ],
)
def test_a_device_that_is_not_there_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        change(load_scenario(LINEAR))


def test_recorded_links_do_not_depend_on_where_devices_are():
    scenario = load_scenario("jetson-wifi")
    assert not placed(scenario)
    with pytest.raises(ValueError, match="replays recorded links"):
        begin(scenario, 0, {0: 5.0})
