"""Exact bandwidth allocation: the split of the band that makes a layer's latency smallest for a given selection.

At the optimum all loaded devices finish together, because each device's time falls strictly with its bandwidth and
exceeds every bound as its bandwidth goes to 0. So there is one unknown T, with

    n_u * t_comm[u](b_u) + c_u = T  for every loaded device,  and  sum of b_u = B.

Newton's method on these equations, in the logarithms of b, of communication time and of T minus the largest computing
time, where all of them are nearly straight lines: that is why few iterations reach machine precision, also where
computation dominates. Each step solves its one shared unknown in closed form; see docs/system-model.md.
"""

from __future__ import annotations

import numpy as np

from wdmoe_env.interface import FloatArray
from wdmoe_env.system.latency import Radio, block_latency, communication_time, device_time, snr_bandwidth

MAX_ITERATIONS = 60
TOLERANCE = 3e-5  # of the last step: convergence is quadratic, so what is left after it is below 1e-9
MAX_STEP = 4.0


def allocate(
    tokens: FloatArray,
    compute_time: FloatArray,
    gain_dl: FloatArray,
    gain_ul: FloatArray,
    radio: Radio,
) -> tuple[FloatArray, FloatArray]:
    """Return the bandwidth split of least latency, and that latency.

    Args:
        tokens: (N, U) tokens of each device, not negative.
        compute_time: (N, U) seconds each device computes; ignored where it has no tokens.
        gain_dl, gain_ul: (N, U) channel power gains, linear.
        radio: the cell's radio.

    Returns:
        bandwidth (N, U) in Hz, 0 for devices without tokens, and latency (N,) in seconds.
    """
    loaded = tokens > 0
    reach = snr_bandwidth(gain_dl, gain_ul, radio)
    computation = np.where(loaded, compute_time, 0.0)
    payload = np.where(loaded, tokens, 1.0) * radio.payload_nats
    bandwidth = _newton(loaded.astype(np.float64), payload, computation, reach, radio.bandwidth_hz)
    bandwidth *= loaded
    times = device_time(tokens, communication_time(bandwidth, reach, radio), computation)
    return bandwidth, block_latency(times)


def _newton(
    loaded: FloatArray, payload: FloatArray, computation: FloatArray, reach: FloatArray, total: float
) -> FloatArray:
    """Solve for the (N, U) split; devices that are not loaded take no part in the sum over the band."""
    ones = np.ones((loaded.shape[-1], 1))
    slack = computation.max(axis=-1, keepdims=True) - computation
    bandwidth = total / np.maximum(loaded @ ones, 1.0) * np.ones_like(loaded)
    time, slope = _log_time_and_slope(bandwidth, payload, reach)
    head = ((np.exp(time) - slack) * loaded).max(axis=-1, keepdims=True)  # of T above the longest computation
    for _ in range(MAX_ITERATIONS):
        target = slack + head
        gap = time - np.log(target)
        rise = head / target
        weight = bandwidth * loaded / slope
        head_step = (weight * gap) @ ones / ((weight * rise) @ ones)
        step = (gap - rise * head_step) * loaded / slope
        largest = np.abs(step).max()
        if largest > MAX_STEP:
            np.clip(step, -MAX_STEP, MAX_STEP, out=step)
            np.clip(head_step, -MAX_STEP, MAX_STEP, out=head_step)
        bandwidth = bandwidth * np.exp(step)
        bandwidth *= total / ((bandwidth * loaded) @ ones)
        if largest < TOLERANCE:
            break
        head = head * np.exp(head_step)
        time, slope = _log_time_and_slope(bandwidth, payload, reach)
    return bandwidth


def _log_time_and_slope(bandwidth: FloatArray, payload: FloatArray, reach: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log of a device's communication time, and minus its derivative by ln b, between 0 and 1: both (N, U)."""
    snr = reach / bandwidth
    grown = 1.0 + snr
    # log1p, by way of the log that numpy vectorises: its argument's rounding error is put back to first order.
    inverse = 1.0 / (np.log(grown) + (snr - (grown - 1.0)) / grown)
    # 1 - s / ((1 + s) ln(1 + s)) loses its digits for small s; s / (2 + 2 s) is below it, and tends to it there.
    part = snr / grown
    elasticity = np.maximum(1.0 - part * inverse, 0.5 * part)
    both = inverse[0] + inverse[1]
    elasticity *= inverse
    return np.log(payload * both / bandwidth), (elasticity[0] + elasticity[1]) / both
