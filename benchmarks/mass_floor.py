"""Whether breaking the floor on gate mass ever pays: the best decision above it against all that fall below.

In random cells of many kinds, in which devices are out of reach too, experts are dropped and tokens sent elsewhere,
with an exact split of the band. The same decisions are judged by the reward as it is, and by the ratio less the penalty
times the shortfall, which is what the reward was before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from benchmarks import harness

from wdmoe_env import Decision, Observation, Scenario, allocation, load_scenario
from wdmoe_env.arrays import BoolArray, FloatArray
from wdmoe_env.interface import plain_routing
from wdmoe_env.simulator.step_metrics import Layer, step_metrics
from wdmoe_env.system import metrics, selection
from wdmoe_env.system.compute import compute_time
from wdmoe_env.system.floor import keep_floor
from wdmoe_env.system.latency import carrier_to_noise_density, communication_time
from wdmoe_env.system.layer import layer_times

PER_CELL: Final = 50
"""States of each random cell."""
RATIOS: Final = ("wlr", "wlr_token", "wlr_device")
Form = tuple[str, str, Literal["linear", "log"]]
FORMS: Final[tuple[Form, ...]] = (
    *((ratio, "top-k", "linear") for ratio in RATIOS),
    ("wlr", "none", "linear"),
    ("wlr", "top-k", "log"),
    ("wlr", "none", "log"),
)
"""What is rewarded: ratio, normalisation, scale."""
COLUMNS: Final = ("reward", "states", "below the floor", "penalty alone: it pays in", "wins at most", "now: it pays in")


@dataclass(frozen=True)
class Options(harness.Options):
    """What is tried."""

    states: int = 2000
    """Random states."""
    seed: int = 0
    """Seed of cells, states and decisions."""
    penalty: float = 20.0
    """`reward.penalty`; 20 is that of most presets."""


@dataclass(frozen=True)
class Row:
    """What one form of the reward pays for, over all states: in how many some decision below the floor has most."""

    ratio: str
    normalize: str
    scale: str
    states: int
    below: int
    """Decisions below the floor that were tried."""
    before: int
    """States in which one of them had more reward than all above it, by the penalty alone."""
    most_excess: float
    """The most that one of them won so."""
    now: int
    """States in which one of them has more reward than all above it, as the reward is."""


@dataclass(frozen=True)
class Tried:
    """What D decisions bring in each of N states of a cell, all (D, N); the first is plain top-K with equal shares."""

    floor: float
    mass: FloatArray
    ratios: dict[str, FloatArray]

    def reward(self, form: Form, penalty: float) -> FloatArray:
        """Reward as it is."""
        name, normalize, scale = form
        plain = self.ratios[name][0]
        reference = plain if normalize == "top-k" else 1.0
        return metrics.reward(self.ratios[name], reference, self.mass, self.floor, penalty, plain, scale)

    def penalised(self, form: Form, penalty: float) -> FloatArray:
        """The ratio or its logarithm, less a penalty: the reward without any limit below the floor."""
        name, normalize, scale = form
        value = self.ratios[name] / (self.ratios[name][0] if normalize == "top-k" else 1.0)
        value = np.log(value) if scale == "log" else value
        return value - penalty * np.maximum(self.floor - self.mass - 1e-6, 0.0)

    @property
    def below(self) -> BoolArray:
        """Which decisions break the floor."""
        return self.mass < self.floor - 1e-6


def cell(rng: np.random.Generator) -> Scenario:
    """A random cell: 2 to 12 devices with 1 to 4 experts each, K up to 8, 1 to 32 tokens, linear or roofline."""
    devices = int(rng.integers(2, 12, endpoint=True))
    experts = devices * int(rng.integers(1, 4, endpoint=True))
    return load_scenario(
        "paper",
        model={"layers": 1, "experts": experts, "top_k": int(rng.integers(1, min(experts, 8), endpoint=True))},
        devices=[{"name": "device", "compute": _compute(rng)} for _ in range(devices)],
        traffic={"tokens": int(rng.choice([1, 2, 4, 8, 16, 32]))},
        reward={"mass_floor": float(rng.choice([0.5, 0.8, 0.9, 0.95, 0.99]))},
    )


def _compute(rng: np.random.Generator) -> dict[str, Any]:
    if rng.random() < 0.5:
        return {"kind": "linear", "flops_per_s": 10.0 ** rng.uniform(11.5, 14.0)}
    speed = {"peak_flops": 10.0 ** rng.uniform(12.0, 14.0), "memory_bandwidth": 10.0 ** rng.uniform(11.0, 13.0)}
    return {"kind": "roofline", **speed, "launch_s": 10.0 ** rng.uniform(-5.0, -3.0)}


def states(rng: np.random.Generator, scenario: Scenario, count: int) -> Observation:
    """Random states: gains of -130 to -60 dB, a sixth of the devices out of reach at -150 to -200 dB, any load."""
    shape = count, scenario.num_devices
    down = rng.uniform(-130.0, -60.0, shape)
    out = rng.random(shape) < 1 / 6
    down[out] = rng.uniform(-200.0, -150.0, shape)[out]
    up = 10.0 ** (rng.normal(down, 3.0) / 10.0)
    gain, load = 10.0 ** (down / 10.0), rng.uniform(0.0, 0.95, shape)
    sharpness = 10.0 ** rng.uniform(-1.5, 0.7)
    weights = rng.gamma(sharpness, size=(count, scenario.traffic.tokens, scenario.model.experts)) + 1e-6
    weights /= weights.sum(axis=-1, keepdims=True)
    layer = np.zeros(count, dtype=np.int64)
    return Observation(gain, up, weights.astype(np.float32), load, np.zeros(shape), layer, gain, up)


def wishes(rng: np.random.Generator, scenario: Scenario, seen: Observation) -> Iterator[BoolArray]:
    """Selections that save time, whatever mass they keep."""
    compute, model, count = scenario.compute_model, scenario.model, len(seen.load)
    cn0 = carrier_to_noise_density(seen.gain_dl, seen.gain_ul, scenario.radio_link)
    sending = communication_time(allocation.uniform(scenario, count), cn0, scenario.radio_link)
    seconds = sending + (compute.fixed_s + compute.token_s) / (1.0 - seen.load)
    rank = (-seconds).argsort(axis=1).argsort(axis=1)
    for avoided in range(1, min(4, scenario.num_devices)):
        yield selection.by_price(
            seen.gate_weights, (rank < avoided).astype(float), model.top_k, compute.host, candidates="all"
        )
    relative = seconds / np.median(seconds, axis=1, keepdims=True)
    for power in (0.0, 0.5, 1.0):
        price = np.minimum(10.0 ** rng.uniform(-2.0, -0.3, (count, 1)) * relative**power, 1.0)
        yield selection.by_price(seen.gate_weights, price, model.top_k, compute.host, candidates="all")
    plain = plain_routing(seen, model.top_k)
    kept = plain & (rng.random(plain.shape) < rng.uniform(0.3, 1.0, (count, 1, 1)))
    yield kept | selection.top_k(np.where(kept, 1.0, seen.gate_weights), 1)


def attempt(rng: np.random.Generator, scenario: Scenario, seen: Observation) -> Tried:
    """Judge plain top-K, with equal shares and with an exact split, and each wish as it is and lifted to the floor."""
    plain, floor = plain_routing(seen, scenario.model.top_k), scenario.reward.mass_floor
    equal = allocation.uniform(scenario, len(seen.load))
    even = np.ones((len(seen.load), scenario.model.experts))
    asked = [plain]
    for wish in wishes(rng, scenario, seen):
        asked += [wish, keep_floor(seen.gate_weights, wish, plain, even, floor)]
    decisions = [Decision(plain, equal)]
    decisions += [Decision(chosen, allocation.allocate_for(chosen, seen, scenario)) for chosen in asked]
    reference = _layer(decisions[0], scenario, seen)
    found = [step_metrics(_layer(decision, scenario, seen), reference, scenario) for decision in decisions]
    mass, *ratios = (np.stack([values[name] for values in found]) for name in ("retained_mass", *RATIOS))
    return Tried(floor, mass, dict(zip(RATIOS, ratios, strict=True)))


def _layer(decision: Decision, scenario: Scenario, seen: Observation) -> Layer:
    routing, compute = selection.routing(seen.gate_weights, decision.selection), scenario.compute_model
    cn0 = carrier_to_noise_density(seen.gain_dl, seen.gain_ul, scenario.radio_link)
    computing = compute_time(routing.tokens, seen.load, compute)
    tokens = compute.per_device(routing.tokens)
    return routing, layer_times(tokens, computing, decision.bandwidth, cn0, scenario.radio_link)


def margin(reward: FloatArray, below: BoolArray) -> FloatArray:
    """How much more reward the best decision below the floor has than the best above it: (N,), at most 0 if none."""
    best = np.where(below, -np.inf, reward).max(axis=0)
    return np.asarray(np.where(below, reward, -np.inf).max(axis=0) - best)


def measure(count: int, seed: int, penalty: float) -> list[Row]:
    """Try random decisions in `count` random states, and say what each form of the reward pays for."""
    if count < 1:
        raise ValueError(f"states is {count}, expected at least 1")
    if not penalty >= 0.0:
        raise ValueError(f"penalty is {penalty}, expected at least 0")
    rng, tried = np.random.default_rng(seed), []
    for start in range(0, count, PER_CELL):
        scenario = cell(rng)
        tried.append(attempt(rng, scenario, states(rng, scenario, min(PER_CELL, count - start))))
    below = sum(int(one.below.sum()) for one in tried)
    rows = []
    for form in FORMS:
        before = np.concatenate([margin(one.penalised(form, penalty), one.below) for one in tried])
        now = np.concatenate([margin(one.reward(form, penalty), one.below) for one in tried])
        most_excess = float(max(before.max(), 0.0))
        rows.append(Row(*form, count, below, int((before > 0.0).sum()), most_excess, int((now > 0.0).sum())))
    return rows


def main(options: Options) -> None:
    with harness.Report(options, COLUMNS) as report:
        for row in measure(options.states, options.seed, options.penalty):
            name = f"{row.ratio}, normalize {row.normalize}, {row.scale}"
            counts = (f"{row.states:,}", f"{row.below:,}", f"{row.before:,}", f"{row.most_excess:,.4g}", f"{row.now:,}")
            report.add(asdict(row), [name, *counts])


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
