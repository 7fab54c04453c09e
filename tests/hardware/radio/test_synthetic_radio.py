"""The made-up radio log: what it says of itself, and that the shipped one is what the command writes."""

import numpy as np
import pytest

from wdmoe_env import Simulator, load_scenario
from wdmoe_env.hardware.__main__ import main
from wdmoe_env.hardware.radio.synthetic import DROPOUT_DB, FAST_DB, SLOW_DB, SLOW_S, synthetic_snr
from wdmoe_env.hardware.radio.traces import read_radio_trace
from wdmoe_env.settings.paths import SHIPPED


def test_shipped_log_is_what_the_documented_command_writes(tmp_path):
    main(["synthesize-radio", "--seed", "0", "--out", str(tmp_path / "made-up.csv")])
    assert (tmp_path / "made-up.csv").read_text() == (SHIPPED / "synthetic-wifi.csv").read_text()


def test_shipped_log_with_drop_outs_is_what_the_documented_command_writes(tmp_path):
    options = ["--dropouts-per-minute", "2", "--dropout-s", "4", "--seed", "0"]
    main(["synthesize-radio", *options, "--out", str(tmp_path / "made-up.csv")])
    assert (tmp_path / "made-up.csv").read_text() == (SHIPPED / "synthetic-wifi-dropouts.csv").read_text()


def test_links_vanish_in_drop_outs_and_nothing_else_changes():
    whole, broken = (read_radio_trace(SHIPPED / f"synthetic-wifi{name}.csv").values for name in ("", "-dropouts"))
    lost = broken == DROPOUT_DB
    np.testing.assert_array_equal(broken[~lost], whole[~lost])
    assert 0.05 < lost.mean() < 0.25


def test_drop_outs_are_as_many_and_as_long_as_asked_for():
    lost = synthetic_snr(seconds=60_000, dropouts_per_minute=1.0, dropout_s=4.0).values == DROPOUT_DB
    starts = np.diff(lost.astype(int)) == 1
    assert starts.sum() == pytest.approx(1000 * np.exp(-4.0 / 60.0), rel=0.1)  # fewer, as some overlap
    assert lost.mean() == pytest.approx(1.0 - np.exp(-4.0 / 60.0), rel=0.1)


def test_devices_lose_their_links_at_times_of_their_own():
    trace = {"files": ["synthetic-wifi-dropouts.csv"]}
    scenario = load_scenario("jetson-wifi", name="lossy", channel={"trace": trace}, gating={"bank_passes": 2})
    simulator = Simulator(scenario, 64)
    simulator.reset(0)
    gain = simulator.cell.gain[:, 0]
    lost = gain < 1e-3 * np.median(gain)
    assert 0.02 < lost.mean() < 0.3
    assert lost.any(axis=1).mean() > 0.3
    assert not lost.all(axis=1).any()


def test_the_file_says_that_it_is_made_up():
    trace = read_radio_trace(SHIPPED / "synthetic-wifi.csv")
    assert (len(trace.seconds), trace.duration_s, trace.kind) == (600, 300.0, "snr_db")
    assert trace.source.startswith("synthetic")


def test_spread_and_memory_are_those_stated():
    values = synthetic_snr(seconds=20_000).values
    assert values.mean() == pytest.approx(28.0, abs=1.0)
    assert values.std() == pytest.approx(np.hypot(SLOW_DB, FAST_DB), rel=0.1)
    later = np.corrcoef(values[: -int(SLOW_S / 0.5)], values[int(SLOW_S / 0.5) :])[0, 1]
    assert later == pytest.approx(np.exp(-1) * SLOW_DB**2 / (SLOW_DB**2 + FAST_DB**2), abs=0.08)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--step-s", "0"], "at least two steps"),
        (["--seconds", "0.5"], "at least two steps"),
        (["--dropouts-per-minute", "-1"], "expected at least 0 drop-outs"),
        (["--dropouts-per-minute", "200"], "at most one a step"),
        (["--dropout-s", "0"], "more than 0 s"),
        (["--mean-db", "70"], "mean_db=70.0, expected -25 to 55 dB"),
    ],
)
def test_impossible_logs_are_refused(tmp_path, options, message, capsys):
    with pytest.raises(SystemExit):
        main(["synthesize-radio", *options, "--out", str(tmp_path / "x.csv")])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("seconds", [1e12, float("inf"), 500_001.0])
def test_logs_that_fill_memory_are_refused(seconds):
    with pytest.raises(ValueError, match="at least two steps and at most 1,000,000"):
        synthetic_snr(seconds, 0.5)


def test_long_logs_with_many_losses_take_little():
    log = synthetic_snr(100_000.0, 0.1, dropouts_per_minute=60.0, dropout_s=0.5)
    assert 0.3 < (log.values == DROPOUT_DB).mean() < 0.5
