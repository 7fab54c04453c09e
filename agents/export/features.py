"""`wdmoe_env.envs.features.device_features` in torch, from raw observations, to be exported with a policy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wdmoe_env.envs.features import FEATURES, LEAST_RATIO, LIMIT, STALE, TINY
from wdmoe_env.interface import Observation
from wdmoe_env.scenario import Scenario
from wdmoe_env.system.latency import LN2
from wdmoe_env.system.selection import PRICE_LEVELS


class RawObservation(NamedTuple):
    """What a policy may know, as tensors; see `wdmoe_env.Observation`, whose fields and types these are."""

    gain_dl: Tensor
    gain_ul: Tensor
    average_gain_dl: Tensor
    average_gain_ul: Tensor
    gate_weights: Tensor
    load: Tensor
    last_device_time: Tensor
    layer: Tensor


def feed(observation: Observation) -> dict[str, NDArray[Any]]:
    """The fields of a `RawObservation` by name, as arrays that own their memory."""
    return {name: np.array(getattr(observation, name)) for name in RawObservation._fields}


class RawFeatures(nn.Module):
    """A `RawObservation` to the (N, U, F) float32 table of features; the scenario's constants are buffers.

    The number of tokens may differ from the scenario's.
    """

    prices: Tensor
    power_over_noise: Tensor
    hosting: Tensor
    fixed_s: Tensor
    token_s: Tensor

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        compute, channel = scenario.compute_model, scenario.channel
        self.radio, self.top_k, self.devices = scenario.radio_link, scenario.model.top_k, scenario.num_devices
        self.band = self.radio.bandwidth_hz / self.devices
        self.last_layer = max(scenario.model.layers - 1, 1)
        self.gains_are_stale = channel.uncertain
        constants = {
            "power_over_noise": self.radio.power_over_noise,
            "hosting": compute.hosting,
            "fixed_s": np.broadcast_to(compute.fixed_s, self.devices),
            "token_s": np.broadcast_to(compute.token_s, self.devices),
        }
        for name, value in constants.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        self.register_buffer("prices", torch.tensor(PRICE_LEVELS))

    def forward(self, seen: RawObservation) -> Tensor:
        chosen = _top_k(seen.gate_weights, self.top_k)
        kept = seen.gate_weights * chosen
        tokens, mass = self._per_device(chosen), self._per_device(kept)
        rates = self._rates(self._reach(seen.gain_dl, seen.gain_ul))
        sending_one = self._token_time(rates)
        sending, computing = tokens * sending_one, self._compute_time(chosen, seen.load)
        times = sending + computing
        slowest = _largest(times)
        even_tokens = 2.0 * seen.gate_weights.shape[1] * self.top_k / self.devices

        columns = {
            "efficiency_dl": rates[0] / (self.band * LN2 * 20.0),
            "efficiency_ul": rates[1] / (self.band * LN2 * 20.0),
            "token_time": _log_ratio(sending_one),
            "compute_share": computing / times.clamp(min=TINY),
            "load": seen.load,
            "tokens": tokens / even_tokens,
            "mass": mass * (0.5 / _mean(mass)),
            "device_time": times / slowest,
            "demand": _log_ratio(sending),
            "last_device_time": seen.last_device_time / _largest(seen.last_device_time).clamp(min=TINY),
            "latency": 0.5 * torch.log10(slowest / 1e-2).expand_as(times),
            "depth": (seen.layer[:, None].double() / self.last_layer).expand_as(times),
        }
        columns |= self._below_prices(chosen, kept) | self._stale(seen, sending_one)
        return torch.stack([columns[name] for name in FEATURES], dim=-1).float().clamp(-LIMIT, LIMIT)

    def _below_prices(self, chosen: Tensor, kept: Tensor) -> dict[str, Tensor]:
        """Columns of each price, from plain routing and the gate weights that it keeps, (N, J, E)."""
        below = chosen[..., None] * (kept[..., None] <= self.prices)
        dropped = self._per_device(below) / self._per_device(chosen).clamp(min=1.0)[:, None]
        lost = torch.sqrt(self._per_device(kept[..., None] * below) / _mean(self._per_device(kept))[:, None])
        columns = {f"dropped_{price}": dropped[:, level] for level, price in enumerate(PRICE_LEVELS)}
        return columns | {f"lost_{price}": lost[:, level] for level, price in enumerate(PRICE_LEVELS)}

    def _per_device(self, marked: Tensor) -> Tensor:
        """Sum over tokens and over the experts of each device: (N, J, E, ...) to (N, ..., U)."""
        return marked.sum(dim=1).double().movedim(1, -1) @ self.hosting

    def _reach(self, gain_dl: Tensor, gain_ul: Tensor) -> Tensor:
        """As `latency.snr_bandwidth`: (2, N, U) Hz."""
        return (torch.stack([gain_dl, gain_ul]) * self.power_over_noise).clamp(min=self.radio.outage_rate)

    def _rates(self, reach: Tensor) -> Tensor:
        """As `latency.rate` at an equal share of the band: (2, N, U) nats/s."""
        return self.band * torch.log1p(reach / self.band)

    def _token_time(self, rates: Tensor) -> Tensor:
        """As `latency.token_time`: (N, U) seconds."""
        return (self.radio.payload_nats / rates.clamp(min=self.radio.outage_rate)).sum(dim=0)

    def _compute_time(self, chosen: Tensor, load: Tensor) -> Tensor:
        """As `compute.compute_time`: (N, U) seconds."""
        per_expert = chosen.sum(dim=1).double()
        used = (per_expert > 0).double()
        return ((per_expert @ self.hosting) * self.token_s + (used @ self.hosting) * self.fixed_s) / (1.0 - load)

    def _stale(self, seen: RawObservation, sending_one: Tensor) -> dict[str, Tensor]:
        """As `features._stale`, by name."""
        names = list(FEATURES)[STALE]
        if not self.gains_are_stale:
            return dict.fromkeys(names, torch.zeros_like(sending_one))
        reach = self._reach(seen.gain_dl, seen.gain_ul)
        average = self._reach(seen.average_gain_dl, seen.average_gain_ul)
        both = torch.sqrt((average / self.power_over_noise).prod(dim=0)) * self.power_over_noise
        slower = [torch.log(self._token_time(self._rates(at)) / sending_one) for at in (average, both)]
        known = reach / self.power_over_noise
        drift = 0.5 * torch.log(average / reach)
        columns = [*slower, drift[0], drift[1], 0.5 * torch.log(known[0] / known[1])]
        return dict(zip(names, columns, strict=True))


def _top_k(weights: Tensor, k: int) -> Tensor:
    """One where plain top-K routing uses an expert, the first of equal ones: (N, J, E), as the weights."""
    # One by one: `topk` leaves open which of equal weights it takes, and a stable sort cannot be exported.
    experts = torch.arange(weights.shape[-1])
    chosen, left = torch.zeros_like(weights), weights
    for _ in range(k):
        best = left.argmax(dim=-1, keepdim=True) == experts
        chosen, left = chosen + best, left.masked_fill(best, -1.0)
    return chosen


def _mean(values: Tensor) -> Tensor:
    return values.mean(dim=-1, keepdim=True)


def _largest(values: Tensor) -> Tensor:
    return values.amax(dim=-1, keepdim=True)


def _log_ratio(values: Tensor) -> Tensor:
    """As `features._log_ratio`."""
    return torch.log((values / _mean(values)).clamp(min=LEAST_RATIO)) / 3.0
