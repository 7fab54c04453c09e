"""Broken tables, drawn at random: a clear ValueError each time, no crash, and nothing is executed."""

import contextlib
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.measured import GOOD, HEADER, csv_table, expert, line

from wdmoe_env.files import tables
from wdmoe_env.files.tables import read_rows
from wdmoe_env.hardware.latency.measurement import COLUMNS, REQUIRED
from wdmoe_env.hardware.latency.table import read_measurements, write_measurements

NUMBERS = ("tokens", "hidden", "intermediate", "latency_s", "trials")
quiet = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal(path):
    with pytest.raises(ValueError) as error:
        read_measurements(path)
    assert str(path) in str(error.value)
    return str(error.value)


@quiet
@given(missing=st.sets(st.sampled_from(REQUIRED), min_size=1))
def test_missing_columns_are_named(tmp_path, missing):
    names = [name for name in COLUMNS if name not in missing]
    path = csv_table(tmp_path / "t.csv", ",".join(GOOD[name] for name in names), header=",".join(names))
    message = refusal(path).split("; expected")[0]
    assert all(name in message for name in missing)


@quiet
@given(
    column=st.sampled_from(NUMBERS),
    value=st.sampled_from(["nan", "-nan", "inf", "-1", "0", "-0.0", "1e999", "", "None", "True", "0x10", "1;2", "½"]),
    row=st.integers(0, 5),
)
def test_values_that_are_no_positive_number_are_named(tmp_path, column, value, row):
    lines = [line()] * 6
    lines[row] = line(**{column: value})
    if column == "trials" and value == "":
        assert len(read_measurements(csv_table(tmp_path / "t.csv", *lines))) == 6
        return
    message = refusal(csv_table(tmp_path / "t.csv", *lines))
    assert f"row {row + 2}, column {column}: value {value!r}" in message


@pytest.mark.slow
@quiet
@given(
    tokens=st.integers(1, 512),
    hidden=st.sampled_from([512, 4096, 14336]),
    rate=st.floats(1e12, 2e14),
    launch=st.floats(1.1e-4, 5e-4),
)
def test_milliseconds_of_a_small_product_are_refused(tmp_path, tokens, hidden, rate, launch):
    """A table holds small products, too: whatever the rate, 0.11 ms of launch cannot be 0.11 s."""
    small = line(latency_s=repr(1e3 * (launch + 2 * 64 * 64 * 8 / rate)))
    large = {"tokens": str(tokens), "hidden": str(hidden), "intermediate": str(hidden)}
    seconds = launch + 2 * tokens * hidden**2 / rate
    assert read_measurements(csv_table(tmp_path / "good.csv", line(**large, latency_s=repr(seconds))))
    message = refusal(csv_table(tmp_path / "t.csv", small, line(**large, latency_s=repr(1e3 * seconds))))
    assert "it looks like milliseconds" in message


@quiet
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".parquet", ".txt"]))
def test_random_bytes_are_refused(tmp_path, content, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    assert refusal(path)


@quiet
@given(text=st.text(max_size=200))
def test_random_text_after_a_header_is_refused(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(f"{HEADER}\n{text}", encoding="utf-8", errors="surrogatepass")
    assert refusal(path)


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".pkl"])
def test_pickle_under_another_name_is_refused_and_not_loaded(tmp_path, suffix, protocol):
    path, trap = tmp_path / f"t{suffix}", tmp_path / "executed"
    path.write_bytes(pickle.dumps(Bomb(trap), protocol))
    message = refusal(path)
    assert not trap.exists()
    assert "pickle" in message or "not Parquet" in message or "is missing" in message
    pickle.loads(path.read_bytes())  # the trap works
    assert trap.exists()


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    pytest.importorskip("polars", reason="Parquet needs polars")
    path = tmp_path_factory.mktemp("whole") / "whole.parquet"
    write_measurements(path, [expert(tokens=n, trial=n) for n in range(1, 200)])
    return path.read_bytes()


@quiet
@given(data=st.data())
def test_truncated_parquet_is_refused(tmp_path, parquet, data):
    path = tmp_path / "t.parquet"
    path.write_bytes(parquet[: data.draw(st.integers(0, len(parquet) - 1))])
    message = refusal(path)
    assert "truncated" in message or "not Parquet" in message


