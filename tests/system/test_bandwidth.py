"""Exact allocation: as good as SLSQP, loaded devices finish together, nothing breaks at the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from wdmoe_env.system.bandwidth import allocate
from wdmoe_env.system.latency import Radio, block_latency, carrier_to_noise_density, communication_time, device_time

RADIO = Radio(
    bandwidth_hz=100e6,
    bs_power_w=10.0,
    device_power_w=0.2,
    noise_w_per_hz=10.0**-20.4,
    payload_bits=65536.0,
    outage_s=10.0,
)
KINDS = ("ordinary", "idle devices", "compute-dominated", "weak links")


def draw_problems(devices, count, seed):
    """Cells of all kinds: tokens, compute times and gains, each (count, devices)."""
    rng = np.random.default_rng(seed)
    shape = count, devices
    kind = np.arange(count)[:, None] % len(KINDS)
    distance = rng.uniform(20.0, 300.0, shape)
    gains = rng.exponential(size=(2, *shape)) * 10.0 ** (-0.1 * (43.28 + 20.0 * np.log10(distance)))
    gains *= np.where((kind == 3) & (rng.random((2, *shape)) < 0.3), 10.0 ** rng.uniform(-3, 0, (2, *shape)), 1.0)
    tokens = rng.integers(0, 33, shape) * np.where(kind == 1, rng.random(shape) < 0.5, 1.0)
    tokens[np.arange(count), rng.integers(devices, size=count)] += 1.0
    compute = tokens * 352e6 / rng.uniform(5e12, 20e12, shape)
    compute *= np.where(kind == 2, 10.0 ** rng.uniform(0, 3, (count, 1)), 1.0)
    return tokens, compute, gains[0], gains[1]


def latency_of(bandwidth, tokens, compute, gain_dl, gain_ul):
    cn0 = carrier_to_noise_density(gain_dl, gain_ul, RADIO)
    busy = np.where(tokens > 0, compute, 0.0)
    return block_latency(device_time(tokens, communication_time(bandwidth, cn0, RADIO), busy))


def slsqp(tokens, compute, gain_dl, gain_ul):
    """One problem by SLSQP, run a second time from where it stopped."""
    loaded = tokens > 0
    n, c = tokens[loaded], compute[loaded]
    cn0 = np.stack([gain_dl[loaded] * RADIO.bs_power_w, gain_ul[loaded] * RADIO.device_power_w])
    cn0 /= RADIO.noise_w_per_hz
    split = np.zeros_like(tokens)
    start = np.full(len(n), RADIO.bandwidth_hz / len(n))
    for _ in range(2):
        start = improve(start, n, c, cn0)
    split[loaded] = start
    return split


def improve(start, n, c, cn0):
    """SLSQP on bandwidths over those of `start`, and on logs of times over the latency of `start`."""
    devices, nats, share = len(n), RADIO.payload_bits * np.log(2), start / RADIO.bandwidth_hz

    def times(factor):
        snr = cn0 / (factor * start)
        efficiency = np.log1p(snr)
        each = nats / (factor * start * efficiency)
        slope = each * (snr / ((1 + snr) * efficiency) - 1) / factor
        return n * each.sum(0) + c, n * slope.sum(0)

    unit = times(np.ones(devices))[0].max()

    def jacobian(point):
        seconds, slope = times(point[:-1])
        result = np.zeros((devices + 1, devices + 1))
        result[:-1, :-1], result[:-1, -1], result[-1, :-1] = np.diag(-slope / seconds), 1, -share
        return result

    found = minimize(
        lambda point: point[-1],
        np.append(np.ones(devices), 0.0),
        jac=lambda point: np.append(np.zeros(devices), 1.0),
        bounds=[(1e-6, None)] * devices + [(None, None)],
        constraints={
            "type": "ineq",
            "fun": lambda point: np.append(point[-1] - np.log(times(point[:-1])[0] / unit), 1 - share @ point[:-1]),
            "jac": jacobian,
        },
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-11},
    )
    better = np.maximum(found.x[:-1], 1e-6) * share
    return better / better.sum() * RADIO.bandwidth_hz


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "count"), [(2, 200), (3, 200), (4, 160), (8, 200), (16, 120), (32, 80), (64, 40)]
)  # 1,000 in all
def test_agrees_with_slsqp_and_is_never_worse(devices, count):
    problems = draw_problems(devices, count, seed=devices)
    bandwidth, latency = allocate(*problems, RADIO)
    reference = np.array([slsqp(*problem) for problem in zip(*problems, strict=True)])
    ratio = latency / latency_of(reference, *problems)
    np.testing.assert_allclose(bandwidth.sum(axis=-1), RADIO.bandwidth_hz, rtol=1e-12)
    np.testing.assert_allclose(latency, latency_of(bandwidth, *problems), rtol=1e-12)
    assert ratio.max() <= 1 + 1e-9
    assert ratio.min() >= 1 - 1e-6


@pytest.mark.parametrize("devices", [2, 8, 64])
def test_alone_as_exact_as_in_a_batch(devices):
    # Once it stopped where bandwidths stood still while the latency itself did not: up to 5e-5 above the optimum.
    problems = draw_problems(devices, 300, seed=7)
    alone = [allocate(*(values[i : i + 1] for values in problems), RADIO)[1][0] for i in range(300)]
    np.testing.assert_allclose(alone, allocate(*problems, RADIO)[1], rtol=1e-9)


def assert_optimal(problems):
    """The split is finite, uses the band, and all loaded devices finish together, which no other split can beat."""
    tokens, compute, *gains = problems
    bandwidth, latency = allocate(*problems, RADIO)
    assert np.isfinite(bandwidth).all()
    assert np.isfinite(latency).all()
    assert (bandwidth >= 0).all()
    assert (bandwidth[tokens == 0] == 0).all()
    np.testing.assert_allclose(bandwidth.sum(axis=-1), RADIO.bandwidth_hz, rtol=1e-12)
    sending = communication_time(bandwidth, carrier_to_noise_density(*gains, RADIO), RADIO)
    times = device_time(tokens, sending, np.where(tokens > 0, compute, 0.0))
    # A link in outage is charged outage_s whatever its bandwidth, so its device's time tells nothing.
    telling = (tokens > 0) & (sending < RADIO.outage_s)
    together = np.broadcast_to(latency[:, None], times.shape)
    np.testing.assert_allclose(times[telling], together[telling], rtol=2e-9)


@st.composite
def edge_problems(draw):
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 10))

    def values(elements):
        return draw(arrays(np.float64, shape, elements=elements))

    tokens = values(st.sampled_from([0.0, 0.0, 1.0, 2.0, 64.0, 1000.0]))
    tokens[:, draw(st.integers(0, shape[1] - 1))] += 1.0
    compute = values(st.sampled_from([0.0, 1e-12, 1e-6, 1e-3, 1.0, 100.0]))
    gain = st.sampled_from([1e-11, 1e-10, 1e-9, 1e-8, 1e-6, 1e-3])
    return tokens, compute, values(gain), values(gain)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(edge_problems())
def test_loaded_devices_finish_together(problems):
    assert_optimal(problems)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(edge_problems(), st.sampled_from([0.0, 1e-300, 1e-25, 1e-16]), st.integers(0, 9))
def test_outage_stays_finite(problems, gain, device):
    for gains in problems[2:]:
        gains[:, device % gains.shape[1]] = gain
    bandwidth, latency = allocate(*problems, RADIO)
    assert np.isfinite(bandwidth).all()
    assert (bandwidth >= 0).all()
    np.testing.assert_allclose(bandwidth.sum(axis=-1), RADIO.bandwidth_hz, rtol=1e-12)
    ceiling = (problems[0] * 2 * RADIO.outage_s + problems[1]).max(axis=-1)
    assert (latency <= ceiling * (1 + 1e-12)).all()


def test_one_device_gets_the_whole_band():
    bandwidth, latency = allocate(np.array([[5.0]]), np.array([[0.1]]), np.array([[1e-9]]), np.array([[1e-9]]), RADIO)
    rates = [100e6 * np.log2(1 + power * 1e-9 / (RADIO.noise_w_per_hz * 100e6)) for power in (10.0, 0.2)]
    assert bandwidth[0, 0] == 100e6
    assert latency[0] == pytest.approx(5 * (65536 / rates[0] + 65536 / rates[1]) + 0.1, rel=1e-12)


def test_a_device_alone_with_tokens_gets_the_whole_band():
    tokens = np.array([[0.0, 7.0, 0.0]])
    bandwidth, _ = allocate(tokens, np.full((1, 3), 50.0), np.full((1, 3), 1e-9), np.full((1, 3), 1e-9), RADIO)
    np.testing.assert_allclose(bandwidth, [[0.0, 100e6, 0.0]], rtol=1e-12)


def test_equal_devices_share_equally():
    bandwidth, _ = allocate(*(np.full((2, 6), value) for value in (8.0, 1e-3, 1e-10, 1e-11)), RADIO)
    np.testing.assert_allclose(bandwidth, 100e6 / 6, rtol=1e-12)


def test_no_tokens_at_all_cost_nothing():
    bandwidth, latency = allocate(np.zeros((1, 3)), np.ones((1, 3)), np.full((1, 3), 1e-9), np.zeros((1, 3)), RADIO)
    assert not bandwidth.any()
    assert latency[0] == 0.0
