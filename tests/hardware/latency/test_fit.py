"""The fit: it recovers what made the data, withstands outliers, and refuses what it cannot determine."""

import numpy as np
import pytest

from wdmoe_env.hardware.latency.fit import (
    RooflineFit,
    burst_slowdown,
    fit_boards,
    fit_roofline,
    held_out_error,
    relative_error,
)
from wdmoe_env.hardware.latency.measurement import Measurement
from wdmoe_env.hardware.latency.table import read_measurements

TRUE = RooflineFit(peak_flops=8e12, memory_bandwidth=60e9, launch_s=3e-4)


def measurement(tokens, inputs, outputs, latency_s=1.0, **changes):
    fields = {
        "board": "b", "power_mode": "m", "operation": "gemm", "tokens": tokens, "hidden": inputs,
        "intermediate": outputs, "precision": "fp16", "timer": "host", "latency_s": latency_s, "trials": 1,
        "source": "synthetic",
    }  # fmt: skip
    return Measurement(**(fields | changes))


def synthetic(noise=0.0, seed=0, **changes):
    shapes = [(n, k, m) for n in (1, 4, 16, 64, 256, 1024) for k in (256, 1024, 4096) for m in (256, 1024, 4096)]
    rows = [measurement(*shape, **changes) for shape in shapes]
    factor = np.exp(noise * np.random.default_rng(seed).standard_normal(len(rows)))
    times = TRUE.predict(rows) * factor
    return [row.model_copy(update={"latency_s": float(t)}) for row, t in zip(rows, times, strict=True)]


def assert_close(fit, rel):
    assert fit.peak_flops == pytest.approx(TRUE.peak_flops, rel=rel)
    assert fit.memory_bandwidth == pytest.approx(TRUE.memory_bandwidth, rel=rel)
    assert fit.launch_s == pytest.approx(TRUE.launch_s, rel=rel)


def test_bytes_and_flops_of_one_gemm():
    row = measurement(2, 3, 5)
    assert row.flops == 60
    assert row.bytes == 2 * (6 + 15 + 10)


def test_bytes_of_a_stream():
    row = measurement(100, 2, 1, operation="stream_add", precision="fp32")
    assert (row.flops, row.bytes) == (0, 1200)


def test_known_parameters_are_recovered_exactly():
    assert_close(fit_roofline(synthetic()), rel=1e-5)


def test_known_parameters_are_recovered_from_noise():
    assert_close(fit_roofline(synthetic(noise=0.05)), rel=0.1)


def test_outliers_hardly_move_the_fit():
    rows = synthetic(noise=0.01)
    spoilt = [r.model_copy(update={"latency_s": 5 * r.latency_s}) if i % 9 == 0 else r for i, r in enumerate(rows)]
    assert_close(fit_roofline(spoilt), rel=0.15)


def test_event_timed_rows_have_no_launch():
    fit = fit_roofline(synthetic(timer="event"))
    assert fit.launch_s == 0
    assert fit.peak_flops == pytest.approx(TRUE.peak_flops, rel=1e-5)


def test_given_peak_is_kept():
    fit = fit_roofline(synthetic(), peak_flops=TRUE.peak_flops)
    assert fit.peak_flops == pytest.approx(TRUE.peak_flops)
    assert_close(fit, rel=1e-5)


def test_fit_is_deterministic():
    rows = synthetic(noise=0.1)
    assert fit_roofline(rows) == fit_roofline(rows)
    assert held_out_error(rows, seed=3) == held_out_error(rows, seed=3)


def test_held_out_error_shows_the_noise():
    assert held_out_error(synthetic()) < 1e-5
    assert 0.05 < held_out_error(synthetic(noise=0.15)) < 0.2


@pytest.mark.parametrize("rows", [[], [measurement(1000, 2, 1, operation="stream_add", precision="fp32")]])
def test_rows_that_determine_nothing_are_refused(rows):
    with pytest.raises(ValueError, match="do not determine bandwidth and peak"):
        fit_roofline(rows)


def test_burst_slowdown_is_measured_over_predicted():
    row = measurement(2048, 2048, 2048, operation="gemm_burst")
    slow = row.model_copy(update={"latency_s": float(3 * TRUE.predict([row])[0])})
    assert burst_slowdown(TRUE, [slow]) == pytest.approx(3)
    assert np.isnan(burst_slowdown(TRUE, []))


@pytest.mark.slow
def test_fit_explains_shapes_like_an_experts():
    """Few tokens times a large weight, on the board and mode where such GEMMs were measured."""
    rows = [r for r in read_measurements() if (r.board, r.power_mode, r.operation) == ("orin-nano-8gb", "15W", "gemm")]
    alike = [row for row in rows if row.tokens <= 256 and min(row.hidden, row.intermediate) >= 2048]
    error = relative_error(fit_boards(read_measurements())["orin-nano-8gb", "15W"], alike)
    assert len(alike) > 30
    assert np.median(np.abs(error)) < 0.25
