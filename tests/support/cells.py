"""Random cells with gains, loads and gate weights of every kind, tiny ones for the exhaustive solver among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wdmoe_env import Observation, Scenario, load_scenario
from wdmoe_env.arrays import FloatArray, GateArray

GATES = ("peaked", "even", "flat", "ties")


@dataclass(frozen=True)
class Cells:
    """A scenario, and N states of it."""

    scenario: Scenario
    observation: Observation


def scenario_of(
    rng: np.random.Generator, kind: str, host: Sequence[int], top_k: int, tokens: int, floor: float = 0.95
) -> Scenario:
    """A cell with one Mixtral expert for each entry of `host`, and devices of random speed, all `linear` or `roofline`.

    Speeds are such that sending, computing and reading the weights take times of the same order.
    """

    def compute() -> dict[str, float | str]:
        if kind == "linear":
            return {"kind": kind, "flops_per_s": 10.0 ** rng.uniform(11.5, 14.0)}
        return {
            "kind": kind,
            "peak_flops": 10.0 ** rng.uniform(12.0, 14.0),
            "memory_bandwidth": 10.0 ** rng.uniform(11.0, 13.0),
            "launch_s": 10.0 ** rng.uniform(-5.0, -3.0),
        }

    return load_scenario(
        "paper",
        model={"layers": 1, "experts": len(host), "top_k": top_k},
        devices=[{"name": "device", "compute": compute()} for _ in range(max(host) + 1)],
        host=list(host),
        traffic={"tokens": tokens},
        reward={"mass_floor": floor},
    )


def random_cells(rng: np.random.Generator, scenario: Scenario, count: int, low_db: float = -120.0) -> Cells:
    """Draw `count` cells: gains from `low_db` to -60 dB, loads from 0 to 0.95, gate weights of each kind in turn."""
    shape = count, scenario.num_devices
    tokens, experts = scenario.traffic.tokens, scenario.model.experts
    weights = np.stack([gate_weights(rng, GATES[cell % len(GATES)], tokens, experts) for cell in range(count)])
    load = rng.uniform(0.0, 0.95, shape)
    load[rng.random(shape) < 0.2], load[rng.random(shape) < 0.1] = 0.0, 0.95
    down = rng.uniform(low_db, -60.0, shape)
    return Cells(scenario, observe(weights, 10.0 ** (down / 10.0), load, 10.0 ** (rng.normal(down, 5.0) / 10.0)))


def gate_weights(rng: np.random.Generator, kind: str, tokens: int, experts: int) -> GateArray:
    """Rows (J, E) that sum to 1: a few large weights, weights of all sizes, nearly equal ones, or many equal ones."""
    if kind == "ties":
        weights = rng.integers(1, 3, endpoint=True, size=(tokens, experts)).astype(np.float64)
    else:
        sharpness = {"peaked": 3.0, "even": 1.0, "flat": 0.1}[kind]
        weights = np.exp(sharpness * rng.standard_normal((tokens, experts)))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def observe(weights: GateArray, gain: FloatArray, load: FloatArray, gain_ul: FloatArray | None = None) -> Observation:
    """What is known of cells with (N, J, E) gate weights, (N, U) gains of both links, and (N, U) loads."""
    layer = np.zeros(len(weights), dtype=np.int64)
    uplink = gain if gain_ul is None else gain_ul
    return Observation(gain, uplink, weights, load, np.zeros_like(load), layer, gain, uplink)


def tiny_scenario(rng: np.random.Generator) -> Scenario:
    """A cell of 1 to 4 devices, some of them with several experts, and 1 to 6 tokens."""
    devices = int(rng.integers(1, 4, endpoint=True))
    host = [*range(devices), *rng.integers(0, devices, size=rng.choice([0, 0, 1, 2]))][:5]
    top_k = int(rng.integers(1, min(len(host), 3), endpoint=True))
    most = 6 if len(host) < 5 else 4
    floor = float(rng.choice([0.5, 0.8, 0.9, 0.95, 0.95, 0.99, 1.0]))
    kind = str(rng.choice(["linear", "roofline"]))
    return scenario_of(
        rng, kind, rng.permutation(host).tolist(), top_k, int(rng.integers(1, most, endpoint=True)), floor
    )
