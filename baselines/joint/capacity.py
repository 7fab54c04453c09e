"""How many tokens a second a device can take for its share of the band: a concave function, and its derivatives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wdmoe_env.arrays import FloatArray
from wdmoe_env.system.latency import Radio

STRAIGHT = 1e-3
"""Least curvature of the token rate, relative to its slope over the bandwidth: keeps a nearly straight one solvable."""
ROUNDING = 1e-9
LEAST_RISE = 1e-6
"""Least rise of a link's hull over the band, relative to the outage rate: a link out of reach has a slope, too."""


class TokenRate(NamedTuple):
    """Token rates at one split of the band: (N, U) each.

    Attributes:
        rate: tokens a second, `c(b) = 1 / (t_comm(b) + t_token)`.
        slope: its derivative `c'(b)`, tokens a second for each Hz.
        sensitivity: `-c'(b) / c''(b)`, Hz: of the bandwidth to the logarithm of its price.
    """

    rate: FloatArray
    slope: FloatArray
    sensitivity: FloatArray


class Links:
    """The devices' links and their computation.

    The rate of a link is Shannon's, and at least the outage rate, as the simulator charges a link in outage for
    `outage_s` and no more. That maximum is not concave in the bandwidth; where it is not, its concave hull is taken,
    the tangent from the outage rate at 0 Hz. The hull is never below the rate, so that what is proved with it holds.

    Args:
        cn0: (2, N, U) of `wdmoe_env.system.latency.carrier_to_noise_density`.
        token_s: (N, U) seconds a device computes for one token.
        radio: the cell's radio.
    """

    def __init__(self, cn0: FloatArray, token_s: FloatArray, radio: Radio) -> None:
        self.token_s, self.radio, self.cn0 = token_s, radio, cn0
        self.band = radio.bandwidth_hz
        outage = radio.outage_rate
        # Where Shannon's rate b ln(1 + s / b) and the line from (0, outage) touch: s b / (s + b) = outage.
        tangent_point = cn0 * outage / np.maximum(cn0 - outage, outage * outage / self.band)
        end = np.minimum(tangent_point, self.band)
        self._tangent = np.maximum(end * np.log1p(cn0 / end) - outage, LEAST_RISE * outage) / end
        # Out of reach with the whole band, which a split may exceed by rounding: Shannon's rate must not count there.
        self._tangent_point = np.where(tangent_point < self.band * (1.0 - ROUNDING), tangent_point, np.inf)

    def token_rate(self, bandwidth: FloatArray) -> TokenRate:
        """Token rates at a (N, U) split of the band, all of it above 0 Hz."""
        cn0, outage, payload = self.cn0, self.radio.outage_rate, self.radio.payload_nats
        snr = cn0 / bandwidth
        log, share = np.log1p(snr), snr / (1.0 + snr)
        rate, slope, curvature = bandwidth * log, log - share, -np.square(share) / bandwidth
        straight = bandwidth <= self._tangent_point
        if straight.any():
            rate = np.where(straight, outage + self._tangent * bandwidth, rate)
            slope = np.where(straight, self._tangent, slope)
            curvature = np.where(straight, 0.0, curvature)
        fall = slope / np.square(rate)
        seconds = payload * (1.0 / rate).sum(axis=0) + self.token_s
        first = payload * fall.sum(axis=0)
        second = payload * (2.0 * slope * fall / rate - curvature / np.square(rate)).sum(axis=0)
        # With t the seconds a token takes: c = 1 / t, c' = -t' c^2, c'' = 2 t'^2 c^3 - t'' c^2.
        tokens = 1.0 / seconds
        gain = first * np.square(tokens)
        curve = second * np.square(tokens) - 2.0 * np.square(first) * tokens**3
        return TokenRate(tokens, gain, gain / np.maximum(curve, STRAIGHT * gain / bandwidth))
