"""Replay: the measured distribution comes back, sequences play exactly, equal uniforms give equal draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.measured import expert

from wdmoe_env.hardware.boards.catalogue import load_board, roofline
from wdmoe_env.hardware.boards.expert import expert_seconds
from wdmoe_env.hardware.latency.measurement import Measurement
from wdmoe_env.hardware.latency.replay import LatencyDistribution, latency_distribution, latency_sequence
from wdmoe_env.hardware.latency.spread import LONG_S, points, relative_spread
from wdmoe_env.hardware.latency.table import read_measurements

SIZE = {"hidden": 64, "intermediate": 128, "max_tokens": 64, "weight_bits": 32}
MODES = [
    (name, mode) for name in ("agx-orin-64gb", "orin-nx-16gb", "orin-nano-8gb") for mode in load_board(name).power_modes
]


def recording(trials=60, seed=0, counts=(4, 16, 32)):
    """Single runs at several counts, with a drift."""
    rng = np.random.default_rng(seed)
    rows: list[Measurement] = []
    for trial in range(trials):
        for tokens in counts:
            seconds = (0.002 + 1e-4 * tokens) * (1 + 0.3 * trial / trials) * np.exp(0.1 * rng.standard_normal())
            rows.append(expert(tokens=tokens, latency_s=float(seconds), trial=trial, time_s=1e9 + len(rows)))
    return rows


def draws(distribution, tokens, size=5000, seed=1):
    return distribution.sample(np.full(size, tokens), np.random.default_rng(seed).random(size))


@pytest.mark.parametrize("tokens", [4, 16, 32])
def test_draws_are_distributed_as_the_recorded_runs(tokens):
    rows = recording()
    measured = [row.latency_s for row in rows if row.tokens == tokens]
    drawn = draws(latency_distribution(rows, **SIZE), tokens)
    assert stats.ks_2samp(drawn, measured).pvalue > 0.01
    assert set(drawn) <= set(measured)
    assert drawn.std() == pytest.approx(np.std(measured), rel=0.05)


def runs_of(row):
    """As many runs as a row stands for, with its mean, deviation and minimum: the single ones were not published.

    A gamma distribution, unlike that of the replay.
    """
    floor = row.min_s or 0.0
    above = row.latency_s - floor
    shape = stats.gamma((above / row.std_s) ** 2, scale=row.std_s**2 / above)
    return (floor + shape.ppf((np.arange(row.trials) + 0.5) / row.trials)) / row.latency_s


@pytest.mark.slow
@pytest.mark.parametrize(("board", "mode"), MODES)
def test_draws_on_shipped_boards_scatter_as_the_published_deviations(board, mode):
    rows = [r for r in read_measurements() if (r.board, r.power_mode) == (board, mode) and r.operation != "gemm_burst"]
    long = [row for row in rows if row.latency_s >= LONG_S and row.std_s is not None]
    assert len(long) >= 4
    drawn = draws(latency_distribution(rows, 4096, 14336, 64), 8) / expert_seconds(
        roofline(board, mode), 8, 4096, 14336
    )
    assert stats.ks_2samp(drawn, np.concatenate([runs_of(row) for row in long])).pvalue > 0.01
    assert drawn.mean() == pytest.approx(1, abs=0.02)


def test_row_with_mean_and_deviation_keeps_both_and_its_fastest_run():
    values = points(expert(latency_s=0.01, std_s=0.001, min_s=0.0085, trials=10))
    assert values.mean() == pytest.approx(0.01)
    assert values.std() == pytest.approx(0.001, rel=0.05)
    assert values.min() >= 0.0085


def test_row_without_a_fastest_run_has_no_far_tail_below():
    values = points(expert(latency_s=0.01, std_s=0.002, trials=9))
    assert values.min() == pytest.approx(np.quantile(values, 0.1), rel=0.01)


def test_rows_without_deviation_do_not_scatter():
    assert np.all(relative_spread([expert(trials=11)], 8) == 1)


def test_quantiles_are_interpolated_between_counts_and_never_below_the_fastest():
    rows = recording()
    distribution = latency_distribution(rows, **SIZE)
    u = np.linspace(0, 0.999, 50)
    low, middle, high = (distribution.sample(np.full(50, n), u) for n in (16, 24, 32))
    np.testing.assert_allclose(middle, (low + high) / 2)
    fastest = {n: min(row.latency_s for row in rows if row.tokens == n) for n in (16, 32)}
    assert middle.min() >= (fastest[16] + fastest[32]) / 2 * (1 - 1e-12)


@pytest.mark.slow
@settings(deadline=None)
@given(tokens=st.integers(0, 64), u=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2))
def test_latency_rises_with_the_uniform_and_is_zero_without_tokens(tokens, u):
    first, second = latency_distribution(recording(5), **SIZE).sample([tokens, tokens], sorted(u))
    assert 0 <= first <= second
    assert (first > 0) == (tokens > 0)


def test_few_tokens_take_as_long_as_the_smallest_count_and_many_grow_by_the_slope():
    rows = [expert(tokens=8, latency_s=0.010), expert(tokens=16, latency_s=0.012)]
    distribution = latency_distribution(rows, **SIZE)
    np.testing.assert_allclose(
        distribution.sample([1, 8, 16, 24, 64], np.zeros(5)), [0.010, 0.010, 0.012, 0.014, 0.024]
    )


def test_one_count_grows_in_proportion():
    distribution = latency_distribution([expert(tokens=8, latency_s=0.010)], **SIZE)
    np.testing.assert_allclose(distribution.sample([4, 8, 16], np.zeros(3)), [0.010, 0.010, 0.020])


def test_equal_uniforms_give_equal_draws_whatever_the_other_tokens():
    distribution = latency_distribution(recording(), **SIZE)
    rng = np.random.default_rng(0)
    uniform, tokens = rng.random((100, 8)), rng.integers(0, 65, (100, 8))
    changed = tokens.copy()
    changed[:, 1:] = 1
    first, second = distribution.sample(tokens, uniform), distribution.sample(changed, uniform)
    np.testing.assert_array_equal(first[:, 0], second[:, 0])
    np.testing.assert_array_equal(first, distribution.sample(tokens.astype(float), uniform))


def test_stacked_devices_draw_from_their_own_distribution():
    slow = [row.model_copy(update={"latency_s": 3 * row.latency_s}) for row in recording()]
    parts = [latency_distribution(rows, **SIZE) for rows in (recording(), slow)]
    rng = np.random.default_rng(0)
    tokens, uniform = rng.integers(0, 65, (50, 2)), rng.random((50, 2))
    both = LatencyDistribution.stack(parts).sample(tokens, uniform, device=np.arange(2))
    for device, part in enumerate(parts):
        np.testing.assert_array_equal(both[:, device], part.sample(tokens[:, device], uniform[:, device]))


@pytest.mark.parametrize("tokens", [65, -1])
def test_count_outside_of_the_table_is_refused(tokens):
    with pytest.raises(ValueError, match="expected 0 to 64"):
        latency_distribution(recording(), **SIZE).sample([tokens], [0.5])


def test_sequence_plays_back_exactly_and_wraps_around():
    rows = recording()
    sequence = latency_sequence(rows, **SIZE)
    tokens, recorded = np.array([row.tokens for row in rows]), np.array([row.latency_s for row in rows])
    for offset in (0, 7, 179):
        replayed = sequence.seconds(np.roll(tokens, -offset), np.arange(len(rows)), offset)
        np.testing.assert_array_equal(replayed, np.roll(recorded, -offset))


def test_sequence_carries_the_drift_to_other_counts():
    sequence = latency_sequence(recording(200), **SIZE)
    replayed = sequence.seconds(np.full(600, 24), np.arange(600), 0)
    assert 1.1 < np.median(replayed[-100:]) / np.median(replayed[:100]) < 1.5
    np.testing.assert_array_equal(sequence.seconds([0, 0], [1, 2], 0), 0)


def test_sequence_is_in_the_order_of_time():
    rows = recording()
    np.testing.assert_array_equal(
        latency_sequence(rows[::-1], **SIZE).latency_s, latency_sequence(rows, **SIZE).latency_s
    )


def test_sequence_needs_single_runs_with_an_order():
    with pytest.raises(ValueError, match="a sequence needs single runs"):
        latency_sequence([expert(), expert(trials=3)], **SIZE)


def test_rows_of_several_boards_are_refused():
    with pytest.raises(ValueError, match="2 boards and power modes"):
        latency_distribution([expert(), expert(board="c")], **SIZE)


def test_expert_of_another_size_is_scaled_by_the_fit():
    rows = [expert(tokens=n, latency_s=0.002 + 1e-4 * n, trial=i) for n in (1, 4, 16, 64) for i in range(3)]
    size = SIZE | {"hidden": 128}
    np.testing.assert_allclose(
        latency_distribution(rows, **size).sample([1, 16, 64], np.full(3, 0.5)),
        2 * np.array([0.0021, 0.0036, 0.0084]), rtol=0.02,
    )  # fmt: skip
