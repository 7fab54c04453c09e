"""Replay recorded radio logs in the simulator's time: gains of many devices from one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.hardware.radio.traces import LIMITS, Floats, RadioTrace, read_radio_trace

Ints = NDArray[np.int64]

# A file with more samples than this would take too much memory.
MAX_SAMPLES = 1e7
# The weakest and the strongest SNR that a log may stand for, dB; a log of throughput may hold zeros.
LEAST_SNR_DB, LARGEST_SNR_DB = LIMITS["snr_db"][:2]


@dataclass(frozen=True)
class Sampling:
    """How logs are brought onto one grid of times.

    Attributes:
        step_s: seconds between two samples of the grid.
        interpolation: between samples the last one holds (`previous`), or a straight line is drawn (`linear`).
        gaps: a gap above max_gap_s is an error (`refuse`), or cuts the log into stretches (`split`).
        max_gap_s: the longest time between two samples that counts as no gap, s.
    """

    step_s: float
    interpolation: Literal["previous", "linear"] = "previous"
    gaps: Literal["refuse", "split"] = "refuse"
    max_gap_s: float = 10.0


@dataclass(frozen=True)
class Link:
    """What turns the values of a log into gains.

    Attributes:
        band_hz: the band over which the log's SNR or throughput was measured, Hz.
        power_w: transmit powers of the simulated downlink and uplink, W.
        noise_w_per_hz: the simulated noise power density, W/Hz.
        reference_dbm: power sent per resource element, dBm; for RSRP alone.
    """

    band_hz: float
    power_w: tuple[float, float]
    noise_w_per_hz: float
    reference_dbm: float | None = None


def read_stretches(paths: Sequence[Path], sampling: Sampling) -> list[list[RadioTrace]]:
    """Resampled stretches of each file, at least one a file, without gaps.

    Raises:
        ValueError: a file is no trace, holds a gap that is refused, or nothing but gaps; the message names the file.
    """
    return [list(_stretches(path, path.stat().st_mtime_ns, sampling)) for path in paths]


@lru_cache(maxsize=256)
def _stretches(path: Path, written_ns: int, sampling: Sampling) -> tuple[RadioTrace, ...]:
    """Read and resample one file; written_ns lets a file that has changed be read again."""
    trace = read_radio_trace(path)
    if trace.kind == "rsrp_dbm" and trace.uplink is not None:
        raise ValueError(
            f"{path}: uplink_rsrp_dbm is of no use without the power that the phone sent; remove the column, and the "
            "uplink has the gain of the downlink"
        )
    parts = [trace]
    if (gap := float(np.diff(trace.seconds).max())) > sampling.max_gap_s:
        if sampling.gaps == "refuse":
            raise ValueError(
                f"{path}: a gap of {gap:g} s is above max_gap_s = {sampling.max_gap_s:g}; set gaps: split to replay "
                "the stretches between gaps, or raise max_gap_s"
            )
        parts = trace.split(sampling.max_gap_s)
        if not parts:
            raise ValueError(f"{path}: no two samples lie within max_gap_s = {sampling.max_gap_s:g} s")
    if (samples := trace.duration_s / sampling.step_s) > MAX_SAMPLES:
        raise ValueError(
            f"{path}: {trace.duration_s:g} s at step_s = {sampling.step_s:g} are {samples:.0f} samples, expected at "
            f"most {MAX_SAMPLES:g}; raise step_s"
        )
    return tuple(part.resample(sampling.step_s, sampling.interpolation, sampling.max_gap_s) for part in parts)


@dataclass(frozen=True, eq=False)
class RadioReplay:
    """Gains of all stretches of all files in one table, looked up by stretch and time.

    Attributes:
        gain: (2, T) power gains, downlink first, of the stretches one after the other.
        start: (S,) first column of each stretch.
        length: (S,) columns of each stretch.
        first: (F + 1,) first stretch of each file, and S at the end.
        step_s: seconds that a column lasts.
    """

    gain: Floats
    start: Ints
    length: Ints
    first: Ints
    step_s: float

    @property
    def num_files(self) -> int:
        """Number of files, F."""
        return len(self.first) - 1

    def begin(self, file: Ints, position: Floats) -> tuple[Ints, Floats]:
        """Stretch, and seconds since its start, at a position in a file.

        Args:
            file: (...) files from 0 to F - 1.
            position: same shape, in [0, 1): 0 is the start of the file's first stretch, 1 the end of its last.
        """
        ends = np.concatenate([[0], np.cumsum(self.length)])
        low, high = ends[self.first[file]], ends[self.first[file + 1]]
        place = low + position * (high - low)
        # A position next to 1 must not be rounded into the file that follows.
        stretch = np.minimum(np.searchsorted(ends, place, side="right") - 1, self.first[file + 1] - 1)
        return stretch, (place - ends[stretch]) * self.step_s

    def at(self, stretch: Ints, seconds: Floats) -> Floats:
        """(N, 2, U) gains of (N, U) stretches, (N, U) seconds after their start; at its end a stretch begins anew."""
        # The remainder is taken before the cast, which has no room for the longest times.
        column = np.fmod(np.floor(seconds / self.step_s), self.length[stretch]).astype(np.int64)
        column += self.start[stretch]
        return np.asarray(self.gain[:, column].swapaxes(0, 1))


def replay_of(files: Sequence[Sequence[RadioTrace]], step_s: float, link: Link) -> RadioReplay:
    """Gains of the stretches of each file, which `read_stretches` gave.

    Raises:
        ValueError: reference_dbm is missing or not needed, or a throughput does not fit into the band.
    """
    stretches = [trace for parts in files for trace in parts]
    if link.reference_dbm is not None and all(trace.kind != "rsrp_dbm" for trace in stretches):
        raise ValueError(f"reference_dbm is {link.reference_dbm:g}, but no file holds RSRP: leave it out")
    gains = [_gains(trace, link) for trace in stretches]
    length = np.array([gain.shape[1] for gain in gains], dtype=np.int64)
    first = np.cumsum([0, *map(len, files)]).astype(np.int64)
    return RadioReplay(np.concatenate(gains, axis=1), np.cumsum(length) - length, length, first, step_s)


def _gains(trace: RadioTrace, link: Link) -> Floats:
    """(2, T) gains, downlink first. Without an uplink of its own the uplink has the gain of the downlink."""
    _check_fits(trace, link)
    downlink = _gain(trace, link)
    return np.stack([downlink, downlink if trace.uplink is None else _gain(trace, link, uplink=True)])


def _gain(trace: RadioTrace, link: Link, uplink: bool = False) -> Floats:
    """(T,) gains of one direction. A throughput of 0 stands for a link too weak to use, not for no gain at all."""
    power_w = link.power_w[int(uplink)]
    gain = trace.gain(link.band_hz, power_w, link.noise_w_per_hz, link.reference_dbm, uplink)
    least = 10 ** (LEAST_SNR_DB / 10) * link.noise_w_per_hz * link.band_hz / power_w
    return gain if trace.kind == "rsrp_dbm" else np.maximum(gain, least)


def _check_fits(trace: RadioTrace, link: Link) -> None:
    if trace.kind == "rsrp_dbm":
        if link.reference_dbm is None:
            raise ValueError(f"{trace.name} holds RSRP, which needs reference_dbm: the power sent per resource element")
        if (highest := float(trace.values.max())) > link.reference_dbm:
            raise ValueError(f"{trace.name}: RSRP of {highest:g} dBm is above reference_dbm = {link.reference_dbm:g}")
    peak = max(float(part.max()) for part in (trace.values, trace.uplink) if part is not None)
    if trace.kind == "throughput_bit_s" and peak / link.band_hz > LARGEST_SNR_DB / 10 * np.log2(10):
        raise ValueError(
            f"{trace.name}: {peak:g} bit/s in a band of {link.band_hz:g} Hz needs an SNR above {LARGEST_SNR_DB:g} dB; "
            "set band_hz to the band that the log was taken in"
        )
