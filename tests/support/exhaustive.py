"""The joint optimum of tiny cells by trying everything: what bounds and policies are held against.

Latency depends on a selection only through the number of tokens of each expert. So for every such count the selection
of most gate mass is enough, and a dynamic program over the tokens finds that mass; no prices, no relaxation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from benchmarks.milp import selection_latency

from wdmoe_env import Observation, Scenario
from wdmoe_env.arrays import FloatArray
from wdmoe_env.system import bandwidth, selection
from wdmoe_env.system.compute import compute_time

__all__ = ["Everything", "everything", "latencies", "options", "selection_latency"]

ROUNDING = 1e-9
"""Relative difference of masses that counts as none."""


@dataclass(frozen=True)
class Everything:
    """All that N cells can do, for each of C token counts of the experts.

    Attributes:
        mass: (N, C) most retained gate mass.
        latency: (N, C) seconds, with an exact split of the band.
        plain_mass: (N,) gate mass of plain top-K routing.
    """

    mass: FloatArray
    latency: FloatArray
    plain_mass: FloatArray

    def least_latency(self, retained: float | FloatArray) -> FloatArray:
        """Least seconds (N,) at a retained mass, one number or (N,), or more."""
        enough = self.mass >= np.reshape(retained, (-1, 1)) * (1.0 - ROUNDING)
        return np.where(enough, self.latency, np.inf).min(axis=1)

    def most_wlr(self, retained: float) -> FloatArray:
        """Most block WLR (N,) at a retained mass or more."""
        ratio = self.mass * self.plain_mass[:, None] / self.latency
        return np.where(self.mass >= retained * (1.0 - ROUNDING), ratio, 0.0).max(axis=1)

    def most_reward(
        self, plain_wlr: FloatArray, floor: float, penalty: float, reference: FloatArray | float | None = None
    ) -> FloatArray:
        """Most reward (N,), above the floor and below; relative to plain routing's ratio by default."""
        divisor = np.broadcast_to(plain_wlr if reference is None else reference, plain_wlr.shape)
        ratio, plain = self.mass * (self.plain_mass / divisor)[:, None] / self.latency, (plain_wlr / divisor)[:, None]
        shortfall = floor - self.mass
        below = np.minimum(ratio, plain) - penalty * shortfall
        return np.where(shortfall > ROUNDING, below, ratio).max(axis=1)


def everything(observation: Observation, scenario: Scenario) -> Everything:
    """Try every selection of every token: feasible up to some 10^4 token counts of the experts."""
    weights = observation.gate_weights.astype(np.float64)
    count, tokens, experts = weights.shape
    # A token count of each expert is one number to the base J + 1, so that one more token of an expert is a shift.
    digit = (tokens + 1) ** np.arange(experts)
    mass = np.full((count, (tokens + 1) ** experts), -np.inf)
    mass[:, 0] = 0.0
    for token in range(tokens):
        before, mass = mass, np.full_like(mass, -np.inf)
        for chosen in options(experts, scenario.model.top_k):
            shift, gained = digit[chosen].sum(), weights[:, token, chosen].sum(axis=1, keepdims=True)
            np.maximum(mass[:, shift:], before[:, :-shift] + gained, out=mass[:, shift:])
    reached = np.flatnonzero(mass[0] >= 0.0)
    counts = reached[:, None] // digit % (tokens + 1)
    plain_mass = (weights * selection.top_k(observation.gate_weights, scenario.model.top_k)).sum(axis=(1, 2))
    return Everything(mass[:, reached] / plain_mass[:, None], latencies(counts, observation, scenario), plain_mass)


def options(experts: int, top_k: int) -> list[list[int]]:
    """What a token may use: all sets of 1 to K experts."""
    return [list(chosen) for size in range(1, top_k + 1) for chosen in combinations(range(experts), size)]


def latencies(counts: FloatArray, observation: Observation, scenario: Scenario) -> FloatArray:
    """Seconds (N, C) with (C, E) tokens of each expert, and an exact split of the band."""
    compute, envs = scenario.compute_model, len(observation.load)
    # Devices know their tokens and how many of their experts are used: equal ones need to be solved only once.
    on_device = compute.per_device(counts.astype(np.float64)), compute.per_device((counts > 0).astype(np.float64))
    _, first, which = np.unique(np.hstack(on_device), axis=0, return_index=True, return_inverse=True)

    def spread(values: FloatArray) -> FloatArray:
        return np.repeat(values, len(first), axis=0)

    per_expert = np.tile(counts[first].astype(np.float64), (envs, 1))
    seconds = compute_time(per_expert, spread(observation.load), compute)
    gains = spread(observation.gain_dl), spread(observation.gain_ul)
    _, latency = bandwidth.allocate(compute.per_device(per_expert), seconds, *gains, scenario.radio_link)
    return latency.reshape(envs, -1)[:, which]
