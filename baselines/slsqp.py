"""Bandwidth allocation by SciPy's SLSQP, as the paper is said to do it: a reference for result and speed.

SLSQP needs variables and constraints of about 1: on Hz and seconds it ends far above the optimum. Here they are shares
of the band, over an equal share, and logarithms of times, over the latency with equal shares. Of the scalings tried,
this is the fastest that is also right for weak links; with logarithms of shares it stops up to 1e-4 above the optimum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize

from wdmoe_env.arrays import FloatArray
from wdmoe_env.system.latency import Radio, carrier_to_noise_density

ITERATIONS = 300
TOLERANCE = 1e-9
LEAST_SHARE = 1e-6

_minimize: Any = minimize  # the stubs of SciPy know no constraint of several values


def allocate(
    tokens: FloatArray, compute_time: FloatArray, gain_dl: FloatArray, gain_ul: FloatArray, radio: Radio
) -> FloatArray:
    """Split the band of N problems, one after the other: (N, U) Hz. Arguments as for `system.bandwidth.allocate`."""
    cn0 = carrier_to_noise_density(gain_dl, gain_ul, radio)
    split = np.zeros_like(gain_dl)
    for index, row in enumerate(tokens):
        loaded = row > 0
        split[index, loaded] = _solve(row[loaded], compute_time[index, loaded], cn0[:, index, loaded], radio)
    return split


def _solve(tokens: FloatArray, computation: FloatArray, cn0: FloatArray, radio: Radio) -> FloatArray:
    """Minimise t over (shares, t) with `log time(share) <= t` for each device and shares that sum to U: (U,) Hz."""
    devices = len(tokens)
    equal = radio.bandwidth_hz / devices
    index = np.arange(devices)
    unit = (tokens * _token_time(np.full(devices, equal), cn0, radio)[0] + computation).max()

    def spare(point: FloatArray) -> FloatArray:
        seconds = tokens * _token_time(point[:-1] * equal, cn0, radio)[0] + computation
        return np.append(point[-1] - np.log(seconds / unit), devices - point[:-1].sum())

    def spare_gradient(point: FloatArray) -> FloatArray:
        seconds, slope = _token_time(point[:-1] * equal, cn0, radio)
        gradient = np.zeros((devices + 1, devices + 1))
        gradient[index, index] = -tokens * slope * equal / (tokens * seconds + computation)
        gradient[:-1, -1], gradient[-1, :-1] = 1.0, -1.0
        return gradient

    latency_gradient = np.append(np.zeros(devices), 1.0)
    found = _minimize(
        lambda point: point[-1],
        np.append(np.ones(devices), 0.0),
        jac=lambda _: latency_gradient,
        bounds=[(LEAST_SHARE, devices)] * devices + [(None, None)],
        constraints={"type": "ineq", "fun": spare, "jac": spare_gradient},
        method="SLSQP",
        options={"maxiter": ITERATIONS, "ftol": TOLERANCE},
    )
    share = np.maximum(found.x[:-1], LEAST_SHARE)
    return np.asarray(share / share.sum() * radio.bandwidth_hz)


def _token_time(bandwidth: FloatArray, cn0: FloatArray, radio: Radio) -> tuple[FloatArray, FloatArray]:
    """Seconds to send a token there and back, and their derivative by bandwidth, s/Hz: both (U,)."""
    snr = cn0 / bandwidth
    efficiency = np.log1p(snr)
    seconds = radio.payload_nats / (bandwidth * efficiency)
    slope = -seconds * (1.0 - snr / ((1.0 + snr) * efficiency)) / bandwidth
    return seconds.sum(axis=0), slope.sum(axis=0)