@pytest.mark.slow
@settings(quiet, max_examples=8)
@given(data=st.data())
def test_parquet_with_a_hole_is_refused(tmp_path, parquet, data):
    cut = data.draw(st.integers(4, len(parquet) - 12))
    path = tmp_path / "t.parquet"
    path.write_bytes(parquet[:cut] + parquet[cut + data.draw(st.integers(1, 8)) :])
    rows = []
    with contextlib.suppress(ValueError):
        rows = read_measurements(path)
    assert len(rows) in (0, 199)  # the hole may be in what only describes the table


def test_parquet_that_ends_its_decoder_is_refused(tmp_path, parquet, monkeypatch):
    """Some damage ends the process that decodes it, which must not be ours."""
    (tmp_path / "decoder.py").write_text("import os; os.abort()")
    monkeypatch.setattr(tables, "_DECODER", tmp_path / "decoder.py")
    path = tmp_path / "t.parquet"
    path.write_bytes(parquet)
    assert "is damaged Parquet" in refusal(path)


def test_mixed_types_in_parquet_are_refused(tmp_path):
    polars = pytest.importorskip("polars", reason="Parquet needs polars")
    path = tmp_path / "t.parquet"
    row = {**expert().model_dump(), "latency_s": "0.01"}
    rows = [row, row | {"latency_s": "fast"}, row | {"latency_s": None}, row | {"latency_s": "nan"}]
    polars.DataFrame(rows, schema_overrides={"latency_s": polars.String}).write_parquet(path)
    message = refusal(path)
    assert "3 fault(s)" in message
    assert "row 3, column latency_s: value 'fast'" in message


@pytest.mark.slow
@pytest.mark.parametrize("latency", [True, [0.01], b"0.01"], ids=["bool", "list", "bytes"])
def test_parquet_column_of_another_type_is_refused(tmp_path, latency):
    polars = pytest.importorskip("polars", reason="Parquet needs polars")
    path = tmp_path / "t.parquet"
    polars.DataFrame([expert().model_dump() | {"latency_s": latency}]).write_parquet(path)
    assert "column latency_s" in refusal(path)


def test_folder_and_missing_file_are_refused(tmp_path):
    assert "is not a file" in refusal(tmp_path)
    assert "is not a file" in refusal(tmp_path / "none.csv")


def test_parquet_that_stands_for_more_than_a_table_may_hold_is_refused(tmp_path):
    pl = pytest.importorskip("polars")
    many, long = tmp_path / "many.parquet", tmp_path / "long.parquet"
    pl.DataFrame({"seconds": pl.repeat(1.0, 50_000_000, eager=True)}).write_parquet(many)
    pl.DataFrame({"source": pl.repeat("x" * 1000, 400_000, eager=True)}).write_parquet(long)
    for file in (many, long):
        assert file.stat().st_size < 2_000_000
        with pytest.raises(ValueError, match=r"parquet stands for more than 5,000,000 cells, or very long ones"):
            list(read_rows(file, (), ("seconds", "source"), []))


def test_a_table_of_many_rows_is_read(tmp_path):
    pl = pytest.importorskip("polars")
    file = tmp_path / "t.parquet"
    pl.DataFrame({"seconds": [float(i) for i in range(400_000)]}).with_columns(value=1.5).write_parquet(file)
    rows = list(read_rows(file, ("seconds",), ("seconds", "value"), []))
    assert (len(rows), rows[-1]) == (400_000, (400_001, {"seconds": "399999.0", "value": "1.5"}))


def test_the_decoder_tells_cells_as_text_and_none_of_too_many(tmp_path, monkeypatch):
    pl = pytest.importorskip("polars")
    from wdmoe_env.files import decode_parquet

    file = tmp_path / "t.parquet"
    pl.DataFrame({"a": [1.5, None], "b": ["x", "yz"]}).write_parquet(file)
    assert decode_parquet.decoded(str(file)) == (["a", "b"], [["1.5", "x"], ["", "yz"]])
    monkeypatch.setattr(decode_parquet, "MAX_CHARACTERS", 5)
    assert decode_parquet.decoded(str(file)) is None
    monkeypatch.setattr(decode_parquet, "MAX_CELLS", 3)
    assert decode_parquet.decoded(str(file)) is None
    limits = []
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limit: limits.append(limit))
    decode_parquet.limit_memory(10**9)
    assert limits == [(10**9, 10**9)]
