"""Bandwidth allocation by SciPy's SLSQP, as the paper is said to do it: a reference for result and speed.

SLSQP needs variables and constraints of about 1. Each device's variable is its share of the band over an equal share,
and times are in units of the latency with equal shares; on Hz and seconds it ends far above the optimum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import Bounds, minimize

from wdmoe_env.interface import FloatArray
from wdmoe_env.system.latency import Radio, snr_bandwidth

ITERATIONS = 200
TOLERANCE = 1e-10
LEAST_SHARE = 1e-6


def allocate(
    tokens: FloatArray, compute_time: FloatArray, gain_dl: FloatArray, gain_ul: FloatArray, radio: Radio
) -> FloatArray:
    """Split the band of N problems, one after the other: (N, U) Hz. Arguments as for `system.bandwidth.allocate`."""
    reach = snr_bandwidth(gain_dl, gain_ul, radio)
    split = np.zeros_like(gain_dl)
    for index, row in enumerate(tokens):
        loaded = row > 0
        split[index, loaded] = _solve(row[loaded], compute_time[index, loaded], reach[:, index, loaded], radio)
    return split


def _solve(tokens: FloatArray, computation: FloatArray, reach: FloatArray, radio: Radio) -> FloatArray:
    """Minimise T over (shares, T) with `time(share) <= T` for each device and shares that sum to U: (U,) Hz."""
    devices = len(tokens)
    equal = radio.bandwidth_hz / devices
    unit = (tokens * _token_time(np.ones(devices) * equal, reach, radio)[0] + computation).max()

    def spare(point: FloatArray) -> FloatArray:
        seconds = tokens * _token_time(point[:-1] * equal, reach, radio)[0] + computation
        return np.append(point[-1] - seconds / unit, devices - point[:-1].sum())

    def spare_gradient(point: FloatArray) -> FloatArray:
        gradient = np.zeros((devices + 1, devices + 1))
        slope = _token_time(point[:-1] * equal, reach, radio)[1]
        gradient[range(devices), range(devices)] = -tokens * slope * equal / unit
        gradient[:devices, -1], gradient[-1, :devices] = 1.0, -1.0
        return gradient

    latency_gradient = np.append(np.zeros(devices), 1.0)
    constraint: Any = {"type": "ineq", "fun": spare, "jac": spare_gradient}  # SciPy's stubs know scalar ones only
    found = minimize(
        lambda point: float(point[-1]),
        np.ones(devices + 1),
        jac=lambda _: latency_gradient,
        bounds=Bounds(np.append(np.full(devices, LEAST_SHARE), 0.0), np.full(devices + 1, np.inf)),
        constraints=constraint,
        method="SLSQP",
        options={"maxiter": ITERATIONS, "ftol": TOLERANCE},
    )
    share = np.clip(found.x[:-1], LEAST_SHARE, None)
    return np.asarray(share / share.sum() * radio.bandwidth_hz)


def _token_time(bandwidth: FloatArray, reach: FloatArray, radio: Radio) -> tuple[FloatArray, FloatArray]:
    """Seconds to send a token there and back, and their derivative by bandwidth, s/Hz: both (U,)."""
    snr = reach / bandwidth
    efficiency = np.log1p(snr)
    seconds = radio.payload_nats / (bandwidth * efficiency)
    slope = -seconds * (1.0 - snr / ((1.0 + snr) * efficiency)) / bandwidth
    return seconds.sum(axis=0), slope.sum(axis=0)
