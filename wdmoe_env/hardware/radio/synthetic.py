"""A made-up radio log, for examples and tests where no recorded one is at hand."""

from __future__ import annotations

import numpy as np

from wdmoe_env.hardware.radio.traces import LIMITS, Floats, RadioTrace

SLOW_DB, FAST_DB = 6.0, 1.5
SLOW_S, FAST_S = 8.0, 0.6
"""Spread and time constant of walking past walls, and of what changes within a second. Both are assumed."""
LARGEST_DB = 25.0
"""What lies farther from the mean than this is cut off."""


def synthetic_snr(seconds: float = 300.0, step_s: float = 0.5, mean_db: float = 28.0, seed: int = 0) -> RadioTrace:
    """SNR of a Wi-Fi device carried about a room: two first-order autoregressions around a mean, to 0.1 dB.

    Made up, not measured: the trace's `source` says so.

    Raises:
        ValueError: seconds is below two steps, or a value is beyond what a log may hold.
    """
    if not 0 < 2 * step_s <= seconds:
        raise ValueError(f"seconds={seconds!r}, step_s={step_s!r}, expected step_s > 0 and at least two steps")
    low, high, _ = LIMITS["snr_db"]
    if not low <= mean_db - LARGEST_DB <= mean_db + LARGEST_DB <= high:
        raise ValueError(f"mean_db={mean_db!r}, expected {low + LARGEST_DB:g} to {high - LARGEST_DB:g} dB")
    times = step_s * np.arange(round(seconds / step_s))
    rng = np.random.default_rng(seed)
    level = np.full(len(times), mean_db)
    for spread, constant in ((SLOW_DB, SLOW_S), (FAST_DB, FAST_S)):
        level += spread * _wander(rng, len(times), float(np.exp(-step_s / constant)))
    values = np.round(np.clip(level, mean_db - LARGEST_DB, mean_db + LARGEST_DB), 1)
    return RadioTrace(np.round(times, 6), values, "snr_db", name="synthetic", source="synthetic: made up, not measured")


def _wander(rng: np.random.Generator, count: int, keep: float) -> Floats:
    """First-order autoregression of variance 1, (count,), which keeps so much of itself from sample to sample."""
    from scipy.signal import lfilter  # slow to load, and of no use elsewhere

    steps = rng.standard_normal(count)
    steps[1:] *= np.sqrt(1 - keep**2)
    return np.asarray(lfilter([1.0], [1.0, -keep], steps))
