"""Exact bandwidth allocation against a well-scaled SLSQP with analytic gradients: result and speed, on one core.

Bar: in a batch of 1,000, at least 200 times faster per problem.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks import harness

from baselines import slsqp
from wdmoe_env.arrays import FloatArray
from wdmoe_env.scenario import load_scenario
from wdmoe_env.system import bandwidth
from wdmoe_env.system.latency import Radio, block_latency, carrier_to_noise_density, communication_time, device_time

COLUMNS: Final = ("devices", "exact, batch", "exact, one", "SLSQP", "largest difference", "speed-up", "of one")

Problems = tuple[FloatArray, FloatArray, FloatArray, FloatArray]


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    devices: tuple[int, ...] = (2, 8, 16, 64)
    """Devices a problem has."""
    batch: int = 1000
    """Problems that are solved at once."""
    sample: int = 40
    """Problems of the batch that SLSQP solves, one after the other."""
    repeats: int = 7
    """Timings of each, of which the median counts."""
    seed: int = 0
    """Seed of the problems."""


@dataclass(frozen=True)
class Row:
    """One number of devices: microseconds a problem, and the largest relative difference of the latencies."""

    devices: int
    batch_us: float
    single_us: float
    slsqp_us: float
    difference: float
    speedup: float
    speedup_single: float


def draw_problems(devices: int, count: int, rng: np.random.Generator) -> Problems:
    """Tokens, compute times and gains of `count` cells like the paper's: (count, devices) each."""
    distance = rng.uniform(20.0, 300.0, (count, devices))
    path_gain = 10.0 ** (-0.1 * (32.4 + 20.0 * np.log10(3.5) + 20.0 * np.log10(distance)))
    tokens = rng.multinomial(16 * devices, rng.dirichlet(np.full(devices, 4.0), count)).astype(np.float64)
    compute_time = tokens * load_scenario("paper").model.expert_flops / rng.uniform(5e12, 20e12, (count, devices))
    fading = rng.exponential(size=(2, count, devices))
    return tokens, compute_time, path_gain * fading[0], path_gain * fading[1]


def latency_of(split: FloatArray, problems: Problems, radio: Radio) -> FloatArray:
    """Latency (count,) that a split leads to, in seconds."""
    tokens, compute_time, *gains = problems
    cn0 = carrier_to_noise_density(gains[0], gains[1], radio)
    return block_latency(device_time(tokens, communication_time(split, cn0, radio), compute_time))


def measure(devices: int, options: Options) -> Row:
    """Time both methods on the same problems."""
    radio = load_scenario("paper").radio_link
    problems = draw_problems(devices, options.batch, np.random.default_rng(options.seed))
    sample: Problems = tuple(values[: options.sample] for values in problems)  # type: ignore[assignment]
    first: Problems = tuple(values[:1] for values in problems)  # type: ignore[assignment]
    solved = len(sample[0])
    batch = harness.median_seconds(lambda: bandwidth.allocate(*problems, radio), options.repeats) / len(problems[0])
    many = harness.median_seconds(lambda: [bandwidth.allocate(*first, radio) for _ in range(20)], options.repeats)
    single = many / 20
    reference = harness.median_seconds(lambda: slsqp.allocate(*sample, radio), min(options.repeats, 5)) / solved
    ours = latency_of(bandwidth.allocate(*sample, radio)[0], sample, radio)
    theirs = latency_of(slsqp.allocate(*sample, radio), sample, radio)
    difference = float(np.abs(ours / theirs - 1.0).max())
    return Row(devices, batch * 1e6, single * 1e6, reference * 1e6, difference, reference / batch, reference / single)


def cells(row: Row) -> list[str]:
    """A row as text."""
    return [
        *(f"{row.devices}", f"{row.batch_us:.2f}", f"{row.single_us:.0f}", f"{row.slsqp_us:,.0f}"),
        *(f"{row.difference:.1e}", f"{row.speedup:,.0f} x", f"{row.speedup_single:,.1f} x"),
    ]


def main(options: Options) -> None:
    title = f"Bandwidth allocation, us a problem (one core, batch of {options.batch:,})"
    with harness.Report(options, COLUMNS, title=title, text=0) as report:
        for devices in options.devices:
            row = measure(devices, options)
            report.add(row, cells(row))


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__, one_thread=True))
