"""The band that devices need to be done in time, and the least time in which all of it suffices: for one cell.

The seconds that a token takes on the air fall with the bandwidth, and their logarithm is convex in its logarithm. So
Newton's method in these logarithms meets the bandwidth sought from below: what it returns is never more than is needed.
"""

from __future__ import annotations

import numpy as np

from baselines.joint.cell import Cell
from baselines.joint.compiled import compiled
from wdmoe_env.arrays import FloatArray

NEVER = np.inf
"""Stands for a need that the whole band does not meet."""
SHRUNK = 1.0 - 1e-10
"""Taken off a need for rounding."""
STEPS, ROUGH, LONGEST, CLOSE = 60, 2, 3.0, 1e-7
FULL = 1.0 + 1e-9
SEARCH, PRECISION = 100, 1e-10


@compiled
def need(
    seconds: float, down: float, up: float, payload: float, outage: float, start: float, steps: int = STEPS
) -> float:
    """Least share of the band with which a token is there and back in so many seconds; `NEVER` if there is none.

    Each direction takes no more than the outage, so either of them may be given up if the other makes up for it. With
    `ROUGH` steps what is returned may fall short, the more so the farther it is from the `start`.
    """
    if seconds <= 0.0:
        return NEVER
    if seconds >= 2.0 * outage:
        return 0.0
    least = _both(seconds, down, up, payload, start, steps)
    if seconds > outage:
        one, other = _single(seconds - outage, down, payload), _single(seconds - outage, up, payload)
        least = min(least, one, other)
    return least


@compiled
def _both(seconds: float, down: float, up: float, payload: float, start: float, steps: int) -> float:
    if payload / np.log1p(down) + payload / np.log1p(up) > seconds:
        return NEVER
    share = start
    for _ in range(steps):
        air, slope = airtime(share, down, up, payload, NEVER)
        step = min(max(np.log(air / seconds) / slope, -LONGEST), LONGEST)
        share = min(share * np.exp(step), 1.0)
        if abs(step) < CLOSE:
            break
    return share * SHRUNK


@compiled
def _single(seconds: float, cn0: float, payload: float) -> float:
    if payload / np.log1p(cn0) > seconds:
        return NEVER
    share = 1.0
    for _ in range(STEPS):
        snr = cn0 / share
        log = np.log1p(snr)
        step = np.log(payload / (share * log) / seconds) / (1.0 - snr / (1.0 + snr) / log)
        step = min(max(step, -LONGEST), LONGEST)
        share = min(share * np.exp(step), 1.0)
        if abs(step) < CLOSE:
            break
    return share * SHRUNK


@compiled
def airtime(share: float, down: float, up: float, payload: float, outage: float) -> tuple[float, float]:
    """Seconds of a token there and back with a share of the band, and by how many percent they fall for one more.

    Each direction takes no more than the outage, and then does not fall.
    """
    snr_down, snr_up = down / share, up / share
    log_down, log_up = np.log1p(snr_down), np.log1p(snr_up)
    there, back = payload / (share * log_down), payload / (share * log_up)
    fall_there = 1.0 - snr_down / (1.0 + snr_down) / log_down if there < outage else 0.0
    fall_back = 1.0 - snr_up / (1.0 + snr_up) / log_up if back < outage else 0.0
    there, back = min(there, outage), min(back, outage)
    return there + back, (there * fall_there + back * fall_back) / (there + back)


@compiled
def device_need(
    cell: Cell, device: int, tokens: float, used: float, latency: float, start: float, steps: int = STEPS
) -> float:
    """Least share of the band with which a device with so many tokens and used experts is done within the latency."""
    if tokens <= 0:
        return 0.0
    seconds = (latency - cell.fixed_s[device] * used) / tokens - cell.token_s[device]
    return need(seconds, cell.cn0[0, device], cell.cn0[1, device], cell.payload, cell.outage_s, start, steps)


@compiled
def all_need(
    cell: Cell, tokens: FloatArray, used: FloatArray, latency: float, share: FloatArray
) -> tuple[float, float]:
    """Share of the band that all devices need, and its derivative by the latency; refines the (U,) `share` of each."""
    total, slope = 0.0, 0.0
    for device in range(len(tokens)):
        if tokens[device] <= 0:
            continue
        wanted = device_need(cell, device, tokens[device], used[device], latency, share[device])
        if wanted == NEVER:
            return NEVER, 0.0
        total += wanted
        if wanted > 0.0:
            share[device] = wanted
            air, fall = airtime(wanted, cell.cn0[0, device], cell.cn0[1, device], cell.payload, cell.outage_s)
            if fall > 0.0:
                slope -= wanted / (tokens[device] * air * fall)
    return total, slope


@compiled
def least_time(cell: Cell, tokens: FloatArray, used: FloatArray, share: FloatArray, guess: float) -> float:
    """Least seconds within which the band suffices for (U,) tokens and used experts.

    `share` holds (U,) first guesses above 0 and at most 1, and the answer afterwards; `guess` is 0 or a first latency.
    """
    low, high = 0.0, NEVER
    for device in range(len(tokens)):
        if tokens[device] > 0:
            there = min(cell.payload / np.log1p(cell.cn0[0, device]), cell.outage_s)
            back = min(cell.payload / np.log1p(cell.cn0[1, device]), cell.outage_s)
            alone = cell.fixed_s[device] * used[device] + tokens[device] * (cell.token_s[device] + there + back)
            low = max(low, alone)
    latency = guess if guess > low else 1.5 * low
    for step in range(SEARCH):
        total, slope = all_need(cell, tokens, used, latency, share)
        if total <= 1.0:
            high = min(high, latency)
        else:
            low = max(low, latency)
        if high != NEVER and high - low <= PRECISION * high:
            break
        target = latency - (total - 1.0) / slope if total != NEVER and slope < 0.0 else low
        if total != NEVER and slope < 0.0 and abs(target - latency) <= PRECISION * latency:
            return max(target, latency)
        if not low < target < high or (step % 4 == 3 and high != NEVER):  # there are kinks, where Newton may swing
            target = 2.0 * low if high == NEVER else 0.5 * (low + high)
        latency = target
    return high if high != NEVER else latency


@compiled
def fill_needs(cell: Cell, latency: float, needs: FloatArray) -> None:
    """Write the table of needs at a latency: of each device, each number of used experts and each number of tokens."""
    each = cell.weights.shape[1]
    needs[cell.entries - 1] = latency
    for device in range(len(cell.hosted)):
        for used in range(1, cell.hosted[device] + 1):
            start, share = cell.start[device, used], 1.0
            for tokens in range(used, used * each + 1):
                wanted = NEVER
                if share != NEVER and tokens <= each * cell.top_k:
                    wanted = device_need(cell, device, float(tokens), float(used), latency, share)
                if wanted > FULL:
                    share = wanted = NEVER
                elif wanted > 0.0:
                    share = wanted
                needs[start + tokens - used] = wanted
