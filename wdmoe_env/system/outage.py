"""The exact split of the band where links are in outage: what they are charged at most is theirs with no band at all.

A direction of a link takes at most `outage_s` for a token, however little of the band it has. So for a latency T each
device needs the least of four shares: both directions in time, either of them given up, or both. T is halved until the
shares that are needed just fill the band.
"""

from __future__ import annotations

import numpy as np

from wdmoe_env.arrays import FloatArray
from wdmoe_env.system.latency import Radio, block_latency, communication_time, device_time

HALVINGS, NEWTON, FIRST = 40, 4, 12
"""Steps to the latency; and to a share, of which each latency's are where the next one's start."""
LONGEST = 3.0
LONG = 4.0
"""Stands for the time that a device without tokens has, in outages: it needs no band."""
MARGIN = 1e-9


def split(tokens: FloatArray, compute_time: FloatArray, cn0: FloatArray, radio: Radio, start: FloatArray) -> FloatArray:
    """Return a (N, U) split of least latency, no slower than `start`.

    Args:
        tokens: (N, U) tokens of each device, not negative.
        compute_time: (N, U) seconds each device computes; 0 where it has no tokens.
        cn0: (2, N, U) carrier-to-noise density, Hz.
        radio: the cell's radio.
        start: (N, U) some split, Hz.
    """
    used, band = tokens > 0, radio.bandwidth_hz
    whole = communication_time(np.full_like(tokens, band), cn0, radio)
    low = block_latency(device_time(tokens, whole, compute_time))
    high = before = block_latency(device_time(tokens, communication_time(start, cn0, radio), compute_time))
    shares, found, steps = np.ones((3, *tokens.shape)), start, FIRST
    for _ in range(HALVINGS):
        middle = np.sqrt(np.maximum(low, MARGIN * high) * high)
        seconds = np.where(used, (middle[:, None] - compute_time) / np.where(used, tokens, 1.0), LONG * radio.outage_s)
        needed = _needed(seconds, cn0 / band, radio, shares, steps)
        total, steps = needed.sum(axis=-1), NEWTON
        enough = total <= 1.0
        # What is left over goes to all that have some, or to all with tokens where none has.
        weight = np.where((total > 0.0)[:, None], np.where(enough[:, None], needed, 0.0), used)
        spread = band * weight / np.maximum(weight.sum(axis=-1), 1e-300)[:, None]
        found = np.where(enough[:, None], spread, found)
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    after = block_latency(device_time(tokens, communication_time(found, cn0, radio), compute_time))
    return np.where((after < before)[:, None], found, start)


def _needed(seconds: FloatArray, part: FloatArray, radio: Radio, shares: FloatArray, steps: int) -> FloatArray:
    """Least share (N, U) of the band with which a token is there and back in so many seconds; infinite without.

    `part` is (2, N, U) carrier-to-noise density over the band; `shares` (3, N, U) where to start, and found anew.
    """
    payload, outage = radio.payload_nats / radio.bandwidth_hz, radio.outage_s
    wanted = np.stack([seconds, seconds - outage, seconds - outage])
    links = np.array([[True, True], [True, False], [False, True]])[:, :, None, None]
    fastest = (links * (payload / np.log1p(part))).sum(axis=1)
    possible = wanted > fastest
    target = np.where(possible, wanted, fastest)
    # Newton's method in logarithms, in which the seconds are a falling convex function of the share.
    for _ in range(steps):
        snr = part / shares[:, None]
        log = np.log1p(snr)
        each = links * (payload / (shares[:, None] * log))
        air = each.sum(axis=1)
        fall = (each * (1.0 - snr / ((1.0 + snr) * log))).sum(axis=1) / air
        step = np.clip(np.log(air / target) / np.maximum(fall, 1e-12), -LONGEST, LONGEST)
        shares[:] = np.minimum(shares * np.exp(step), 1.0)
    least = np.where(possible, shares, np.inf).min(axis=0)
    return np.where(seconds >= 2.0 * outage, 0.0, least)
