"""The cell: loads, heat, positions, fading and what the base station knows of the channel."""

import numpy as np
import pytest
from support.running_cells import RunningCells
from support.toy import preset

from wdmoe_env.simulator.cell import MAX_LOAD, NEWEST, CellDynamics
from wdmoe_env.simulator.noise import CellDraws
from wdmoe_env.simulator.state import arrays_of

CELLS = 400


def cell_of(name="mobile", num_envs=CELLS, **overrides):
    return RunningCells(preset(name, **overrides), num_envs)


@pytest.mark.parametrize(("std", "mean"), [(0.1, 0.5), (5.0, 0.475)])
def test_background_load_stays_in_range_and_keeps_its_spread(std, mean):
    cell = cell_of(load={"mean": 0.5, "std": std})
    spread = cell.load.std()
    for _ in range(20):
        cell.pass_time(0.1)
        assert cell.load.min() >= 0.0
        assert cell.load.max() <= MAX_LOAD
    assert cell.load.mean() == pytest.approx(mean, abs=0.03)
    assert cell.load.std() == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize("seconds", [0.05, 0.5, 2.0])
def test_background_load_forgets_with_its_time_constant(seconds):
    cell = cell_of(load={"mean": 0.5, "std": 0.1, "time_constant_s": 0.5})
    before = cell.background
    cell.pass_time(seconds)
    correlation = np.corrcoef(before.ravel(), cell.background.ravel())[0, 1]
    assert correlation == pytest.approx(np.exp(-seconds / 0.5), abs=0.06)


def test_a_busy_device_heats_up_and_slows_down():
    calm = {"mean": 0.2, "std": 0.0, "thermal_threshold": 0.3, "thermal_slowdown": 0.5}
    busy = cell_of("jetson", load=calm)
    idle = cell_of("jetson", load=calm)
    for _ in range(40):
        busy.pass_time(1.0, busy_share=1.0)
        idle.pass_time(1.0, busy_share=0.0)
    np.testing.assert_allclose(idle.load, 0.2)
    np.testing.assert_allclose(busy.load, 1.0 - 0.8 * 0.5, atol=1e-6)
    assert busy.heat.max() <= 1.0
    np.testing.assert_allclose(idle.heat, 0.2, atol=1e-6)  # other work heats, too


def test_heat_rises_more_the_longer_a_device_computes():
    loads = []
    for share in (0.0, 0.3, 0.6, 1.0):
        cell = cell_of("jetson", load={"mean": 0.2, "std": 0.0})
        cell.pass_time(1.0, busy_share=share)
        loads.append(cell.load.mean())
    assert loads == sorted(loads)
    assert loads[0] < loads[-1]


def test_stale_channel_state_is_exactly_the_gain_of_the_step_before():
    cell = cell_of(channel={"csi_error_db": 0.0})
    np.testing.assert_array_equal(cell.known_gain, cell.gain)
    for _ in range(3):
        before = cell.gain.copy()
        cell.pass_time(0.02)
        np.testing.assert_array_equal(cell.known_gain, before)
        assert not np.array_equal(cell.gain, before)


def test_the_average_is_a_geometric_running_mean_of_what_is_known():
    cell = cell_of()
    expected = np.log(cell.known_gain)
    for _ in range(4):
        cell.pass_time(0.02)
        expected = (1.0 - NEWEST) * expected + NEWEST * np.log(cell.known_gain)
        np.testing.assert_allclose(np.log(cell.average_gain), expected, rtol=1e-9)


def test_without_delay_and_error_the_base_station_knows_the_true_gain():
    cell = cell_of("paper")
    cell.pass_time(0.02)
    np.testing.assert_array_equal(cell.known_gain, cell.gain)
    np.testing.assert_array_equal(cell.average_gain, cell.gain)


def test_estimation_error_has_the_given_spread_in_db():
    cell = cell_of(channel={"csi_error_db": 1.5, "csi_delay_steps": 0})
    cell.pass_time(0.02)
    error = 10.0 * np.log10(cell.known_gain / cell.gain)
    assert error.std() == pytest.approx(1.5, rel=0.05)
    assert error.mean() == pytest.approx(0.0, abs=0.1)


