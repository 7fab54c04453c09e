"""The joint problem with fractional selections, solved by HiGHS: what the bounds by prices are held against.

For compute without fixed costs. Within T seconds device u serves `T c_u(b_u)` tokens, which is concave in T and
`x_u = T b_u` together. So the least T is a linear program once tangents stand for `c_u`. It is never above the optimum;
tangents are added where its answer lies until it is not below the optimum either.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import linprog

from wdmoe_env import Observation, Scenario
from wdmoe_env.arrays import FloatArray
from wdmoe_env.system.latency import carrier_to_noise_density

PRECISION = 1e-6

Serve = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


def relaxed_latency(observation: Observation, scenario: Scenario, cell: int, retained: float) -> float:
    """Least seconds of one cell at a retained mass, when tokens may take parts of experts."""
    weights, top_k = observation.gate_weights[cell].T.astype(np.float64), scenario.model.top_k
    (experts, tokens), devices = weights.shape, scenario.num_devices
    least = retained * np.sort(weights, axis=0)[::-1][:top_k].sum()
    serve = _service(observation, scenario, cell)
    unit = tokens / serve(np.full((1, devices), 1.0 / devices))[0].sum()
    # Variables: experts by token; then each device's share of the band times T, and T itself, both in this unit.
    of_token, none = np.kron(np.ones((1, experts)), np.eye(tokens)), np.zeros((tokens, devices + 1))
    of_device = np.kron(scenario.compute_model.hosting.T, np.ones((1, tokens)))
    mass, band = np.append(-weights, np.zeros(devices + 1)), np.r_[np.zeros(experts * tokens), np.ones(devices), -1.0]
    rows = np.vstack([np.hstack([of_token, none]), np.hstack([-of_token, none]), mass, band])
    limits = np.r_[np.full(tokens, top_k), np.full(tokens, -1.0), -least, 0.0]
    upper = np.r_[np.ones(experts * tokens), np.full(devices + 1, np.inf)]
    shares = np.geomspace(1e-3, 1.0, 12)[:, None] * np.ones(devices)
    while True:
        served, slope = (unit * values for values in serve(shares))
        tangents = [
            np.hstack([of_device, -np.diag(by_share), -by_time[:, None]])
            for by_share, by_time in zip(slope, served - slope * shares, strict=True)
        ]
        upto = np.append(limits, np.zeros(devices * len(shares)))
        found = linprog(
            np.eye(len(upper))[-1], np.vstack([rows, *tangents]), upto, bounds=np.c_[np.zeros_like(upper), upper]
        )
        assert found.success, found.message
        parts, share, time = np.split(found.x, [experts * tokens, -1])
        share = np.maximum(share / time, 1e-9)
        if (of_device @ parts <= time * unit * serve(share[None])[0][0] + PRECISION).all():
            return float(time[0] * unit)
        shares = np.vstack([shares, share])


def _service(observation: Observation, scenario: Scenario, cell: int) -> Serve:
    """Tokens a second (P, U) that devices serve with shares (P, U) of the band, and the derivatives by the shares."""
    radio = scenario.radio_link
    cn0 = carrier_to_noise_density(observation.gain_dl, observation.gain_ul, radio)[:, cell, None] / radio.bandwidth_hz
    token_s = scenario.compute_model.token_s / (1.0 - observation.load[cell])
    sending = radio.payload_nats / radio.bandwidth_hz

    def serve(shares: FloatArray) -> tuple[FloatArray, FloatArray]:
        snr = cn0 / shares
        rate, slope = shares * np.log1p(snr), np.log1p(snr) - snr / (1.0 + snr)
        served = 1.0 / (sending * (1.0 / rate).sum(axis=0) + token_s)
        return served, served**2 * sending * (slope / rate**2).sum(axis=0)

    return serve
