"""Latency: examples computed by hand, and finite times where there is no bandwidth, no gain or no token."""

import numpy as np
import pytest

from wdmoe_env.system.compute import ComputeModel, compute_time
from wdmoe_env.system.latency import (
    Radio,
    block_latency,
    carrier_to_noise_density,
    communication_time,
    device_time,
    rate,
)
from wdmoe_env.system.layer import layer_times

RADIO = Radio(
    bandwidth_hz=2e6, bs_power_w=3.0, device_power_w=1.0, noise_w_per_hz=1e-15, payload_bits=1e6, outage_s=10.0
)
# At 1 MHz a gain of 1e-9 means an SNR of 3 down and of 1 up: 2 Mbit/s and 1 Mbit/s.
GAIN = np.array([[1e-9, 1e-9]])


def test_rate_is_shannons():
    bandwidth, cn0 = np.array([[1e6, 2e6]]), np.array([[3e6, 14e6]])
    np.testing.assert_allclose(rate(bandwidth, cn0) / np.log(2), [[2e6, 6e6]], rtol=1e-12)


def test_cn0_is_the_bandwidth_of_an_snr_of_one():
    np.testing.assert_allclose(
        carrier_to_noise_density(GAIN, 2 * GAIN, RADIO), [[[3e6, 3e6]], [[2e6, 2e6]]], rtol=1e-12
    )


def test_communication_goes_there_and_back():
    bandwidth = np.full((1, 2), 1e6)
    seconds = communication_time(bandwidth, carrier_to_noise_density(GAIN, GAIN, RADIO), RADIO)
    np.testing.assert_allclose(seconds, [[0.5 + 1.0, 0.5 + 1.0]], rtol=1e-12)


def test_device_time_and_block_latency():
    times = device_time(np.array([[4.0, 2.0]]), np.array([[0.5, 1.5]]), np.array([[0.25, 0.0]]))
    np.testing.assert_allclose(times, [[2.25, 3.0]])
    assert block_latency(times).tolist() == [3.0]


def test_layer_of_two_devices_by_hand():
    compute = ComputeModel(fixed_s=np.zeros(2), token_s=np.array([0.1, 0.2]), host=np.array([0, 1, 1]))
    per_expert = np.array([[3.0, 1.0, 1.0]])
    times = layer_times(
        tokens=compute.per_device(per_expert),
        computation=compute_time(per_expert, np.array([[0.0, 0.5]]), compute),
        bandwidth=np.full((1, 2), 1e6),
        cn0=carrier_to_noise_density(GAIN, GAIN, RADIO),
        radio=RADIO,
    )
    np.testing.assert_allclose(times.tokens, [[3.0, 2.0]])
    np.testing.assert_allclose(times.computation, [[0.3, 0.8]])
    np.testing.assert_allclose(times.device, [[3 * 1.5 + 0.3, 2 * 1.5 + 0.8]], rtol=1e-12)
    np.testing.assert_allclose(times.latency, [4.8], rtol=1e-12)


def test_idle_devices_without_bandwidth_take_no_time():
    tokens, bandwidth = np.array([[1.0, 0.0]]), np.array([[2e6, 0.0]])
    cn0 = carrier_to_noise_density(GAIN, GAIN, RADIO)
    times = layer_times(tokens, 2.0 * tokens, bandwidth, cn0, RADIO)
    assert times.device[0, 1] == 0.0
    assert times.latency[0] == times.device[0, 0]


@pytest.mark.parametrize(("bandwidth", "gain"), [(0.0, 1e-9), (1e6, 0.0), (0.0, 0.0), (5e-324, 1e-9), (2e6, 1e-300)])
def test_outage_is_charged_its_limit(bandwidth, gain):
    cn0 = carrier_to_noise_density(np.full((1, 1), gain), np.full((1, 1), gain), RADIO)
    seconds = communication_time(np.full((1, 1), bandwidth), cn0, RADIO)
    np.testing.assert_allclose(seconds, 2 * RADIO.outage_s, rtol=1e-12)


def test_more_bandwidth_is_never_slower():
    bandwidth = np.logspace(-3, 8, 200)[:, None]
    seconds = communication_time(
        bandwidth, carrier_to_noise_density(np.full((200, 1), 1e-9), np.full((200, 1), 1e-9), RADIO), RADIO
    )
    assert (np.diff(seconds[:, 0]) <= 0).all()
