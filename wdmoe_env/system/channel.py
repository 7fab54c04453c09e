"""The radio channel: path loss, shadowing, small-scale fading, and how they change while time passes.

Noise is handed in by the caller: the same noise and the same times give the same channel.
"""

from __future__ import annotations

from functools import wraps

import numpy as np

from wdmoe_env.arrays import FloatArray
from wdmoe_env.settings.parts import PATH_LOSSES, ChannelSettings, Fading, PathLoss, Shadowing

LIGHT_M_S = 299_792_458.0
BS_HEIGHT_M, DEVICE_HEIGHT_M = 10.0, 1.5
"""Antenna heights of TR 38.901's UMi street canyon, from which its breakpoint distance follows."""


def path_loss_db(distance_m: FloatArray, carrier_ghz: float, model: str, sight: FloatArray) -> FloatArray:
    """Path loss in dB, of the shape of `distance_m`.

    Args:
        distance_m: distance, m, at least 1.
        carrier_ghz: carrier frequency, GHz.
        model: `free-space` (R): 32.4 + 20 log10(f) + 20 log10(d); `umi` and `indoor-office`: 3GPP TR 38.901 v16,
            tables 7.4.1-1 and 7.4.2-1, without their shadowing; or one that was registered.
        sight: uniform numbers in [0, 1); a device is in line of sight where its number is below the model's
            probability at its distance, so that it goes in and out of sight as it moves.
    """
    return PATH_LOSSES.find(model)(distance_m, carrier_ghz, sight)


def register(name: str, path_loss: PathLoss) -> PathLoss:
    """Let scenarios name a path loss of one's own: a function of distances, carrier and sight, as `path_loss_db` takes.

    What it returns is checked each time: finite numbers in the shape of the distances.

    Raises:
        ValueError: the name is taken.
    """

    @wraps(path_loss)
    def checked(distance_m: FloatArray, carrier_ghz: float, sight: FloatArray) -> FloatArray:
        loss = np.asarray(path_loss(distance_m, carrier_ghz, sight), dtype=np.float64)
        if loss.shape != distance_m.shape or not np.isfinite(loss).all():
            raise ValueError(
                f"path loss {name!r} gives {loss.min()} to {loss.max()} dB in shape {loss.shape}, expected finite numbers "
                f"in shape {distance_m.shape}"
            )
        return loss

    PATH_LOSSES.register(name, checked)
    return path_loss


def _free_space(distance_m: FloatArray, carrier_ghz: float, sight: FloatArray) -> FloatArray:
    return 32.4 + 20.0 * np.log10(carrier_ghz) + 20.0 * np.log10(distance_m)


def _indoor_office(distance_m: FloatArray, carrier_ghz: float, sight: FloatArray) -> FloatArray:
    log_d, log_f = np.log10(distance_m), np.log10(carrier_ghz)
    near = 32.4 + 17.3 * log_d + 20.0 * log_f
    far = np.maximum(near, 17.3 + 38.3 * log_d + 24.9 * log_f)
    return np.where(sight < _indoor_sight(distance_m), near, far)


def _umi(distance_m: FloatArray, carrier_ghz: float, sight: FloatArray) -> FloatArray:
    log_f, height = np.log10(carrier_ghz), BS_HEIGHT_M - DEVICE_HEIGHT_M
    log_d3 = 0.5 * np.log10(distance_m**2 + height**2)
    breakpoint_m = 4.0 * (BS_HEIGHT_M - 1.0) * (DEVICE_HEIGHT_M - 1.0) * carrier_ghz * 1e9 / LIGHT_M_S
    beyond = 32.4 + 40.0 * log_d3 + 20.0 * log_f - 9.5 * np.log10(breakpoint_m**2 + height**2)
    near = np.where(distance_m < breakpoint_m, 32.4 + 21.0 * log_d3 + 20.0 * log_f, beyond)
    far = np.maximum(near, 22.4 + 35.3 * log_d3 + 21.3 * log_f - 0.3 * (DEVICE_HEIGHT_M - 1.5))
    return np.where(sight < _umi_sight(distance_m), near, far)


