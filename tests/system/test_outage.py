"""The split where links are in outage: no other is faster, and links that are not keep the split that they had."""

from dataclasses import replace

import numpy as np
import pytest
from system.test_bandwidth import RADIO, draw_problems

from wdmoe_env.system import bandwidth
from wdmoe_env.system.latency import block_latency, carrier_to_noise_density, communication_time, device_time


def problems(outage_s, count=40, devices=4, seed=3):
    """Tokens, compute times, C / N0, radio: links of all strengths, some of them dead."""
    rng, radio = np.random.default_rng(seed), replace(RADIO, outage_s=outage_s)
    tokens, compute, *_ = draw_problems(devices, count, seed)
    gain_dl, gain_ul = 10.0 ** rng.uniform(-16.0, -8.0, (2, count, devices))
    return tokens, np.where(tokens > 0, compute, 0.0), carrier_to_noise_density(gain_dl, gain_ul, radio), radio


def latency_of(split, tokens, compute, cn0, radio):
    return block_latency(device_time(tokens, communication_time(split, cn0, radio), compute))


@pytest.mark.parametrize("outage_s", [10.0, 1e-2, 1e-3])
def test_no_other_split_is_faster(outage_s):
    tokens, compute, cn0, radio = problems(outage_s)
    found = bandwidth.split(tokens, compute, cn0, radio)
    np.testing.assert_allclose(found.sum(axis=1), radio.bandwidth_hz)
    assert ((found >= 0) & (found <= radio.bandwidth_hz * (1 + 1e-9)) & ((found == 0) | (tokens > 0))).all()
    best, rng = latency_of(found, tokens, compute, cn0, radio), np.random.default_rng(0)
    capped = communication_time(found, cn0, radio)[tokens > 0] > outage_s
    assert capped.any()
    for spread in (3.0, 1.0, 0.3, 0.03):
        for _ in range(200):
            other = (found + 1e-6 * radio.bandwidth_hz) * rng.lognormal(0.0, spread, found.shape) * (tokens > 0)
            other *= rng.random(found.shape) < 0.9
            other *= radio.bandwidth_hz / np.maximum(other.sum(axis=1, keepdims=True), 1.0)
            assert (latency_of(other, tokens, compute, cn0, radio) >= best * (1 - 1e-6)).all()


def test_band_goes_to_the_links_that_it_helps():
    tokens, compute, radio = np.array([[4.0, 1.0]]), np.zeros((1, 2)), replace(RADIO, outage_s=0.01)
    strong, dead = 1e9, radio.outage_rate
    cn0 = np.array([[[strong, dead]], [[strong, dead]]])
    split = bandwidth.split(tokens, compute, cn0, radio)
    assert latency_of(split, tokens, compute, cn0, radio) == pytest.approx(2 * radio.outage_s)
    tokens[0, 0] = 400.0  # now the strong link is what takes long
    split = bandwidth.split(tokens, compute, cn0, radio)
    assert split[0, 0] == pytest.approx(radio.bandwidth_hz, rel=1e-6)


def test_cells_without_outage_are_split_as_if_there_were_none():
    tokens, compute, gain_dl, gain_ul = draw_problems(5, 24, 1)
    cn0 = carrier_to_noise_density(gain_dl, gain_ul, RADIO)
    compute = np.where(tokens > 0, compute, 0.0)
    far = cn0.copy()
    far[:, 0] = RADIO.outage_rate
    one, other = bandwidth.split(tokens, compute, cn0, RADIO), bandwidth.split(tokens, compute, far, RADIO)
    assert (communication_time(one, cn0, RADIO)[tokens > 0] < RADIO.outage_s).all()
    np.testing.assert_allclose(one[1:], other[1:], rtol=1e-4)
