"""Channel: path loss by hand from the tables, fading and shadowing statistics, movement within the ring."""

import numpy as np
import pytest
from scipy.special import j0

from wdmoe_env.settings.parts import ChannelSettings, Fading, Range, Shadowing
from wdmoe_env.system import channel

SEEN, HIDDEN = np.zeros(1), np.ones(1)


def loss(distance_m, carrier_ghz, model, los_draw):
    return float(channel.path_loss_db(np.array([float(distance_m)]), carrier_ghz, model, los_draw)[0])


@pytest.mark.parametrize(
    ("distance_m", "carrier_ghz", "model", "los_draw", "expected_db"),
    [
        (100, 1.0, "free-space", SEEN, 72.4),
        (10, 3.5, "free-space", HIDDEN, 63.2814),
        # UMi, antennas at 10 m and 1.5 m: 32.4 + 21 log10(d3D) + 20 log10(f), breakpoint at 210 m for 3.5 GHz.
        (100, 3.5, "umi", SEEN, 32.4 + 21 * 2.001564 + 10.881361),
        # Beyond it: 32.4 + 40 log10(d3D) + 20 log10(f) - 9.5 log10(d_BP^2 + 8.5^2).
        (300, 3.5, "umi", SEEN, 32.4 + 40 * 2.477296 + 10.881361 - 9.5 * 4.645748),
        # Out of sight: max(LOS, 35.3 log10(d3D) + 22.4 + 21.3 log10(f)).
        (100, 3.5, "umi", HIDDEN, 35.3 * 2.001564 + 22.4 + 21.3 * 0.544068),
        # Indoor office: 32.4 + 17.3 log10(d) + 20 log10(f), and max(LOS, 38.3 log10(d) + 17.3 + 24.9 log10(f)).
        (10, 5.5, "indoor-office", SEEN, 32.4 + 17.3 + 20 * 0.740363),
        (10, 5.5, "indoor-office", HIDDEN, 38.3 + 17.3 + 24.9 * 0.740363),
        # Below 1.2 m everything is in sight.
        (1, 5.5, "indoor-office", HIDDEN * 0.999, 32.4 + 20 * 0.740363),
    ],
)
def test_path_loss_by_hand(distance_m, carrier_ghz, model, los_draw, expected_db):
    assert loss(distance_m, carrier_ghz, model, los_draw) == pytest.approx(expected_db, abs=2e-3)


@pytest.mark.parametrize("model", ["umi", "indoor-office"])
def test_out_of_sight_is_never_better(model):
    distance = np.logspace(0, 2.5, 100)
    seen = channel.path_loss_db(distance, 3.5, model, np.zeros(100))
    hidden = channel.path_loss_db(distance, 3.5, model, np.full(100, 0.999999))
    assert (hidden >= seen).all()


def test_unknown_path_loss_is_named():
    with pytest.raises(ValueError, match="'moon', expected one of free-space"):
        loss(10, 3.5, "moon", SEEN)


@pytest.mark.parametrize(
    ("model", "distance_m", "share"),
    [
        ("umi", 18.0, 1.0),
        ("umi", 36.0, 0.5 + np.exp(-1) * 0.5),
        ("indoor-office", 1.2, 1.0),
        ("indoor-office", 5.9, np.exp(-1)),
        ("indoor-office", 39.1, 0.32 * np.exp(-1)),
    ],
)
def test_probability_of_sight(model, distance_m, share):
    los_draw = (np.arange(20_000) + 0.5) / 20_000
    losses = channel.path_loss_db(np.full(20_000, distance_m), 3.5, model, los_draw)
    assert np.mean(losses == losses[0]) == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("diversity", [1, 4])
@pytest.mark.parametrize(("kind", "k_db"), [("none", 0.0), ("rayleigh", 0.0), ("rician", 0.0), ("rician", 6.0)])
def test_fading_has_mean_one_and_its_variance(kind, k_db, diversity):
    scatter = np.random.default_rng(0).standard_normal((400, 2, 2 * diversity, 250))
    before = scatter.copy()
    gain = channel.fading_gain(scatter, Fading(kind=kind, k_factor_db=k_db, diversity=diversity))
    k = 10 ** (k_db / 10)
    variance = {"none": 0.0, "rayleigh": 1.0, "rician": (2 * k + 1) / (k + 1) ** 2}[kind] / diversity
    assert gain.shape == (400, 2, 250)
    assert gain.mean() == pytest.approx(1.0, abs=0.01)
    assert gain.var() == pytest.approx(variance, abs=0.03)
    np.testing.assert_array_equal(scatter, before)


