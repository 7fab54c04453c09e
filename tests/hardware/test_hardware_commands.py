"""What the hardware commands print and write, on the table that comes with the project."""

import pytest

from wdmoe_env.hardware import commands
from wdmoe_env.hardware.latency.check import KINDS, check
from wdmoe_env.hardware.latency.table import TABLE, read_measurements
from wdmoe_env.hardware.radio.traces import read_radio_trace


def test_check_lists_what_is_suspect_and_drops_what_it_is_told(tmp_path, capsys):
    rows = read_measurements(TABLE)
    findings = check(rows)
    assert findings
    commands.check_table(TABLE, [findings[0].kind], tmp_path / "kept.csv")
    said = capsys.readouterr().out
    assert f"data row {findings[0].index + 1}: {findings[0].kind}: " in said
    assert f"{len(rows)} valid rows; suspect: " in said
    gone = {finding.index for finding in findings if finding.kind == findings[0].kind}
    assert len(read_measurements(tmp_path / "kept.csv")) == len(rows) - len(gone)
    assert f"{len(gone)} dropped ({findings[0].kind})" in said
    assert {finding.kind for finding in findings} <= set(KINDS)


def test_a_made_up_log_is_one_that_is_read(tmp_path, capsys):
    commands.synthesize_radio(20.0, 0.1, 25.0, 3, 0.0, 0.5, tmp_path / "log.csv")
    trace = read_radio_trace(tmp_path / "log.csv")
    assert len(trace.seconds) == 200
    assert "200 samples, made up" in capsys.readouterr().out


def test_what_is_no_original_is_refused(tmp_path):
    with pytest.raises((OSError, ValueError)):
        commands.import_tables(tmp_path, tmp_path / "out.csv")
