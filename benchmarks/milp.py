"""The joint optimum of cells with few tokens by HiGHS: whole tokens, whole experts, beyond exhaustive search.

Within a latency T the band that a device needs depends on its tokens and its used experts alone. So "most gate mass
within T" is a mixed-integer linear program with a column for each device and each pair of these numbers; no tangent, no
relaxation. Needs are found by halving from the simulator's own seconds of a token, apart from the code that is tested.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from wdmoe_env import Observation, Scenario
from wdmoe_env.arrays import BoolArray, FloatArray
from wdmoe_env.system import bandwidth, selection
from wdmoe_env.system.compute import compute_time
from wdmoe_env.system.latency import carrier_to_noise_density, communication_time

HALVINGS = 60
TIME_LIMIT_S = 120.0


@dataclass(frozen=True)
class Columns:
    """What each device may be asked for within a latency: device, used experts, tokens and share of the band, (C,)."""

    device: FloatArray
    used: FloatArray
    tokens: FloatArray
    share: FloatArray


def columns(observation: Observation, scenario: Scenario, cell: int, latency: float) -> Columns:
    """Find all that some device can do within a latency with at most the whole band, nothing included."""
    hosted, each = np.bincount(scenario.hosts), scenario.traffic.tokens
    grid = [
        (device, used, tokens)
        for device in range(len(hosted))
        for used in range(hosted[device] + 1)
        for tokens in range(used, used * each + 1)
    ]
    device, used, tokens = np.array(grid).T
    compute, speed = scenario.compute_model, 1.0 - observation.load[cell]
    left = latency - used * (compute.fixed_s / speed)[device]
    seconds = left / np.maximum(tokens, 1) - (compute.token_s / speed)[device]
    share = _shares(observation, scenario, cell, device, np.where(tokens > 0, seconds, np.inf))
    possible = np.isfinite(share)
    return Columns(device[possible], used[possible], tokens[possible], share[possible])


def _shares(
    observation: Observation, scenario: Scenario, cell: int, device: FloatArray, seconds: FloatArray
) -> FloatArray:
    """Least share of the band with which a token takes no more seconds on the air; infinite if there is none."""
    radio = scenario.radio_link
    cn0 = carrier_to_noise_density(observation.gain_dl, observation.gain_ul, radio)[:, cell][:, device]

    def enough(share: FloatArray) -> BoolArray:
        return communication_time(share * radio.bandwidth_hz, cn0, radio) <= seconds

    low, high = np.zeros(len(device)), np.ones(len(device))
    never = ~enough(high)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        good = enough(middle)
        low, high = np.where(good, low, middle), np.where(good, middle, high)
    high[np.isinf(seconds)] = 0.0
    return np.where(never, np.inf, high)


def most_mass(
    observation: Observation, scenario: Scenario, cell: int, latency: float, least: float, gap: float = 1e-6
) -> tuple[float, float, BoolArray] | None:
    """Most gate mass within a latency, what HiGHS proves about it, and the (J, E) selection; None if below `least`."""
    weights = observation.gate_weights[cell].T.astype(np.float64)
    (experts, tokens), found = weights.shape, columns(observation, scenario, cell, latency)
    devices, count, pairs = scenario.num_devices, len(found.device), experts * tokens
    pair, expert, column = np.arange(pairs).reshape(experts, tokens), pairs + np.arange(experts), pairs + experts
    row, entry, value = list[FloatArray](), list[FloatArray](), list[FloatArray]()
    low, high = list[float](), list[float]()

    def add(index: FloatArray, factor: FloatArray | float, least: float, most: float) -> None:
        row.append(np.full(len(index), len(low)))
        entry.append(index)
        value.append(np.broadcast_to(factor, len(index)))
        low.append(least)
        high.append(most)

    for e in range(experts):
        for j in range(tokens):
            add(np.array([pair[e, j], expert[e]]), np.array([1.0, -1.0]), -np.inf, 0.0)
    for j in range(tokens):
        add(pair[:, j], 1.0, 1.0, scenario.model.top_k)
    for device in range(devices):
        own, hosts = np.flatnonzero(found.device == device), np.flatnonzero(scenario.hosts == device)
        there = pair[hosts].ravel()
        add(column + own, 1.0, 1.0, 1.0)
        for index, each in ((there, found.tokens[own]), (expert[hosts], found.used[own])):
            add(np.r_[index, column + own], np.r_[np.ones(len(index)), -each], 0.0, 0.0)
    add(column + np.arange(count), found.share, -np.inf, 1.0)
    add(pair.ravel(), weights.ravel(), least, np.inf)
    size = column + count
    table = coo_array((np.concatenate(value), (np.concatenate(row), np.concatenate(entry))), (len(low), size))
    answer = milp(
        np.r_[-weights.ravel(), np.zeros(size - pairs)],
        integrality=np.ones(size),
        bounds=Bounds(0.0, 1.0),
        constraints=LinearConstraint(table.tocsr(), low, high),
        options={"mip_rel_gap": gap, "time_limit": TIME_LIMIT_S},
    )
    if answer.status == 2:
        return None
    assert answer.x is not None, answer.message
    chosen = answer.x[:pairs].reshape(experts, tokens).T > 0.5
    return float((weights.T * chosen).sum()), -float(answer.mip_dual_bound), chosen


def most_wlr(
    observation: Observation, scenario: Scenario, cell: int, floor: float, reached: float, gap: float = 1e-3
) -> tuple[float, float]:
    """Most gate mass over latency above a mass floor: what is reached, at least `reached`, and what none exceeds.

    From the latency that no decision as good exceeds, down: one within T keeps at most the mass M that HiGHS finds, so
    that one of more than the best ratio takes less than M over that ratio.
    """
    weights, k = observation.gate_weights[cell].astype(np.float64), scenario.model.top_k
    plain = float(np.sort(weights, axis=1)[:, -k:].sum())
    one = _single(observation, cell)
    latency = plain / (reached * (1.0 + gap))
    while True:
        answer = most_mass(observation, scenario, cell, latency, floor * plain * (1.0 - 1e-9))
        if answer is None:
            return reached, reached * (1.0 + gap)
        mass, most, chosen = answer
        reached = max(reached, mass / float(selection_latency(chosen[None], one, scenario)[0]))
        latency = min(most / (reached * (1.0 + gap)), latency * (1.0 - 1e-9))


def _single(observation: Observation, cell: int) -> Observation:
    names = ("gain_dl", "gain_ul", "gate_weights", "load", "last_device_time", "layer")
    return replace(observation, routed=None, plain=None, **{name: getattr(observation, name)[[cell]] for name in names})


def selection_latency(chosen: BoolArray, observation: Observation, scenario: Scenario) -> FloatArray:
    """Seconds (N,) that (N, J, E) selections take, with an exact split of the band."""
    per_expert = selection.tokens_per_expert(chosen)
    compute = scenario.compute_model if observation.compute is None else observation.compute
    gains = observation.gain_dl, observation.gain_ul
    seconds = compute_time(per_expert, observation.load, compute)
    return bandwidth.allocate(compute.per_device(per_expert), seconds, *gains, scenario.radio_link)[1]
