"""A made-up radio log, for examples and tests where no recorded one is at hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import BoolArray
from wdmoe_env.hardware.radio.traces import LIMITS, Floats, RadioTrace

SLOW_DB, FAST_DB = 6.0, 1.5
SLOW_S, FAST_S = 8.0, 0.6
"""Spread and time constant of walking past walls, and of what changes within a second. Both are assumed."""
LARGEST_DB = 25.0
"""What lies farther from the mean than this is cut off."""
MAX_SAMPLES = 1_000_000
DROPOUT_DB = -30.0
"""SNR in a drop-out: a thousandth of a bit/s/Hz, as good as none. It is assumed."""


def synthetic_snr(
    seconds: float = 300.0,
    step_s: float = 0.5,
    mean_db: float = 28.0,
    seed: int = 0,
    dropouts_per_minute: float = 0.0,
    dropout_s: float = 3.0,
) -> RadioTrace:
    """SNR of a Wi-Fi device carried about a room: two first-order autoregressions around a mean, to 0.1 dB.

    Made up, not measured: the trace's `source` says so.

    Args:
        seconds: length of the log.
        step_s: time between samples.
        mean_db: mean SNR while there is a link.
        seed: of all that is drawn; outside drop-outs the log is the same with and without them.
        dropouts_per_minute: how often the link is lost, in the mean; times between losses are exponential.
        dropout_s: for how long it is lost, in the mean; exponential too, and at least a sample. Losses may overlap.

    Raises:
        ValueError: seconds is below two steps, or a value is beyond what a log may hold or below 0.
    """
    if not 0 < 2 * step_s <= seconds <= MAX_SAMPLES * step_s:
        raise ValueError(
            f"seconds={seconds!r}, step_s={step_s!r}, expected step_s > 0, "
            f"at least two steps and at most {MAX_SAMPLES:,}"
        )
    low, high, _ = LIMITS["snr_db"]
    if not low <= mean_db - LARGEST_DB <= mean_db + LARGEST_DB <= high:
        raise ValueError(f"mean_db={mean_db!r}, expected {low + LARGEST_DB:g} to {high - LARGEST_DB:g} dB")
    if not (dropouts_per_minute >= 0 and 0 < dropout_s < np.inf and dropouts_per_minute * step_s <= 60.0):
        raise ValueError(
            f"dropouts_per_minute={dropouts_per_minute!r}, dropout_s={dropout_s!r}, "
            "expected at least 0 drop-outs, at most one a step, and more than 0 s"
        )
    times = step_s * np.arange(round(seconds / step_s))
    rng = np.random.default_rng(seed)
    level = np.full(len(times), mean_db)
    for spread, constant in ((SLOW_DB, SLOW_S), (FAST_DB, FAST_S)):
        level += spread * _wander(rng, len(times), float(np.exp(-step_s / constant)))
    values = np.round(np.clip(level, mean_db - LARGEST_DB, mean_db + LARGEST_DB), 1)
    values[_lost(rng, times, dropouts_per_minute / 60.0, dropout_s)] = DROPOUT_DB
    return RadioTrace(np.round(times, 6), values, "snr_db", name="synthetic", source="synthetic: made up, not measured")


def _lost(rng: np.random.Generator, times: NDArray[np.floating], rate: float, mean_s: float) -> BoolArray:
    """Which samples lie in a drop-out, (T,): a Poisson process of exponential ones."""
    starts = rng.uniform(0.0, times[-1], rng.poisson(rate * times[-1]))
    first = np.searchsorted(times, starts)
    last = np.searchsorted(times, starts + rng.exponential(mean_s, len(starts)))
    # How many begin and end at each sample: what is begun and not ended lasts.
    changes = np.zeros(len(times) + 1, dtype=np.int64)
    np.add.at(changes, np.minimum(first, len(times)), 1)
    np.add.at(changes, np.minimum(np.maximum(last, first + 1), len(times)), -1)
    return np.asarray(changes.cumsum()[:-1] > 0)


def _wander(rng: np.random.Generator, count: int, keep: float) -> Floats:
    """First-order autoregression of variance 1, (count,), which keeps so much of itself from sample to sample."""
    from scipy.signal import lfilter  # slow to load, and of no use elsewhere

    steps = rng.standard_normal(count)
    steps[1:] *= np.sqrt(1 - keep**2)
    return np.asarray(lfilter([1.0], [1.0, -keep], steps))
