"""How measured latencies scatter: weighted samples of rows, and their quantiles."""

from collections.abc import Iterable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.hardware.latency.measurement import Measurement

Floats = NDArray[np.float64]

# Equally likely latencies that stand for a row which is a mean over several runs.
_POINTS = 256
# SciPy's `ndtri` differs in the last bit of 170 of these 256, and so in the latencies that every scenario replays.
_NORMAL = np.array([NormalDist().inv_cdf((k + 0.5) / _POINTS) for k in range(_POINTS)])
# An expert takes milliseconds: the scatter of shorter calls is that of their launch.
LONG_S, MIN_LONG_ROWS = 1e-3, 4


def points(row: Measurement) -> Floats:
    """Equally likely latencies of a row, s: of one run itself; of a mean, a log-normal with the row's mean and std_s.

    It starts at min_s. Where that is not known, nothing lies below the quantile 1 / (trials + 1), about where the
    fastest of so many runs is expected.
    """
    if row.trials == 1 or not row.std_s:
        return np.array([row.latency_s])
    floor = row.min_s or 0.0
    if (above := row.latency_s - floor) <= 1e-6 * row.latency_s:
        return np.array([row.latency_s])
    sigma = np.sqrt(np.log1p((row.std_s / above) ** 2))
    shape = np.exp(sigma * _NORMAL)
    values = floor + above * shape / shape.mean()
    if row.min_s is None:
        values = np.maximum(values, np.quantile(values, 1 / (row.trials + 1)))
    return np.asarray(values)


def quantiles(samples: Iterable[tuple[Floats, float]], count: int) -> Floats:
    """(count,) quantiles at (q + 0.5) / count of samples that each have a weight: measured values, none in between."""
    parts = list(samples)
    values = np.concatenate([part for part, _ in parts])
    weights = np.concatenate([np.full(len(part), weight / len(part)) for part, weight in parts])
    wanted = (np.arange(count) + 0.5) / count
    return np.asarray(np.quantile(values, wanted, weights=weights, method="inverted_cdf"))


def relative_spread(rows: Sequence[Measurement], count: int) -> Floats:
    """(count,) quantiles of latency over its mean within a shape, pooled over rows; all 1 where no row tells a scatter.

    Only rows that are a mean with std_s, and repeated single runs of a shape, tell anything. Rows of 1 ms and more are
    taken where there are 4: shorter calls show the scatter of the launch.
    """
    runs: dict[object, list[float]] = {}
    pooled: list[tuple[float, Floats, float]] = []
    for row in rows:
        if row.trials > 1 and row.std_s is not None:
            pooled.append((row.latency_s, points(row) / row.latency_s, row.trials))
        elif row.trials == 1:
            runs.setdefault((row.shape, row.precision, row.weight_bits, row.timer), []).append(row.latency_s)
    for latencies in runs.values():
        if len(latencies) > 1:
            mean = float(np.mean(latencies))
            pooled.append((mean, np.array(latencies) / mean, len(latencies)))
    if not pooled:
        return np.ones(count)
    long = [entry for entry in pooled if entry[0] >= LONG_S]
    return quantiles([(part, weight) for _, part, weight in (long if len(long) >= MIN_LONG_ROWS else pooled)], count)
