r"""From rates to the time a layer takes: Shannon rates, time per token, device times, the wait for the slowest.

.. math:: t_{layer} = \max_{u:\, n_u > 0} \left(n_u\, t_u^{comm} + t_u^{comp}\right)

`xp` is the namespace of the arrays: NumPy, or `array_api_compat.torch` for tensors, that is, for an exported policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from wdmoe_env.arrays import FloatArray

LN2 = float(np.log(2.0))


@dataclass(frozen=True)
class Radio:
    """The cell's radio in SI units.

    Attributes:
        bandwidth_hz: band to split, Hz.
        bs_power_w, device_power_w: transmit powers of the downlink and the uplink, W.
        noise_w_per_hz: noise power density, W/Hz.
        payload_bits: bits of a token in one direction.
        outage_s: the longest time a token is charged for in one direction, s.
        message_s: what a call of a device takes besides payload and computing, s.
        shared: whether devices take turns on the whole band, which cannot be split.
    """

    bandwidth_hz: float
    bs_power_w: float
    device_power_w: float
    noise_w_per_hz: float
    payload_bits: float
    outage_s: float
    message_s: float = 0.0
    shared: bool = False

    @cached_property
    def payload_nats(self) -> float:
        """The payload in nats, for rates in nats."""
        return self.payload_bits * LN2

    @cached_property
    def outage_rate(self) -> float:
        """The rate below which a link is in outage, nats/s."""
        return self.payload_nats / self.outage_s

    @cached_property
    def power_over_noise(self) -> tuple[float, float]:
        """`P / N0` of the downlink and of the uplink, Hz."""
        return self.bs_power_w / self.noise_w_per_hz, self.device_power_w / self.noise_w_per_hz


def carrier_to_noise_density(gain_dl: FloatArray, gain_ul: FloatArray, radio: Radio, xp: Any = np) -> FloatArray:
    r"""Carrier-to-noise-density ratio of both links, Hz: (2, N, U), downlink first.

    .. math:: C / N_0 = P g / N_0

    Over a bandwidth b the SNR is :math:`C / (N_0 b)`, so this is also the bandwidth at which the SNR is 1.

    A link so weak that the whole spectrum would not carry one token within `outage_s` counts as just that weak, so
    that a device out of reach costs a finite time.
    """
    downlink, uplink = radio.power_over_noise
    cn0 = xp.concat(((gain_dl * downlink)[None], (gain_ul * uplink)[None]))
    return xp.maximum(cn0, radio.outage_rate)


def rate(bandwidth: FloatArray | float, cn0: FloatArray, xp: Any = np) -> FloatArray:
    r"""Shannon rate (R for the form) in nats/s, practically 0 where b is 0; for `cn0` see `carrier_to_noise_density`.

    .. math:: R(b) = b \ln\left(1 + \frac{P g}{N_0 b}\right)

    Capacity of a channel with additive white Gaussian noise (Shannon 1948): the whole power over the link's share b.
    Divide by ln 2 for bit/s.
    """
    positive = max(bandwidth, 1e-100) if isinstance(bandwidth, float) else xp.maximum(bandwidth, 1e-100)
    return positive * xp.log1p(cn0 / positive)


def communication_time(bandwidth: FloatArray, cn0: FloatArray, radio: Radio) -> FloatArray:
    r"""Seconds to send one token to each device and its result back (R): (N, U).

    .. math:: t_u^{comm} = L / R_u^{dl} + L / R_u^{ul}

    L is the payload of a token in one direction; each direction takes at most `outage_s`.
    """
    return token_time(rate(bandwidth, cn0), radio)


def token_time(rates: FloatArray, radio: Radio, xp: Any = np) -> FloatArray:
    """Seconds to send one token there and back, (N, U), from the (2, N, U) rates in nats/s: `communication_time`."""
    seconds = radio.payload_nats / xp.maximum(rates, radio.outage_rate)
    return seconds[0] + seconds[1]


def device_time(tokens: FloatArray, communication: FloatArray, computation: FloatArray) -> FloatArray:
    r"""Seconds until each device has answered: (N, U); 0 for a device without tokens.

    .. math:: t_u = n_u\, t_u^{comm} + t_u^{comp}

    Args:
        tokens: (N, U) tokens n_u of each device.
        communication: (N, U) seconds for one token.
        computation: (N, U) seconds, already summed over the device's experts; 0 without tokens.
    """
    return tokens * communication + computation


def air_time(tokens: FloatArray, bandwidth: FloatArray, cn0: FloatArray, radio: Radio) -> FloatArray:
    r"""Seconds that (N, U) tokens and their results take on the air: (N, U).

    With a band that is split, :math:`n_u t_u^{comm}`. With a shared one (R) the split is of no account: every device
    has the whole band in its turn, turns are short, and all begin at once, so that

    .. math:: t_u = \sum_v \min(a_u, a_v), \quad a_u = n_u\, t_u^{comm}(B)

    (processor sharing: while a device is served, each other one has as much time on the air, until it is done).
    """
    if not radio.shared:
        return tokens * communication_time(bandwidth, cn0, radio)
    alone = tokens * communication_time(np.full_like(bandwidth, radio.bandwidth_hz), cn0, radio)
    return np.minimum(alone[:, :, None], alone[:, None, :]).sum(axis=-1)


def block_latency(times: FloatArray) -> FloatArray:
    r"""The attention waiting latency (R): :math:`\max_u t_u`, (N,) seconds until the slowest device has answered."""
    return times.max(axis=-1)
