r"""The radio channel: path loss, shadowing, small-scale fading, and how they change while time passes.

The power gain of a link is :math:`g = 10^{-(PL + SF) / 10}\, |h|^2` (3GPP TR 38.901, clauses 7.4.1 and 7.4.4): path
loss PL and shadow fading SF in dB, and the power :math:`|h|^2` of the small-scale fading, of mean 1.

Noise is handed in by the caller: the same noise and the same times give the same channel.
"""

from __future__ import annotations

from functools import wraps

import numpy as np

from wdmoe_env.arrays import ComplexArray, FloatArray
from wdmoe_env.settings.parts import PATH_LOSSES, ChannelSettings, Fading, PathLoss, Shadowing

LIGHT_M_S = 299_792_458.0
BS_HEIGHT_M, DEVICE_HEIGHT_M = 10.0, 1.5
r"""Antenna heights :math:`h_{BS}`, :math:`h_{UT}` of UMi street canyon, 3GPP TR 38.901 table 7.2-1."""


def path_loss_db(distance_m: FloatArray, carrier_ghz: float, model: str, los_draw: FloatArray) -> FloatArray:
    r"""Path loss PL in dB, of the shape of `distance_m`.

    `free-space` (R), Friis' equation as in ITU-R P.525:

    .. math:: PL = 32.4 + 20 \log_{10} f_c + 20 \log_{10} d

    `umi`, street canyon, 3GPP TR 38.901 v16 table 7.4.1-1, with :math:`d_{3D}^2 = d^2 + (h_{BS} - h_{UT})^2` and the
    breakpoint distance :math:`d'_{BP} = 4 (h_{BS} - 1) (h_{UT} - 1) f_c / c` of its note 1:

    .. math::
        PL_{LOS} &= 32.4 + 21 \log_{10} d_{3D} + 20 \log_{10} f_c, \quad d < d'_{BP} \\
        PL_{LOS} &= 32.4 + 40 \log_{10} d_{3D} + 20 \log_{10} f_c
                    - 9.5 \log_{10}({d'_{BP}}^2 + (h_{BS} - h_{UT})^2), \quad d \ge d'_{BP} \\
        PL_{NLOS} &= \max(PL_{LOS},\; 22.4 + 35.3 \log_{10} d_{3D} + 21.3 \log_{10} f_c - 0.3 (h_{UT} - 1.5))

    `indoor-office`, table 7.4.1-1, InH office; `distance_m` stands for :math:`d_{3D}`, as antenna heights are left out:

    .. math::
        PL_{LOS} &= 32.4 + 17.3 \log_{10} d_{3D} + 20 \log_{10} f_c \\
        PL_{NLOS} &= \max(PL_{LOS},\; 17.3 + 38.3 \log_{10} d_{3D} + 24.9 \log_{10} f_c)

    Shadow fading is not part of it; see `next_shadow`.

    Args:
        distance_m: distance d in the plane, m, at least 1.
        carrier_ghz: carrier frequency f_c, GHz.
        model: `free-space`, `umi`, `indoor-office`, or one that was registered.
        los_draw: uniform numbers in [0, 1); a device is in line of sight (LOS) where its number is below the model's
            probability at its distance, so that it goes in and out of sight as it moves.

    Raises:
        ValueError: the model is none of these.
    """
    return PATH_LOSSES.find(model)(distance_m, carrier_ghz, los_draw)


def register(name: str, path_loss: PathLoss) -> PathLoss:
    """Let scenarios name a path loss of one's own: a function of distances, carrier and sight, as `path_loss_db` takes.

    What it returns is checked each time: finite numbers in the shape of the distances.

    Raises:
        ValueError: the name is taken.
    """

    @wraps(path_loss)
    def checked(distance_m: FloatArray, carrier_ghz: float, los_draw: FloatArray) -> FloatArray:
        loss = np.asarray(path_loss(distance_m, carrier_ghz, los_draw), dtype=np.float64)
        if loss.shape != distance_m.shape or not np.isfinite(loss).all():
            raise ValueError(
                f"path loss {name!r} gives {loss.min()} to {loss.max()} dB in shape {loss.shape}, expected finite "
                f"numbers in shape {distance_m.shape}"
            )
        return loss

    PATH_LOSSES.register(name, checked)
    return path_loss


