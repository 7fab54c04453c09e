"""The check: warm-up, duplicates and outliers are found, explained, and dropped only when asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.measured import expert

from wdmoe_env.hardware.latency.check import Finding, check, drop
from wdmoe_env.hardware.latency.measurement import BYTES
from wdmoe_env.hardware.latency.order import in_order
from wdmoe_env.hardware.latency.replay import latency_sequence
from wdmoe_env.hardware.latency.table import read_measurements


def trials(count=20, seed=0, **changes):
    seconds = 0.01 * np.exp(0.02 * np.random.default_rng(seed).standard_normal(count))
    return [expert(latency_s=float(s), trial=i, **changes) for i, s in enumerate(seconds)]


def found(rows, kind):
    return [finding.index for finding in check(rows) if finding.kind == kind]


def test_clean_trials_give_no_finding():
    assert check(trials()) == []


def test_slow_start_of_a_run_is_warm_up():
    rows = [expert(latency_s=0.09, trial=0), expert(latency_s=0.05, trial=1), *trials()[2:]]
    assert found(rows, "warm-up") == [0, 1]


def test_slow_row_in_the_middle_is_an_outlier_and_no_warm_up():
    rows = trials()
    rows[7] = expert(latency_s=0.09, trial=7)
    assert [(finding.index, finding.kind) for finding in check(rows)] == [(7, "outliers")]


def test_time_stamps_give_the_order_of_a_run():
    rows = [row.model_copy(update={"time_s": 100.0 - i, "trial": None}) for i, row in enumerate(trials())]
    rows[-1] = rows[-1].model_copy(update={"latency_s": 0.09})
    assert found(rows, "warm-up") == [19]


def test_a_clock_that_was_set_back_is_found_and_orders_nothing():
    rows = trials()
    times = [100.0 + i if i < 9 else 100.0 + i - 3600.0 for i in range(len(rows))]
    rows = [row.model_copy(update={"time_s": time}) for row, time in zip(rows, times, strict=True)]
    assert found(rows, "clock") == [9]
    assert in_order(rows) == list(range(len(rows)))
    # The first run is the warm-up, though the clock says that others came before it.
    rows[0] = rows[0].model_copy(update={"latency_s": 0.09})
    assert found(rows, "warm-up") == [0]
    bits = 8.0 * BYTES[rows[0].precision] if rows[0].weight_bits is None else rows[0].weight_bits
    sequence = latency_sequence(rows, rows[0].hidden, rows[0].intermediate, 8, bits)
    np.testing.assert_array_equal(sequence.latency_s, [row.latency_s for row in rows])


def test_recordings_in_one_table_go_by_time():
    first, second = trials(), trials()
    rows = [row.model_copy(update={"time_s": 1000.0 + i}) for i, row in enumerate(first)]
    rows += [row.model_copy(update={"time_s": 10.0 + i}) for i, row in enumerate(second)]
    assert in_order(rows) == [*range(len(first), len(rows)), *range(len(first))]
    assert found(rows, "clock") == []


def test_rows_of_one_time_whatever_the_size_are_warm_up():
    """As in the event-timed table: no order of runs, small shapes at 0.165 ms, others of that size at 0.02 ms."""
    slow = [expert(tokens=n, latency_s=1.65e-4 + 1e-6 * n) for n in (1, 2, 3, 4)]
    fast = [expert(tokens=n, latency_s=4e-6 * n) for n in (2, 8, 16)]
    assert found([*slow, *fast], "warm-up") == [0, 1, 2, 3]


def test_one_odd_shape_is_no_warm_up():
    rows = [expert(tokens=n, latency_s=0.01 * n) for n in (1, 2, 4, 8, 16)]
    assert check([expert(tokens=3, latency_s=0.9), *rows]) == []


def test_equal_rows_are_duplicates_and_repeats_are_not():
    rows = [expert(), expert(), expert(latency_s=0.011), expert(trial=1)]
    assert found(rows, "duplicates") == [1]


def test_drop_takes_only_what_is_asked_for():
    rows = [expert(latency_s=0.09, trial=0), *trials()[1:], trials()[-1]]
    findings = check(rows)
    assert {finding.kind for finding in findings} == {"warm-up", "duplicates", "outliers"}
    assert drop(rows, findings, ["duplicates"]) == rows[:-1]
    assert drop(rows, findings, ["warm-up"]) == rows[1:]
    assert drop(rows, findings, []) == rows


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'slow' is unknown, expected some of warm-up, duplicates, outliers, clock"):
        drop([expert()], [], ["slow"])


def test_shipped_table_holds_no_warm_up_and_no_duplicates():
    assert {finding.kind for finding in check(read_measurements())} == {"outliers"}


@pytest.mark.slow
@given(factor=st.floats(1.5, 2.9), where=st.integers(0, 19))
def test_any_value_far_from_tight_trials_is_an_outlier(factor, where):
    rows = trials()
    rows[where] = rows[where].model_copy(update={"latency_s": factor * 0.01})
    assert found(rows, "outliers") == [where]


def test_finding_tells_why():
    rows = [expert(latency_s=0.09, trial=0), *trials()[1:]]
    reason = next(f.reason for f in check(rows) if f.kind == "warm-up")
    assert reason.startswith("90000 us, but as much work or more took 9")
    assert isinstance(check(rows)[0], Finding)