def test_rayleigh_power_is_exponential():
    gain = channel.fading_gain(np.random.default_rng(0).standard_normal((500, 2, 2, 200)), Fading(kind="rayleigh"))
    for level in (0.1, 0.5, 1.0, 3.0):
        assert np.mean(gain < level) == pytest.approx(1 - np.exp(-level), abs=0.005)


def test_doppler_correlation_is_j0():
    correlation = channel.doppler_correlation(np.array([0.0, 10.0]), 3.0, np.array([[0.001], [0.004]]))
    doppler = 10.0 * 3e9 / 299_792_458.0
    np.testing.assert_allclose(correlation[:, 0], 1.0)
    np.testing.assert_allclose(correlation[:, 1], j0(2 * np.pi * doppler * np.array([0.001, 0.004])))


@pytest.mark.parametrize("elapsed_s", [0.0005, 0.002, 0.006])
def test_gauss_markov_fading_correlates_as_j0(elapsed_s):
    rng = np.random.default_rng(0)
    correlation = channel.doppler_correlation(np.array(15.0), 3.5, np.array(elapsed_s))
    scatter = rng.standard_normal(200_000)
    after = channel.next_scatter(scatter, rng.standard_normal(200_000), correlation)
    assert np.mean(scatter * after) == pytest.approx(float(correlation), abs=0.01)
    assert after.std() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("moved_m", [0.0, 5.0, 10.0, 100.0])
def test_shadowing_correlates_over_distance(moved_m):
    rng = np.random.default_rng(0)
    setting = Shadowing(std_db=6.0, decorrelation_m=10.0)
    shadow = 6.0 * rng.standard_normal(200_000)
    after = channel.next_shadow(shadow, rng.standard_normal(200_000), np.array(moved_m), setting)
    assert np.corrcoef(shadow, after)[0, 1] == pytest.approx(np.exp(-moved_m / 10.0), abs=0.01)
    assert after.std() == pytest.approx(6.0, abs=0.05)


def test_devices_stay_in_the_ring_and_keep_their_speed():
    rng = np.random.default_rng(0)
    setting = ChannelSettings(distance_m=Range(low=20.0, high=60.0))
    position = (20.0 + 40.0 * rng.random((10, 8))) * np.exp(2j * np.pi * rng.random((10, 8)))
    velocity = 15.0 * np.exp(2j * np.pi * rng.random((10, 8)))
    for _ in range(500):
        elapsed = rng.uniform(0.0, 1.0, (10, 1))
        moved, velocity = channel.move(position, velocity, rng.standard_normal((10, 8)), elapsed, setting)
        assert (np.abs(moved) >= 20.0 - 1e-9).all()
        assert (np.abs(moved) <= 60.0 + 1e-9).all()
        np.testing.assert_allclose(np.abs(velocity), 15.0)
        position = moved


def test_standing_devices_stay():
    setting = ChannelSettings(distance_m=Range(low=20.0, high=60.0))
    position = np.full((1, 1), 30.0 + 10.0j)
    moved, _ = channel.move(position, np.zeros((1, 1)), np.ones((1, 1)), np.ones((1, 1)), setting)
    np.testing.assert_allclose(moved, position)


def test_a_device_that_crosses_the_inner_ring_goes_on_outwards():
    setting = ChannelSettings(distance_m=Range(low=20.0, high=60.0))
    start, inwards, still = np.array([[21.0 + 0j]]), np.array([[-15.0 + 0j]]), np.zeros((1, 1))
    position, velocity = channel.move(start, inwards, still, np.full((1, 1), 2.0), setting)
    np.testing.assert_allclose(position, -20.0)
    np.testing.assert_allclose(velocity, -15.0)
