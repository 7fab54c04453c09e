r"""Exact bandwidth allocation: the split of the band that makes a layer's latency smallest for a given selection.

.. math:: \min_{b \ge 0,\; \sum_u b_u \le B} \;\max_{u:\, n_u > 0} \left(n_u\, t_u^{comm}(b_u) + t_u^{comp}\right)

A convex min-max problem. At the optimum all loaded devices finish together (its KKT conditions), because each device's
time falls strictly with its bandwidth and exceeds every bound as its bandwidth goes to 0. So there is one unknown T,

.. math:: n_u\, t_u^{comm}(b_u) + t_u^{comp} = T \text{ for every loaded device}, \quad \sum_u b_u = B.

Newton's method on these equations, in the logarithms of b, of communication time and of T minus the largest compute
time, where all of them are nearly straight lines: that is why few iterations reach machine precision, also where
computation dominates. Each step solves its one shared unknown in closed form; see docs/explanation/system-model.md.
That knows nothing of `outage_s`, at which the time of a link is capped: cells where it is are split again, by
`system.outage`.
"""

from __future__ import annotations

import numpy as np

from wdmoe_env.arrays import FloatArray
from wdmoe_env.system import outage
from wdmoe_env.system.latency import (
    Radio,
    block_latency,
    carrier_to_noise_density,
    communication_time,
    device_time,
    rate,
)

MAX_ITERATIONS = 60
TOLERANCE = 3e-5  # of the last step: convergence is quadratic, so what is left after it is below 1e-9
MAX_STEP = 4.0
BLOCK = 3072
"""Devices, over all problems, that are solved at a time: so many that a core's cache holds all they need."""
LONG = 0.5
"""Part of `outage_s` below which no device communicates where no link is in outage, with room for an early end."""
LEAST_SNR = 1e-6
"""SNR over the whole band below which more bandwidth no longer helps: weaker links are split as if they had it."""


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
    cn0 = carrier_to_noise_density(gain_dl, gain_ul, radio)
    bandwidth = split(tokens, compute_time, cn0, radio)
    computation = np.where(tokens > 0, compute_time, 0.0)
    return bandwidth, block_latency(device_time(tokens, communication_time(bandwidth, cn0, radio), computation))


def split(tokens: FloatArray, compute_time: FloatArray, cn0: FloatArray, radio: Radio) -> FloatArray:
    """Return the (N, U) split alone, from (2, N, U) `latency.carrier_to_noise_density`; else as `allocate`."""
    used = tokens > 0
    sharing = used | ~used.any(axis=-1, keepdims=True)  # so that a cell without any tokens has an answer too
    computation = compute_time * used
    payload = np.where(used, tokens, 1.0) * radio.payload_nats
    strong = np.maximum(cn0, LEAST_SNR * radio.bandwidth_hz)
    weight, rows, bandwidth = sharing.astype(np.float64), max(BLOCK // tokens.shape[1], 1), np.empty_like(payload)
    for start in range(0, len(tokens), rows):
        part = slice(start, start + rows)
        bandwidth[part], longest = _newton(
            weight[part], payload[part], computation[part], strong[:, part], radio.bandwidth_hz
        )
        if longest > LONG * radio.outage_s:
            _split_in_outage(bandwidth[part], tokens[part], computation[part], cn0[:, part], radio)
    bandwidth *= used
    return bandwidth


def _split_in_outage(
    bandwidth: FloatArray, tokens: FloatArray, computation: FloatArray, cn0: FloatArray, radio: Radio
) -> None:
    """Split the cells again in which the time of a link is capped."""
    capped = ((rate(bandwidth, cn0) < radio.outage_rate) & (tokens > 0)).any(axis=(0, 2))
    if capped.any():
        share = bandwidth[capped] * (tokens[capped] > 0)
        bandwidth[capped] = outage.split(tokens[capped], computation[capped], cn0[:, capped], radio, share)


def _newton(
    sharing: FloatArray, payload: FloatArray, computation: FloatArray, cn0: FloatArray, total: float
) -> tuple[FloatArray, float]:
    r"""Solve for the (N, U) split; devices that do not share the band (0 in `sharing`, else 1) keep any value.

    Also returned are the most seconds that any device communicates, about.

    With :math:`s_u = c_{max} - c_u` (`compute_gap`) and :math:`h = T - c_{max}` (`budget`), one step in
    :math:`x_u = \ln b_u` and :math:`y = \ln h` is

    .. math:: \Delta y = \frac{\sum_u b_u r_u / \sigma_u}{\sum_u b_u \eta_u / \sigma_u}, \quad
        \Delta x_u = \frac{r_u - \eta_u \Delta y}{\sigma_u}

    with :math:`r_u = \ln f_u - \ln(s_u + h)` (`residual`), :math:`\eta_u = h / (s_u + h)` (`budget_elasticity`) and
    :math:`\sigma_u = -d \ln f_u / d \ln b_u` (`elasticity`), f_u the time that device u communicates.
    """
    compute_gap = np.maximum.reduce(computation, axis=-1, keepdims=True) - computation
    bandwidth = total / _dot(sharing, sharing) * np.ones_like(sharing)
    seconds, elasticity = _time_and_elasticity(bandwidth, payload, cn0)
    budget = np.maximum.reduce((seconds - compute_gap) * sharing, axis=-1, keepdims=True)
    for _ in range(MAX_ITERATIONS):
        target = compute_gap + budget
        residual = np.log(seconds / target)
        budget_elasticity = budget / target
        weight = bandwidth * sharing / elasticity
        budget_step = _dot(weight, residual) / _dot(weight, budget_elasticity)
        step = (residual - budget_elasticity * budget_step) * sharing / elasticity
        largest = max(np.abs(step).max(), np.abs(budget_step).max())
        if largest > MAX_STEP:
            np.clip(step, -MAX_STEP, MAX_STEP, out=step)
            np.clip(budget_step, -MAX_STEP, MAX_STEP, out=budget_step)
        bandwidth = bandwidth * np.exp(step)
        bandwidth *= total / _dot(bandwidth, sharing)
        if largest < TOLERANCE:
            break
        budget = budget * np.exp(budget_step)
        seconds, elasticity = _time_and_elasticity(bandwidth, payload, cn0)
    return bandwidth, float((seconds * sharing).max())


def _dot(left: FloatArray, right: FloatArray) -> FloatArray:
    """Sum of products over devices, as a column."""
    return np.vecdot(left, right)[:, None]


def _time_and_elasticity(bandwidth: FloatArray, payload: FloatArray, cn0: FloatArray) -> tuple[FloatArray, FloatArray]:
    r"""Seconds f a device communicates, and minus the derivative of their ln by ln b, between 0 and 1: both (N, U).

    .. math:: f = n L \left(\frac{1}{R_{dl}} + \frac{1}{R_{ul}}\right), \quad
        \sigma = \frac{\sum_{links} \frac{1}{\ell} \left(1 - \frac{\gamma}{(1 + \gamma)\, \ell}\right)}
        {\sum_{links} \frac{1}{\ell}}, \quad \gamma = \frac{P g}{N_0 b}, \quad \ell = \ln(1 + \gamma)
    """
    snr = cn0 / bandwidth
    one_plus_snr = 1.0 + snr
    inverse = 1.0 / np.log(one_plus_snr)
    weighted_elasticity = inverse * (1.0 - snr / one_plus_snr * inverse)
    both = inverse[0] + inverse[1]
    return payload * both / bandwidth, (weighted_elasticity[0] + weighted_elasticity[1]) / both