def _free_space(distance_m: FloatArray, carrier_ghz: float, los_draw: FloatArray) -> FloatArray:
    return 32.4 + 20.0 * np.log10(carrier_ghz) + 20.0 * np.log10(distance_m)


def _indoor_office(distance_m: FloatArray, carrier_ghz: float, los_draw: FloatArray) -> FloatArray:
    log_d, log_f = np.log10(distance_m), np.log10(carrier_ghz)
    los_db = 32.4 + 17.3 * log_d + 20.0 * log_f
    nlos_db = np.maximum(los_db, 17.3 + 38.3 * log_d + 24.9 * log_f)
    return np.where(los_draw < _indoor_los_probability(distance_m), los_db, nlos_db)


def _umi(distance_m: FloatArray, carrier_ghz: float, los_draw: FloatArray) -> FloatArray:
    log_f, height = np.log10(carrier_ghz), BS_HEIGHT_M - DEVICE_HEIGHT_M
    log_d3 = 0.5 * np.log10(distance_m**2 + height**2)
    breakpoint_m = 4.0 * (BS_HEIGHT_M - 1.0) * (DEVICE_HEIGHT_M - 1.0) * carrier_ghz * 1e9 / LIGHT_M_S
    beyond = 32.4 + 40.0 * log_d3 + 20.0 * log_f - 9.5 * np.log10(breakpoint_m**2 + height**2)
    los_db = np.where(distance_m < breakpoint_m, 32.4 + 21.0 * log_d3 + 20.0 * log_f, beyond)
    nlos_db = np.maximum(los_db, 22.4 + 35.3 * log_d3 + 21.3 * log_f - 0.3 * (DEVICE_HEIGHT_M - 1.5))
    return np.where(los_draw < _umi_los_probability(distance_m), los_db, nlos_db)


for _name, _model in {"free-space": _free_space, "umi": _umi, "indoor-office": _indoor_office}.items():
    PATH_LOSSES.register(_name, _model)


def _umi_los_probability(distance_m: FloatArray) -> FloatArray:
    r"""LOS probability of UMi street canyon, 3GPP TR 38.901 table 7.4.2-1.

    .. math:: P_{LOS} = 1 \text{ for } d \le 18, \quad
        \frac{18}{d} + e^{-d / 36} \left(1 - \frac{18}{d}\right) \text{ beyond}
    """
    ratio = np.minimum(18.0 / distance_m, 1.0)
    return np.where(distance_m <= 18.0, 1.0, ratio + np.exp(-distance_m / 36.0) * (1.0 - ratio))


def _indoor_los_probability(distance_m: FloatArray) -> FloatArray:
    r"""LOS probability of an indoor mixed office, 3GPP TR 38.901 table 7.4.2-1.

    .. math:: P_{LOS} = 1 \text{ for } d \le 1.2, \quad e^{-(d - 1.2) / 4.7} \text{ for } d < 6.5, \quad
        0.32\, e^{-(d - 6.5) / 32.6} \text{ beyond}
    """
    mixed = np.where(distance_m < 6.5, np.exp(-(distance_m - 1.2) / 4.7), 0.32 * np.exp(-(distance_m - 6.5) / 32.6))
    return np.where(distance_m <= 1.2, 1.0, mixed)


def doppler_correlation(speed_m_s: FloatArray, carrier_ghz: float, elapsed_s: FloatArray) -> FloatArray:
    r"""Correlation of a fading coefficient with itself `elapsed_s` later, of the shape of the arguments.

    .. math:: \rho = J_0(2 \pi f_D \Delta t), \quad f_D = v f_c / c

    The autocorrelation of Clarke's model (Clarke 1968; Jakes 1974): isotropic scattering, Doppler frequency f_D.

    Args:
        speed_m_s: speed v, m/s.
        carrier_ghz: carrier frequency f_c, GHz.
        elapsed_s: time that passed, s.
    """
    from scipy.special import j0  # takes long to load, and only moving devices need it

    doppler_hz = speed_m_s * carrier_ghz * 1e9 / LIGHT_M_S
    return np.asarray(j0(2.0 * np.pi * doppler_hz * elapsed_s))


