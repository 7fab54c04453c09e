"""Fit the roofline ``launch_s + bytes / memory_bandwidth + flops / peak_flops`` to measured latencies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from wdmoe_env.hardware.boards.catalogue import roofline
from wdmoe_env.hardware.latency.measurement import EXPERT, Measurement

Floats = NDArray[np.float64]

# Which mode's GEMMs give the share of the specified peak that is reached. Orin NX and Orin Nano have the same GPU.
PEAK_REFERENCE = {
    "agx-orin-64gb": ("agx-orin-64gb", "50W"),
    "orin-nano-8gb": ("orin-nano-8gb", "15W"),
    "orin-nx-16gb": ("orin-nano-8gb", "15W"),
}
# Start of the search and scale of each unknown: launch in s, then s/B and s/FLOP.
_TYPICAL = np.array([3e-4, 1e-11, 1e-13])
# Relative errors beyond this count as outliers.
_OUTLIER = 0.05
# Arithmetic that never takes more of a row's time than this is not visible, and its rate not known.
MIN_SHARE = 0.01
# Fewer shapes than this leave nothing to hold out.
MIN_SHAPES = 4


@dataclass(frozen=True)
class RooflineFit:
    """Fitted figures in FLOP/s, B/s and s; median_error is the median relative error on held-out shapes."""

    peak_flops: float
    memory_bandwidth: float
    launch_s: float
    median_error: float | None = None

    def predict(self, rows: Sequence[Measurement]) -> Floats:
        """Predicted latency of each row, (len(rows),), s."""
        rates = np.array([self.launch_s, 1 / self.memory_bandwidth, 1 / self.peak_flops])
        return np.asarray(_design(rows) @ rates)


def fit_roofline(rows: Sequence[Measurement], peak_flops: float | None = None) -> RooflineFit:
    """Least robust (soft L1) log error, all unknowns >= 0; deterministic.

    With peak_flops given only launch and bandwidth are fitted. Launch is 0 when no row was timed from the host, and
    when all are experts of one size: what does not depend on the tokens then counts as reading the weights.

    Raises:
        ValueError: the rows do not determine bandwidth and peak.
    """
    full = _design(rows)
    if len({row.weight_bytes for row in rows}) == 1 and all(row.operation == EXPERT for row in rows):
        full[:, 0] = 0.0
    unknown = [column for column in range(3) if full[:, column].any() and (column < 2 or peak_flops is None)]
    if 1 not in unknown or (peak_flops is None and 2 not in unknown):
        raise ValueError(f"{len(rows)} rows do not determine bandwidth and peak: rows with bytes and FLOPs are needed")
    rates = np.array([0.0, 0.0, 1 / peak_flops if peak_flops else 0.0])
    seconds = np.array([row.latency_s for row in rows])
    rates[unknown] = _least_log_error(full[:, unknown], seconds, full @ rates, _TYPICAL[unknown])
    share = full[:, 2] * rates[2] / np.maximum(full @ rates, 1e-12)
    if min(rates[1:]) <= 0 or (peak_flops is None and share.max() < MIN_SHARE):
        raise ValueError(
            f"{len(rows)} rows do not determine bandwidth and peak: the fit left one unbounded; "
            "measure more counts of tokens"
        )
    return RooflineFit(float(1 / rates[2]), float(1 / rates[1]), float(rates[0]))


def _least_log_error(design: Floats, seconds: Floats, offset: Floats, typical: Floats) -> Floats:
    """The x >= 0 for which ``design @ x + offset`` comes closest to seconds, typical being the scale of x."""

    def log_error(x: Floats) -> Floats:
        # The floor only keeps the logarithm finite while the search touches its bounds.
        return np.asarray(np.log(np.maximum(design @ (x * typical) + offset, 1e-12) / seconds))

    found = least_squares(log_error, np.ones(len(typical)), bounds=(0, np.inf), loss="soft_l1", f_scale=_OUTLIER)
    return np.asarray(found.x * typical)


def held_out_error(
    rows: Sequence[Measurement], folds: int = 5, seed: int = 0, peak_flops: float | None = None
) -> float:
    """Median relative error on shapes that the fit has not seen; folds are drawn within each operation."""
    rng = np.random.default_rng(seed)
    fold_of: dict[tuple[str, int, int, int], int] = {}
    for operation in sorted({row.operation for row in rows}):
        shapes = sorted({row.shape for row in rows if row.operation == operation})
        # Going on where the last operation stopped keeps the folds of equal size.
        start = len(fold_of)
        for position, index in enumerate(rng.permutation(len(shapes))):
            fold_of[shapes[index]] = (start + position) % folds
    errors: list[Floats] = []
    for fold in sorted(set(fold_of.values())):
        seen = [row for row in rows if fold_of[row.shape] != fold]
        unseen = [row for row in rows if fold_of[row.shape] == fold]
        errors.append(relative_error(fit_roofline(seen, peak_flops), unseen))
    return float(np.median(np.abs(np.concatenate(errors))))


def relative_error(fit: RooflineFit, rows: Sequence[Measurement]) -> Floats:
    """``predicted / measured - 1`` of each row, (len(rows),)."""
    measured = np.array([row.latency_s for row in rows])
    return np.asarray(fit.predict(rows) / measured - 1)


def fit_boards(rows: Sequence[Measurement]) -> dict[tuple[str, str], RooflineFit]:
    """Fit every (board, power mode) in rows, with held-out error (None below 4 shapes).

    Where experts were measured they alone are fitted. Without experts and sustained GEMMs of its own, a mode of a board
    in the catalogue gets its specified peak times the share that the reference mode reaches: GEMMs measured in bursts
    only show how the clock rises, so they take no part.

    Raises:
        ValueError: a mode's rows do not determine its roofline; the message names board, mode and reason.
    """
    fits: dict[tuple[str, str], RooflineFit] = {}
    groups = fitted_rows(rows)
    # Modes with GEMMs first, as the others refer to them.
    for key in sorted(groups, key=lambda key: (not _has_peak(groups[key]), key)):
        try:
            fits[key] = fit_mode(key, groups[key], fits)
        except ValueError as error:
            raise ValueError(f"board {key[0]!r}, power mode {key[1]!r}: {error}") from None
    return dict(sorted(fits.items()))


def fitted_rows(rows: Sequence[Measurement]) -> dict[tuple[str, str], list[Measurement]]:
    """Rows that take part in the fit of each (board, power mode)."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for row in rows:
        if row.operation != "gemm_burst":
            groups.setdefault((row.board, row.power_mode), []).append(row)
    return {key: [row for row in group if row.operation == EXPERT] or group for key, group in groups.items()}


