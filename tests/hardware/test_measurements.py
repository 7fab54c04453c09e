"""The measurement table: a broken row is refused with file, row, column, value and expectation."""

import pytest

from wdmoe_env.hardware.measurements import COLUMNS, read_measurements, write_measurements

GOOD = "b,m,gemm,8,64,64,fp16,host,0.001,,10,here"


HEADER = ",".join(COLUMNS)


def table(tmp_path, row, header=HEADER):
    path = tmp_path / "table.csv"
    path.write_text(f"{header}\n{GOOD}\n{row}\n", encoding="utf-8")
    return path


def test_good_table_is_read(tmp_path):
    rows = read_measurements(table(tmp_path, GOOD))
    assert [row.latency_s for row in rows] == [0.001, 0.001]
    assert rows[0].std_s is None


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("latency_s", "-0.001", "a finite number > 0, in seconds"),
        ("latency_s", "nan", "a finite number > 0, in seconds"),
        ("latency_s", "inf", "a finite number > 0, in seconds"),
        ("latency_s", "", "a finite number > 0, in seconds"),
        ("std_s", "-1", "empty or a finite number >= 0, in seconds"),
        ("tokens", "0", "a whole number >= 1"),
        ("inputs", "4.5", "a whole number >= 1"),
        ("operation", "conv", "'gemm', 'gemm_burst', 'gemv' or 'stream_add'"),
        ("precision", "int4", "'fp16', 'bf16' or 'fp32'"),
        ("board", "", "a name"),
    ],
)
def test_broken_value_is_refused(tmp_path, column, value, expected):
    cells = GOOD.split(",")
    cells[COLUMNS.index(column)] = value
    with pytest.raises(ValueError) as error:
        read_measurements(table(tmp_path, ",".join(cells)))
    for part in ("table.csv, row 3", f"column {column}", repr(value), expected):
        assert part in str(error.value)


def test_missing_column_is_refused(tmp_path):
    path = table(tmp_path, GOOD, header=HEADER.replace("latency_s", "latency"))
    with pytest.raises(ValueError, match=r"table\.csv: column latency_s is missing; expected columns: board, "):
        read_measurements(path)


@pytest.mark.parametrize("row", [GOOD.rsplit(",", 1)[0], f"{GOOD},more"])
def test_row_of_the_wrong_length_is_refused(tmp_path, row):
    with pytest.raises(ValueError, match=r"table\.csv, row 3"):
        read_measurements(table(tmp_path, row))


def test_written_table_reads_back(tmp_path):
    rows = read_measurements()
    write_measurements(tmp_path / "copy.csv", rows)
    assert read_measurements(tmp_path / "copy.csv") == rows