def next_scatter(scatter: FloatArray, noise: FloatArray, correlation: FloatArray | float) -> FloatArray:
    r"""First-order Gauss-Markov step (R) of scattered amplitudes, with unit-normal noise z of the same shape.

    .. math:: x' = \rho\, x + \sqrt{1 - \rho^2}\; z

    An autoregressive process of order 1: it has Clarke's correlation from one step to the next, not over several.
    """
    return correlation * scatter + np.sqrt(1.0 - np.square(correlation)) * noise


def fading_gain(scatter: FloatArray, fading: Fading) -> FloatArray:
    r"""Power gain :math:`|h|^2` of mean 1, (N, 2, U), from scattered amplitudes of L branches, (N, 2, 2 L, U).

    .. math:: |h|^2 = \frac{1}{L} \sum_{l=1}^{L}
        \left|\sqrt{\frac{\kappa}{\kappa + 1}} + \sqrt{\frac{1}{2 (\kappa + 1)}}\, (x_l + i y_l)\right|^2

    Rician fading with the K-factor :math:`\kappa = 10^{k\_factor\_db / 10}`, the power in line of sight over the
    scattered power; Rayleigh fading is :math:`\kappa = 0`. The x and y are unit normal. With L > 1 it is the mean over
    independent diversity branches. All ones where there is no fading.

    Args:
        scatter: real parts x of all branches, then imaginary parts y; downlink first.
        fading: its kind, K-factor in dB and number of branches.
    """
    if fading.kind == "none":
        return np.ones_like(scatter[:, :, 0])
    if fading.kind == "rayleigh":
        return np.square(scatter).sum(axis=2) / scatter.shape[2]
    k = 10.0 ** (fading.k_factor_db / 10.0)
    amplitude = np.sqrt(0.5 / (k + 1.0)) * scatter
    amplitude[:, :, : fading.diversity] += np.sqrt(k / (k + 1.0))
    return np.square(amplitude).sum(axis=2) / fading.diversity


def next_shadow(shadow: FloatArray, noise: FloatArray, moved_m: FloatArray, shadowing: Shadowing) -> FloatArray:
    r"""Shadow fading SF in dB after a device has moved: (N, U), from unit-normal noise z and metres moved, (N, U) each.

    .. math:: SF' = \rho\, SF + \sqrt{1 - \rho^2}\; \sigma_{SF}\, z, \quad \rho = e^{-\Delta d / d_{cor}}

    Log-normal, with the exponential correlation of Gudmundson 1991 (3GPP TR 38.901, clause 7.4.4).
    """
    correlation = np.exp(-moved_m / shadowing.decorrelation_m)
    return correlation * shadow + np.sqrt(1.0 - np.square(correlation)) * shadowing.std_db * noise


def move(
    position: ComplexArray, velocity: ComplexArray, noise: FloatArray, elapsed_s: FloatArray, channel: ChannelSettings
) -> tuple[ComplexArray, ComplexArray]:
    r"""Move devices on; return their positions and velocities, complex, m and m/s, (N, U).

    .. math:: v' = v\, e^{i \sigma \sqrt{\Delta t}\, z}, \quad p' = p + v' \Delta t

    The project's own model: constant speed, and a heading that is a random walk with `turn_std_rad` for
    :math:`\sigma`. Who leaves the ring between the nearest and the farthest distance is reflected back into it.
    """
    velocity = velocity * np.exp(1j * channel.turn_std_rad * np.sqrt(elapsed_s) * noise)
    moved = position + velocity * elapsed_s
    radius = np.maximum(np.abs(moved), 1e-9)
    outward = moved / radius
    inside = np.clip(radius, channel.distance_m.low, channel.distance_m.high)
    radial = np.real(velocity * np.conj(outward))
    leaving = radial * (radius - inside) > 0
    return outward * inside, np.where(leaving, velocity - 2.0 * radial * outward, velocity)