for _name, _model in {"free-space": _free_space, "umi": _umi, "indoor-office": _indoor_office}.items():
    PATH_LOSSES.register(_name, _model)


def _umi_sight(distance_m: FloatArray) -> FloatArray:
    """Probability of line of sight, TR 38.901 table 7.4.2-1, UMi street canyon."""
    ratio = np.minimum(18.0 / distance_m, 1.0)
    return np.where(distance_m <= 18.0, 1.0, ratio + np.exp(-distance_m / 36.0) * (1.0 - ratio))


def _indoor_sight(distance_m: FloatArray) -> FloatArray:
    """Probability of line of sight, TR 38.901 table 7.4.2-1, indoor mixed office."""
    mixed = np.where(distance_m < 6.5, np.exp(-(distance_m - 1.2) / 4.7), 0.32 * np.exp(-(distance_m - 6.5) / 32.6))
    return np.where(distance_m <= 1.2, 1.0, mixed)


def doppler_correlation(speed_m_s: FloatArray, carrier_ghz: float, elapsed_s: FloatArray) -> FloatArray:
    """Correlation of a fading coefficient with itself `elapsed_s` later: `J0(2 pi f_D dt)` (Clarke's model)."""
    from scipy.special import j0  # takes long to load, and only moving devices need it

    doppler_hz = speed_m_s * carrier_ghz * 1e9 / LIGHT_M_S
    return np.asarray(j0(2.0 * np.pi * doppler_hz * elapsed_s))


def next_scatter(scatter: FloatArray, noise: FloatArray, correlation: FloatArray | float) -> FloatArray:
    """First-order Gauss-Markov step of scattered amplitudes, with unit-normal noise of the same shape."""
    return correlation * scatter + np.sqrt(1.0 - np.square(correlation)) * noise


def fading_gain(scatter: FloatArray, fading: Fading) -> FloatArray:
    """Power gain of mean 1, (N, 2, U), from real and imaginary scattered amplitudes of L branches, (N, 2, 2 L, U)."""
    if fading.kind == "none":
        return np.ones_like(scatter[:, :, 0])
    if fading.kind == "rayleigh":
        return np.square(scatter).sum(axis=2) / scatter.shape[2]
    k = 10.0 ** (fading.k_factor_db / 10.0)
    amplitude = np.sqrt(0.5 / (k + 1.0)) * scatter
    amplitude[:, :, : fading.diversity] += np.sqrt(k / (k + 1.0))
    return np.square(amplitude).sum(axis=2) / fading.diversity


def next_shadow(shadow: FloatArray, noise: FloatArray, moved_m: FloatArray, shadowing: Shadowing) -> FloatArray:
    """Shadowing in dB after a device has moved: correlation `exp(-moved / decorrelation)` (Gudmundson 1991)."""
    correlation = np.exp(-moved_m / shadowing.decorrelation_m)
    return correlation * shadow + np.sqrt(1.0 - np.square(correlation)) * shadowing.std_db * noise


def move(
    position: FloatArray, velocity: FloatArray, noise: FloatArray, elapsed_s: FloatArray, channel: ChannelSettings
) -> tuple[FloatArray, FloatArray]:
    """Move devices on; return their positions and velocities, complex, m and m/s, (N, U).

    The heading wanders; who leaves the ring between the nearest and the farthest distance is reflected back into it.
    """
    velocity = velocity * np.exp(1j * channel.turn_std_rad * np.sqrt(elapsed_s) * noise)
    moved = position + velocity * elapsed_s
    radius = np.maximum(np.abs(moved), 1e-9)
    outward = moved / radius
    inside = np.clip(radius, channel.distance_m.low, channel.distance_m.high)
    radial = np.real(velocity * np.conj(outward))
    leaving = radial * (radius - inside) > 0
    return outward * inside, np.where(leaving, velocity - 2.0 * radial * outward, velocity)