def test_devices_without_speed_stay_where_they_are():
    cell = cell_of("paper")
    before = cell.position
    assert np.abs(before).min() >= 20.0
    assert np.abs(before).max() <= 300.0
    for _ in range(3):
        cell.pass_time(5.0)
    np.testing.assert_array_equal(cell.position, before)


def test_moving_devices_move_at_their_speed_and_stay_in_the_ring():
    cell = cell_of()
    for _ in range(50):
        before = cell.position
        cell.pass_time(0.5)
        assert (np.abs(cell.position - before) <= 15.0 * 0.5 + 1e-9).all()
        assert np.abs(cell.position).min() >= 20.0 - 1e-9
        assert np.abs(cell.position).max() <= 200.0 + 1e-9
    pedestrians, vehicles = np.abs(cell.velocity[:, :5]), np.abs(cell.velocity[:, 5:])
    assert pedestrians.max() <= 2.0 + 1e-9
    assert vehicles.min() >= 5.0 - 1e-9


def test_the_channel_changes_with_the_time_that_passes():
    kept = []
    for seconds in (1e-6, 1e-3, 1e-2, 0.5):
        cell = cell_of()
        before = cell.scatter
        cell.pass_time(seconds)
        kept.append(np.corrcoef(before[..., :5].ravel(), cell.scatter[..., :5].ravel())[0, 1])
    assert kept[0] == pytest.approx(1.0, abs=1e-3)
    assert kept == sorted(kept, reverse=True)
    assert abs(kept[-1]) < 0.35


def test_fast_devices_fade_faster_than_slow_ones():
    cell = cell_of()
    before = cell.scatter
    cell.pass_time(4e-3)
    walking = np.corrcoef(before[..., :5].ravel(), cell.scatter[..., :5].ravel())[0, 1]
    driving = np.corrcoef(before[..., 5:].ravel(), cell.scatter[..., 5:].ravel())[0, 1]
    assert walking > driving + 0.3


def test_block_fading_is_new_in_every_step_however_short():
    cell = cell_of("paper")
    before = cell.scatter
    cell.pass_time(1e-9)
    assert np.corrcoef(before.ravel(), cell.scatter.ravel())[0, 1] == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("kind", ["rayleigh", "rician", "none"])
def test_fading_keeps_the_mean_power(kind):
    cell = cell_of("paper", num_envs=4000, channel={"fading": {"kind": kind}})
    fading = cell.gain / cell.path_gain
    assert fading.mean() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("name", ["paper", "mobile", "jetson", "jetson-wifi"])
def test_the_next_state_follows_from_state_noise_and_time_alone(name):
    scenario, rng = preset(name), np.random.default_rng(0)
    draws, dynamics = CellDraws(scenario, 3), CellDynamics(scenario, 3)
    state, noise = dynamics.start(draws.start(rng)), draws.noise(rng)
    before = [array.copy() for array in arrays_of(state)]
    elapsed, busy = np.full(3, 0.02), np.full(state.load.shape, 0.01)
    once = dynamics.advance(state, noise, elapsed, busy)
    dynamics.advance(once, draws.noise(rng), elapsed, busy)
    again = CellDynamics(scenario, 3).advance(state, noise, elapsed, busy)
    for one, other in zip(arrays_of(once), arrays_of(again), strict=True):
        np.testing.assert_array_equal(one, other)
    for array, copy in zip(arrays_of(state), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert not np.array_equal(once.gain, state.gain)


@pytest.mark.parametrize(("delay", "error", "uncertain"), [(0, 0.0, False), (1, 0.0, True), (0, 1.5, True)])
def test_the_average_is_the_known_gain_unless_the_channel_is_uncertain(delay, error, uncertain):
    cell = cell_of(channel={"csi_delay_steps": delay, "csi_error_db": error})
    cell.pass_time(0.01)
    assert (cell.average_gain is not cell.known_gain) == uncertain
