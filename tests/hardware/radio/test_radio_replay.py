"""Recorded radio logs as the channel: exact gains at known times, and what is refused."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.running_cells import RunningCells
from support.toy import SMALL, preset, random_decision, same_rng

from wdmoe_env import Simulator, load_scenario
from wdmoe_env.hardware.radio.importers import import_text
from wdmoe_env.hardware.radio.traces import RadioTrace, read_radio_trace, write_radio_trace
from wdmoe_env.settings import paths

UCC = Path(__file__).parents[4] / "shared" / "data" / "wireless" / "ucc_5g_production_dataset.zip"
PLAIN = {"shadowing": {"std_db": 0.0}, "fading": {"kind": "none"}}
RISING = tuple(np.linspace(0.0, 19.0, 20))


def write(path, values=RISING, seconds=None, kind="snr_db", uplink=None):
    values = np.array(values, dtype=float)
    times = np.arange(len(values), dtype=float) if seconds is None else np.array(seconds, dtype=float)
    write_radio_trace(path, RadioTrace(times, values, kind, None if uplink is None else np.array(uplink, dtype=float)))
    return str(path)


def traced(*files, channel=None, name="paper", **trace):
    trace = {"files": list(files), "step_s": 1.0, **trace}
    return preset(name, channel={**PLAIN, **(channel or {}), "trace": trace})


def snr_db(scenario, gain, link=0):
    """SNR over the whole band, dB, of (..., U) gains."""
    radio = scenario.radio_link
    power = (radio.bs_power_w, radio.device_power_w)[link]
    return 10.0 * np.log10(gain * power / (radio.noise_w_per_hz * radio.bandwidth_hz))


def cell_of(scenario, num_envs=5, seed=0):
    return RunningCells(scenario, num_envs, seed)


def test_gains_follow_the_file_exactly_while_time_passes_and_begin_anew(tmp_path):
    scenario = traced(write(tmp_path / "a.csv"))
    source = read_radio_trace(tmp_path / "a.csv")
    cell = cell_of(scenario)
    offset, elapsed = cell.trace.clock.copy(), np.zeros(5)
    for step in range(40):
        expected = source.at(offset + elapsed[:, None])
        np.testing.assert_allclose(snr_db(scenario, cell.gain[:, 0]), expected, atol=1e-9)
        passed = 0.7 + 0.1 * np.arange(5) + 0.01 * step
        cell.pass_time(passed)
        elapsed += passed
    assert elapsed.min() > source.duration_s


def test_offsets_are_spread_over_the_whole_log_and_come_from_the_seed(tmp_path):
    scenario = traced(write(tmp_path / "a.csv"))
    clocks = [cell_of(scenario, 500, seed).trace.clock for seed in (0, 0, 1)]
    np.testing.assert_array_equal(clocks[0], clocks[1])
    assert not np.array_equal(clocks[0], clocks[2])
    counts = np.bincount(clocks[0].astype(int).ravel(), minlength=20)
    assert len(counts) == 20
    assert counts.min() > 0.7 * counts.mean()


def test_time_alone_ages_the_channel(tmp_path):
    cell = cell_of(traced(write(tmp_path / "a.csv")))
    before = cell.gain.copy()
    cell.pass_time(1e-9)
    np.testing.assert_array_equal(before, cell.gain)


def test_linear_interpolation_draws_a_line_between_samples(tmp_path):
    scenario = traced(write(tmp_path / "a.csv"), step_s=0.25, interpolation="linear")
    cell = cell_of(scenario)
    expected = np.minimum(np.floor(cell.trace.clock * 4) / 4, 19.0)
    np.testing.assert_allclose(snr_db(scenario, cell.gain[:, 0]), expected, atol=1e-9)


def test_files_are_given_to_devices_in_turn(tmp_path):
    files = [write(tmp_path / f"{i}.csv", [10.0 * i] * 5) for i in range(3)]
    scenario = traced(*files)
    seen = snr_db(scenario, cell_of(scenario).gain[:, 0])
    np.testing.assert_allclose(seen, np.broadcast_to(10.0 * (np.arange(8) % 3), (5, 8)), atol=1e-9)


def test_devices_draw_files_when_asked_to(tmp_path):
    files = [write(tmp_path / f"{i}.csv", [10.0 * i] * (5 + 40 * i)) for i in range(3)]
    scenario = traced(*files, assignment="drawn")
    seen = np.rint(snr_db(scenario, cell_of(scenario, 600).gain[:, 0]) / 10).astype(int)
    assert np.bincount(seen.ravel()) / seen.size == pytest.approx([1 / 3] * 3, abs=0.03)


def test_without_an_uplink_of_its_own_the_path_is_reciprocal(tmp_path):
    cell = cell_of(traced(write(tmp_path / "a.csv")))
    np.testing.assert_array_equal(cell.gain[:, 0], cell.gain[:, 1])


def test_uplink_of_the_log_is_used(tmp_path):
    scenario = traced(write(tmp_path / "a.csv", uplink=np.array(RISING) - 7.0))
    cell = cell_of(scenario)
    np.testing.assert_allclose(snr_db(scenario, cell.gain[:, 1], 1), np.floor(cell.trace.clock) - 7.0, atol=1e-9)


def test_throughput_is_what_the_device_would_get_of_the_band(tmp_path):
    rates = np.array([0.0, 2e6, 50e6, 300e6])
    scenario = traced(write(tmp_path / "a.csv", rates, kind="throughput_bit_s"), band_hz=40e6)
    cell = cell_of(scenario, 50)
    radio = scenario.radio_link
    capacity = 40e6 * np.log2(1 + cell.gain[:, 0] * radio.bs_power_w / (radio.noise_w_per_hz * 40e6))
    expected = rates[cell.trace.clock.astype(int)]
    np.testing.assert_allclose(capacity, expected, rtol=1e-9, atol=1e3)


def test_rsrp_is_received_over_sent_power(tmp_path):
    scenario = traced(write(tmp_path / "a.csv", [-80.0, -100.0], kind="rsrp_dbm"), reference_dbm=18.0)
    cell = cell_of(scenario)
    np.testing.assert_allclose(10 * np.log10(cell.gain[:, 0]), np.where(cell.trace.clock < 1, -98.0, -118.0))


def test_a_gap_is_refused_or_splits_the_log(tmp_path):
    seconds = [*range(10), *range(100, 130)]
    file = write(tmp_path / "a.csv", [5.0] * 10 + [15.0] * 30, seconds)
    with pytest.raises(ValueError, match=r"a\.csv: a gap of 91 s is above max_gap_s = 10; set gaps: split"):
        traced(file)
    scenario = traced(file, gaps="split")
    cell = cell_of(scenario, 400)
    share = (cell.trace.stretch == 1).mean()
    assert share == pytest.approx(0.75, abs=0.03)
    for _ in range(5):  # who began in a stretch stays in it
        np.testing.assert_allclose(
            snr_db(scenario, cell.gain[:, 0]), np.where(cell.trace.stretch, 15.0, 5.0), atol=1e-9
        )
        cell.pass_time(7.3)


def test_stretches_of_low_throughput_are_no_unit_mistake(tmp_path):
    rates, seconds = [3e7] * 5 + [2e5] * 5, [*range(5), *range(50, 55)]
    scenario = traced(write(tmp_path / "a.csv", rates, seconds, "throughput_bit_s"), gaps="split")
    assert len(scenario.radio_replay.length) == 2


@pytest.mark.parametrize(
    ("file", "trace", "message"),
    [
        ({"kind": "rsrp_dbm", "values": (-80, -90)}, {}, "needs reference_dbm"),
        ({"kind": "rsrp_dbm", "values": (-80, -90)}, {"reference_dbm": -85.0}, "RSRP of -80 dBm is above"),
        ({"kind": "rsrp_dbm", "values": (-80, -90), "uplink": (-80, -90)}, {}, "uplink_rsrp_dbm is of no use"),
        ({}, {"reference_dbm": 18.0}, "no file holds RSRP"),
        ({"kind": "throughput_bit_s", "values": (3e9, 1e9)}, {"band_hz": 20e6}, "set band_hz to the band"),
        ({"seconds": np.r_[0:19, 20_000.0]}, {"step_s": 1e-3, "max_gap_s": 1e5}, "raise step_s"),
        ({}, {"step_s": 0.0}, "greater than or equal to 0.001"),
        ({}, {"gaps": "ignore"}, "'refuse' or 'split'"),
        ({}, {"files": []}, "at least 1 item"),
        ({}, {"files": ["nowhere.csv"]}, r"no file 'nowhere.csv': tried /\S+nowhere.csv and /"),
    ],
)
def test_settings_that_do_not_fit_the_log_are_refused(tmp_path, file, trace, message):
    path = write(tmp_path / "a.csv", **file)
    with pytest.raises(ValueError, match=message):
        traced(path, **trace)


def test_the_place_in_a_log_is_found_after_any_time(tmp_path):
    replay = traced(write(tmp_path / "a.csv")).radio_replay
    stretch = np.zeros((1, 3), dtype=np.int64)
    seconds = np.array([[7.5, 20.0 * 2**40 + 7.5, 1e30]])
    with np.errstate(all="raise"):
        gain = replay.at(stretch, seconds)
    np.testing.assert_array_equal(gain[..., 0], gain[..., 1])
    assert np.isfinite(gain).all()


def test_a_log_in_the_wrong_unit_is_refused_with_its_name(tmp_path):
    (tmp_path / "a.csv").write_text("seconds,snr_db\n0,1500\n1,1600\n")
    with pytest.raises(ValueError, match=r"channel.trace: .*a\.csv: snr_db of 1600, expected -50 to 80 dB"):
        traced(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("channel", "trace", "message"),
    [
        ({"shadowing": {"std_db": 3.0}}, {}, "set shadowing.std_db to 0"),
        ({"fading": {"kind": "rayleigh"}}, {}, "trace.add_fading is false and fading.kind is 'rayleigh'"),
        ({}, {"add_fading": True}, "trace.add_fading is true and fading.kind is 'none'"),
    ],
)
def test_modelled_channels_contradict_a_log(tmp_path, channel, trace, message):
    with pytest.raises(ValueError, match=message):
        traced(write(tmp_path / "a.csv"), channel=channel, **trace)


def test_fading_is_laid_over_a_log_when_asked_for(tmp_path):
    scenario = traced(write(tmp_path / "a.csv", [10.0] * 5), channel={"fading": {"kind": "rayleigh"}}, add_fading=True)
    cell = cell_of(scenario, 4000)
    relative = 10 ** (0.1 * snr_db(scenario, cell.gain[:, 0]) - 1.0)
    assert (relative.mean(), relative.std()) == pytest.approx((1.0, 1.0), abs=0.03)


def test_stale_and_noisy_channel_state_still_apply(tmp_path):
    file = write(tmp_path / "a.csv")
    cell = cell_of(traced(file, channel={"csi_delay_steps": 1}))
    before = cell.gain.copy()
    cell.pass_time(3.0)
    np.testing.assert_array_equal(cell.known_gain, before)
    cell = cell_of(traced(file, channel={"csi_error_db": 1.5}), 400)
    assert (10 * np.log10(cell.known_gain / cell.gain)).std() == pytest.approx(1.5, rel=0.05)


def test_a_run_resumes_bit_exactly(tmp_path):
    scenario = traced(write(tmp_path / "a.csv"), assignment="drawn", channel={"csi_error_db": 1.0})
    ours, other, rng = Simulator(scenario, 3), Simulator(scenario, 3), np.random.default_rng(0)
    ours.reset(5)
    for step in range(30):
        if step == 10:
            other.restore(ours.state())
        decision = random_decision(scenario, 3, rng)
        one = ours.step(decision)
        if step >= 10:
            two = other.step(decision)
            np.testing.assert_array_equal(one.observation.gain_dl, two.observation.gain_dl)
            np.testing.assert_array_equal(one.metrics["latency"], two.metrics["latency"])


def test_policies_on_one_seed_meet_the_same_logs_at_the_same_places(tmp_path):
    scenario = traced(write(tmp_path / "a.csv"), assignment="drawn")
    simulators = [Simulator(scenario, 4) for _ in range(2)]
    for simulator in simulators:
        simulator.reset(3)
    np.testing.assert_array_equal(simulators[0].cell.trace.clock, simulators[1].cell.trace.clock)
    begun, elapsed = simulators[0].cell.trace.clock.copy(), [np.zeros(4), np.zeros(4)]
    for step in range(20):
        for i, simulator in enumerate(simulators):
            outcome = simulator.step(random_decision(scenario, 4, np.random.default_rng((step, i))))
            elapsed[i] += outcome.metrics["latency"]
    assert same_rng(*simulators)
    for simulator, passed in zip(simulators, elapsed, strict=True):
        np.testing.assert_allclose(simulator.cell.trace.clock, begun + passed[:, None])


def test_paths_are_found_beside_the_file_and_hold_from_anywhere(tmp_path, monkeypatch):
    write(tmp_path / "own.csv")
    data = load_scenario("paper", **SMALL["paper"], name="own").model_dump(mode="json")
    data["channel"] |= {**PLAIN, "trace": {"files": ["own.csv"], "step_s": 1.0}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(data))
    scenario = load_scenario(tmp_path / "own.yaml")
    assert scenario.channel.trace.files == (str(tmp_path / "own.csv"),)
    monkeypatch.chdir(tmp_path)
    assert traced("own.csv").channel.trace == scenario.channel.trace
    assert load_scenario(load_scenario(scenario)) == scenario
    assert json.dumps(scenario.model_dump(mode="json"))


def test_a_log_that_has_changed_is_read_again(tmp_path):
    path = tmp_path / "a.csv"
    before = traced(write(path, [5.0] * 3)).radio_replay.gain
    path.unlink()
    write(path, [15.0] * 3)
    assert traced(str(path)).radio_replay.gain[0, 0] == pytest.approx(10.0 * before[0, 0])


@pytest.mark.slow
@pytest.mark.skipif(not UCC.exists(), reason="the UCC 5G logs are not part of the project")
@pytest.mark.parametrize(("kind", "trace"), [("snr_db", {}), ("rsrp_dbm", {"reference_dbm": 18.0})])
def test_recorded_drives_are_replayed(tmp_path, kind, trace):
    with zipfile.ZipFile(UCC) as archive:
        names = [name for name in archive.namelist() if "Download" in name and name.endswith(".csv")]
        names = [name for name in names if not name.startswith("__MACOSX")][-6:]
        imported = [log for name in names for log in import_text(archive.read(name).decode(), name, kind)]
    files = [str(tmp_path / f"{i}.csv") for i in range(len(imported))]
    assert len(files) > 3
    for file, log in zip(files, imported, strict=True):
        write_radio_trace(Path(file), log)
    scenario = traced(*files, name="mobile", **trace)
    logs = [read_radio_trace(Path(file)) for file in files]
    cell = cell_of(scenario)
    for _ in range(50):
        for device in range(scenario.num_devices):
            log = logs[device % len(logs)]
            expected = log.at(np.minimum(cell.trace.clock[:, device] % log.duration_s, log.duration_s - 1e-6) // 1.0)
            radio = (scenario.radio.bandwidth_hz, scenario.radio.bs_power_w, scenario.radio_link.noise_w_per_hz)
            wanted = RadioTrace(np.arange(5.0), expected, kind).gain(*radio, scenario.channel.trace.reference_dbm)
            np.testing.assert_allclose(cell.gain[:, 0, device], wanted)
        cell.pass_time(0.9)


def test_shipped_files_are_found_by_their_name():
    for path in paths.SHIPPED.glob("*.csv"):
        assert paths.absolute(path.name) == path.name
