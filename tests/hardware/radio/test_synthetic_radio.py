"""The made-up radio log: what it says of itself, and that the shipped one is what the command writes."""

import numpy as np
import pytest

from wdmoe_env.hardware.__main__ import main
from wdmoe_env.hardware.radio.synthetic import FAST_DB, SLOW_DB, SLOW_S, synthetic_snr
from wdmoe_env.hardware.radio.traces import read_radio_trace
from wdmoe_env.settings.paths import SHIPPED


def test_shipped_log_is_what_the_documented_command_writes(tmp_path):
    main(["synthesize-radio", "--seed", "0", "--out", str(tmp_path / "made-up.csv")])
    assert (tmp_path / "made-up.csv").read_text() == (SHIPPED / "synthetic-wifi.csv").read_text()


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
        (["--mean-db", "70"], "mean_db=70.0, expected -25 to 55 dB"),
    ],
)
def test_impossible_logs_are_refused(tmp_path, options, message, capsys):
    with pytest.raises(SystemExit):
        main(["synthesize-radio", *options, "--out", str(tmp_path / "x.csv")])
    assert message in capsys.readouterr().err
