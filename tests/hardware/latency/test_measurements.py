"""The measurement table: every fault is refused with file, row, column, value and expectation."""

import subprocess
import sys

import pytest
from support.measured import GOOD, HEADER, csv_table, expert, line

from wdmoe_env.hardware.latency.measurement import COLUMNS, REQUIRED, Measurement
from wdmoe_env.hardware.latency.plausible import latency_bounds
from wdmoe_env.hardware.latency.table import read_measurements, write_measurements


def refusal(path):
    with pytest.raises(ValueError) as error:
        read_measurements(path)
    return str(error.value)


def test_good_table_is_read(tmp_path):
    rows = read_measurements(csv_table(tmp_path / "t.csv", line(), line()))
    assert [row.latency_s for row in rows] == [0.001, 0.001]
    assert rows[0].std_s is None


def test_optional_columns_may_be_absent(tmp_path):
    path = csv_table(tmp_path / "t.csv", ",".join(GOOD[name] for name in REQUIRED), header=",".join(REQUIRED))
    [row] = read_measurements(path)
    assert (row.trials, row.trial, row.timer, row.source) == (1, None, "host", "")


def test_bytes_and_flops_of_an_expert():
    row = expert(tokens=2, hidden=3, intermediate=5, precision="fp16", weight_bits=4)
    assert row.flops == 2 * 2 * 3 * 3 * 5
    assert row.weight_bytes == 3 * 3 * 5 / 2
    assert row.bytes == row.weight_bytes


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("latency_s", "-0.001", "a finite number > 0, in seconds"),
        ("latency_s", "0", "a finite number > 0, in seconds"),
        ("latency_s", "nan", "a finite number > 0, in seconds"),
        ("latency_s", "1e308", "a finite number > 0, in seconds, at most 100000"),
        ("latency_s", "inf", "a finite number > 0, in seconds"),
        ("latency_s", "", "a finite number > 0, in seconds"),
        ("latency_s", "fast", "a finite number > 0, in seconds"),
        ("std_s", "-1", "empty or a finite number >= 0, in seconds"),
        ("tokens", "0", "a whole number >= 1"),
        ("hidden", "4.5", "a whole number >= 1"),
        ("trial", "-1", "empty or a whole number >= 0"),
        ("time_s", "1764000000000", "not milliseconds"),
        ("temperature_c", "318.1", "not kelvin"),
        ("operation", "conv", "'swiglu_expert', 'gemm', 'gemm_burst', 'gemv' or 'stream_add'"),
        ("precision", "int4", "'fp16', 'bf16' or 'fp32'"),
        ("board", "", "a name"),
    ],
)
def test_broken_value_is_refused(tmp_path, column, value, expected):
    message = refusal(csv_table(tmp_path / "table.csv", line(), line(**{column: value})))
    for part in ("table.csv, row 3", f"column {column}", repr(value), expected):
        assert part in message


@pytest.mark.parametrize(
    ("changes", "column", "expected"),
    [
        # 17 GFLOP in 5 ms: fine in seconds, and refused in milliseconds.
        ({"board": "orin-nano-8gb", "tokens": "64", "hidden": "8192", "intermediate": "16384", "latency_s": "5.0"},
         "latency_s", "it looks like milliseconds: divide by 1000"),
        ({"latency_s": "0.5"}, "latency_s", "it looks like milliseconds: divide by 1000"),
        ({"latency_s": "350"}, "latency_s", "it looks like microseconds: divide by 1000000"),
        ({"tokens": "4096", "hidden": "8192", "intermediate": "16384", "latency_s": "0.0000001"}, "latency_s", "take"),
        ({"std_s": "0.1"}, "std_s", "at most latency_s * sqrt(trials)"),
        ({"min_s": "0.9"}, "min_s", "at most latency_s"),
        ({"trial": "2"}, "trials", "a single run"),
        ({"energy_j": "15"}, "energy_j", "1.5e+04 W"),
    ],
)  # fmt: skip
def test_wrong_unit_is_refused_with_a_hint(tmp_path, changes, column, expected):
    message = refusal(csv_table(tmp_path / "table.csv", line(**changes)))
    assert f"row 2, column {column}" in message
    assert expected in message


def test_every_shipped_row_would_be_refused_in_milliseconds():
    for row in read_measurements():
        assert 1e3 * row.latency_s > latency_bounds(row)[1], row


def test_all_faults_are_reported_at_once(tmp_path):
    message = refusal(csv_table(tmp_path / "t.csv", line(tokens="0", hidden="x"), line(), line(latency_s="nan")))
    assert "3 fault(s)" in message
    for part in ("row 2, column tokens", "row 2, column hidden", "row 4, column latency_s"):
        assert part in message


def test_long_list_of_faults_is_cut(tmp_path):
    message = refusal(csv_table(tmp_path / "t.csv", *[line(tokens="0")] * 33))
    assert message.count("column tokens") == 20
    assert message.endswith("... and 13 more faults")


def test_missing_column_is_refused_and_names_what_is_there_instead(tmp_path):
    path = csv_table(tmp_path / "t.csv", line(), header=HEADER.replace("latency_s", "latency_ms"))
    assert "column latency_s is missing; found instead: 'latency_ms'; expected columns: board, " in refusal(path)


def test_column_that_appears_twice_is_refused(tmp_path):
    path = csv_table(tmp_path / "t.csv", line(), header=HEADER.replace("std_s", "latency_s"))
    assert "column latency_s appears more than once" in refusal(path)


@pytest.mark.parametrize("row", [line().rsplit(",", 1)[0], f"{line()},more"])
def test_row_of_the_wrong_length_is_refused(tmp_path, row):
    assert f"row 3, column -: value '{len(row.split(','))} cells'" in refusal(
        csv_table(tmp_path / "table.csv", line(), row)
    )


def test_table_without_rows_is_refused(tmp_path):
    assert "no rows" in refusal(csv_table(tmp_path / "t.csv"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["copy.csv", "copy.parquet"])
def test_written_table_reads_back(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("polars", reason="Parquet needs polars")
    rows = [
        *read_measurements(),
        expert(trial=3, time_s=1.7e9 + 1 / 3, temperature_c=41.5, energy_j=0.05, weight_bits=4),
    ]
    write_measurements(tmp_path / name, rows)
    assert read_measurements(tmp_path / name) == rows


def test_written_table_leaves_out_empty_columns(tmp_path):
    write_measurements(tmp_path / "t.csv", [expert()])
    header = (tmp_path / "t.csv").read_text().splitlines()[0].split(",")
    assert header == [*(name for name in COLUMNS if name in REQUIRED), "source"]


@pytest.mark.slow
def test_parquet_without_polars_says_what_to_do(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1" + bytes(16) + b"PAR1")
    code = (
        "import sys; sys.modules['polars'] = None\n"
        "from pathlib import Path\n"
        "from wdmoe_env.hardware.latency.table import read_measurements\n"
        "try: read_measurements(Path(sys.argv[1]))\n"
        "except ImportError as error: assert 'pip install polars' in str(error); print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    assert done.stdout == "refused\n"


def test_measurements_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        expert().latency_s = 1.0
    assert isinstance(expert(), Measurement)