def fit_mode(
    key: tuple[str, str], rows: Sequence[Measurement], fits: Mapping[tuple[str, str], RooflineFit]
) -> RooflineFit:
    """Fit the rows of one (board, power mode), with held-out error; `fits` holds the reference modes."""
    precisions = sorted({row.precision for row in rows if row.flops and row.operation != "gemv"})
    if len(precisions) > 1:
        raise ValueError(f"rows of {' and '.join(precisions)} have no common peak, expected one precision in a table")
    peak = None if _has_peak(rows) else _scaled_peak(key, fits)
    fit = fit_roofline(rows, peak)
    enough = len({row.shape for row in rows}) >= MIN_SHAPES
    return replace(fit, median_error=held_out_error(rows, peak_flops=peak) if enough else None)


def burst_slowdown(fit: RooflineFit, rows: Sequence[Measurement]) -> float:
    """Median ratio of measured to predicted latency of GEMMs right after idling; nan without such rows."""
    bursts = [row for row in rows if row.operation == "gemm_burst" and row.flops > 1e9]
    return float(np.median(1 / (1 + relative_error(fit, bursts)))) if bursts else float("nan")


def _design(rows: Sequence[Measurement]) -> Floats:
    """Host-timed calls, bytes and FLOPs of each row, (len(rows), 3)."""
    return np.array([[float(row.timer == "host"), row.bytes, row.flops] for row in rows], dtype=float).reshape(-1, 3)


def _has_peak(rows: Sequence[Measurement]) -> bool:
    return any(row.operation in ("gemm", EXPERT) for row in rows)


def _scaled_peak(key: tuple[str, str], fits: Mapping[tuple[str, str], RooflineFit]) -> float:
    if key[0] not in PEAK_REFERENCE:
        raise ValueError(f"no row tells the peak, expected rows of {EXPERT} or gemm")
    board, mode = reference = PEAK_REFERENCE[key[0]]
    known = roofline(board, mode)
    reached = fits[reference].peak_flops if reference in fits else known.peak_flops
    return reached / known.spec_peak * roofline(*key).spec_peak
