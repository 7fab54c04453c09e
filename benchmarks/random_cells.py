"""`price` against the proven bound in random cells: 2 to 40 devices, 1 to 4 experts each, few and many tokens.

Each cell is a scenario of its own: devices that compute linearly or by a roofline (figures between a phone's and a
server's), distances, fading, K of 1 to 8, 4 to 256 tokens, any gating family; channels and loads are known. Bars:
`price` at least 97 % of the bound above the mass floor in the mean and 85 % in the worst cell, no decision above its
bound, no decision of a single cell slower than 50 ms.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from benchmarks import harness
from benchmarks.joint import States, check_below, draw_states, gathered, outcome_of

import baselines
from baselines import bound
from baselines.joint.problem import joint_problem
from wdmoe_env import Scenario, load_scenario

POLICIES = ("price", "top-k+bandwidth")


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    seed: int = 0
    """Seed of the cells."""
    cells: int = 200
    """How many cells are drawn."""
    steps: int = 4
    """States of each."""


@dataclass(frozen=True)
class Row:
    """One cell: its shape, shares of the bound above the floor (mean and worst state), milliseconds of one decision."""

    cell: int
    devices: int
    experts: int
    top_k: int
    tokens: int
    compute: str
    price: float
    price_worst: float
    plain: float
    price_ms: float
    bound_ms: float


def random_scenario(rng: np.random.Generator) -> Scenario:
    """Draw a cell."""
    devices = int(rng.integers(2, 40, endpoint=True))
    hosted = rng.integers(1, 4, size=devices, endpoint=True)
    host = rng.permutation(np.repeat(np.arange(devices), hosted)).tolist()
    kind = str(rng.choice(["linear", "roofline"]))
    hidden = int(2 ** rng.integers(9, 12, endpoint=True))
    groups = [{"name": "device", "count": 1, "compute": _compute(rng, kind)} for _ in range(devices)]
    return load_scenario(
        "paper",
        name="random",
        model={
            "name": "random",
            "layers": 4,
            "hidden_size": hidden,
            "intermediate_size": int(hidden * rng.uniform(0.5, 3.5)),
            "experts": len(host),
            "top_k": int(rng.integers(1, min(8, len(host)), endpoint=True)),
        },
        devices=groups,
        host=host,
        radio={"bandwidth_hz": 10.0 ** rng.uniform(7.0, 8.3), "device_power_w": 10.0 ** rng.uniform(-1.3, -0.3)},
        channel={
            "path_loss": str(rng.choice(["free-space", "umi", "indoor-office"])),
            "distance_m": {"low": 5.0, "high": float(10.0 ** rng.uniform(1.3, 2.5))},
            "fading": {"kind": str(rng.choice(["none", "rayleigh", "rician"]))},
        },
        load={"mean": float(rng.uniform(0.0, 0.4)), "std": float(rng.uniform(0.0, 0.2))},
        traffic={"tokens": int(2.0 ** rng.uniform(2.0, 8.0))},
        gating={"family": str(rng.choice(["mixtral", "olmoe", "uniform"])), "bank_passes": 4},
    )


def _compute(rng: np.random.Generator, kind: str) -> dict[str, Any]:
    if kind == "linear":
        return {"kind": kind, "flops_per_s": 10.0 ** rng.uniform(11.5, 13.5)}
    return {
        "kind": kind,
        "peak_flops": 10.0 ** rng.uniform(12.0, 13.5),
        "memory_bandwidth": 10.0 ** rng.uniform(10.5, 12.0),
        "launch_s": 10.0 ** rng.uniform(-5.0, -3.5),
    }


def measure(options: Options) -> Iterator[Row]:
    """Yield a row for each cell.

    Raises:
        ArithmeticError: a decision is above its bound.
    """
    for cell in range(options.cells):
        scenario = random_scenario(np.random.default_rng([options.seed, cell]))
        states = draw_states(scenario, options.steps, options.seed)
        start = time.process_time()
        most = bound.wlr_bound(states.observation, scenario)
        bound_ms = 1e3 * (time.process_time() - start) / options.steps
        shares = {}
        for name in POLICIES:
            policy = baselines.make(name)
            policy.reset(scenario, options.steps)
            result = outcome_of(policy.decide(states.observation), states)
            ratio = result.mass * joint_problem(states.observation, scenario).plain_mass / result.latency
            check_below(ratio, most, f"cell {cell} of seed {options.seed}: ratio of {name}", states)
            shares[name] = ratio / most
        kind = scenario.devices[0].compute.kind
        shape = (scenario.num_devices, scenario.model.experts, scenario.model.top_k, scenario.traffic.tokens, kind)
        share = shares["price"]
        means = float(share.mean()), float(share.min()), float(shares["top-k+bandwidth"].mean())
        yield Row(cell, *shape, *means, price_ms=_single_ms(states), bound_ms=bound_ms)


def _single_ms(states: States) -> float:
    """Milliseconds of processor time that `price` takes for one state alone, the median of three."""
    one = gathered([(states.observation, np.array([0]))])
    policy, spent = baselines.make("price"), []
    policy.reset(states.scenario, 1)
    for _ in range(3):
        start = time.process_time()
        policy.decide(one)
        spent.append(1e3 * (time.process_time() - start))
    return float(np.median(spent))


HEADS: Final = ("cells", "price, mean", "worst cell", "worst state", "top-k+bandwidth", "ms of one cell, most")
LAST: Final = 8
"""Cells in which `price` is farthest from the bound: they are named below the table."""


def main(options: Options) -> None:
    title = f"{options.cells} random cells of seed {options.seed}: shares of the bound above the floor"
    rows: list[Row] = []
    with harness.Report(options, HEADS, title=title) as report:
        for row in measure(options):
            rows.append(row)
            report.print_row(row)
        kinds = {kind: [row for row in rows if row.compute == kind] for kind in ("linear", "roofline")}
        for name, some in {"all": rows, **kinds}.items():
            if some:
                report.table.add_row(name, *_summary(some))
        for row in sorted(rows, key=lambda row: row.price)[:LAST]:
            report.note(json.dumps(asdict(row)))


def _summary(rows: list[Row]) -> list[str]:
    shares = np.array([row.price for row in rows])
    worst, plain = min(row.price_worst for row in rows), np.mean([row.plain for row in rows])
    shown = (shares.mean(), shares.min(), worst, plain)
    return [*(f"{value:.1%}" for value in shown), f"{max(row.price_ms for row in rows):.1f}"]


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__, one_thread=True))
