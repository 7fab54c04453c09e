"""What a base station knows of links that nobody simulates: the rates of past transfers, as channel gains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from wdmoe_env.arrays import FloatArray
from wdmoe_env.scenario import Scenario
from wdmoe_env.testbed.layer import CallRecord

NEWEST: Final = 0.3
"""Weight of the newest transfer in the running mean of the logarithm of a rate."""
LEAST_BYTES: Final = 4096
"""Of a transfer that tells something: less crosses a network in one piece, and says how long a packet takes."""
MOST_EFFICIENCY: Final = 20.0
"""Nats/s/Hz at most that a rate stands for: a wire is faster than any band of the same width, and overflows."""


class LinkEstimates:
    """Running estimates of both directions of each device's link.

    Args:
        scenario: whose band and powers gains are to explain the rates with, at equal shares of the band.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._radio, self._share = scenario.radio_link, scenario.radio.bandwidth_hz / scenario.num_devices
        self._log_rate = np.full((2, scenario.num_devices), np.nan)
        self.load = np.zeros(scenario.num_devices)

    def see(self, calls: Sequence[CallRecord]) -> None:
        """Learn from calls."""
        for call in calls:
            if call.outcome != "answered":
                continue
            # What was waited for is seen here alone: the first bytes of a call may wait in the device's own queue.
            down_s = max(call.send_s, call.receive_s)
            for link, size, seconds in ((0, call.bytes_down, down_s), (1, call.bytes_up, call.uplink_s)):
                if size >= LEAST_BYTES and seconds > 0.0:
                    self._note(link, call.device, np.log(8.0 * size / seconds))
            # More would leave nothing to divide by.
            self.load[call.device] = min(call.load, 0.95)

    def _note(self, link: int, device: int, log_rate: float) -> None:
        known = self._log_rate[link, device]
        self._log_rate[link, device] = log_rate if np.isnan(known) else known + NEWEST * (log_rate - known)

    @property
    def bit_s(self) -> FloatArray:
        """(2, U) estimated rates, downlink first, bit/s; NaN where no transfer told."""
        return np.exp(self._log_rate)

    def gain(self) -> FloatArray:
        """(2, U) channel power gains by which Shannon's formula gives the rates; typical ones where none is known."""
        nats = self.bit_s * np.log(2.0)
        if np.isnan(nats).all():
            efficiency = np.ones_like(nats)
        else:
            typical = np.exp(np.nanmean(np.log(nats)))
            efficiency = np.minimum(np.where(np.isnan(nats), typical, nats) / self._share, MOST_EFFICIENCY)
        power = np.array(self._radio.power_over_noise)[:, None]
        found: FloatArray = self._share * np.expm1(efficiency) / power
        return found
