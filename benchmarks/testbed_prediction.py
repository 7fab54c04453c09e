"""Predicted and measured: 30 passes of each policy over 8 devices of this machine, links held to the channel.

A real model is split over processes, the simulator predicts each layer, and the layer is measured. Bars: the median
absolute error of the layer latency at most 5 %, its 95th percentile at most 15 %; policies rank as in the simulator,
and each one's latency over plain top-K's, paired, is within 3 points of what is predicted. `jetson` has 32 layers; its
cell is run with as many as the model has.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from benchmarks import harness

from evaluation.comparison import Comparison, compare
from evaluation.episodes.contenders import check_fit, find_contenders
from evaluation.episodes.live import Live, opened
from evaluation.episodes.plan import Plan
from evaluation.episodes.reader import find_reader
from wdmoe_env import Scenario, load_scenario
from wdmoe_env.console.words import words

CELLS: Final = ("tiny-moe", "jetson")
COLUMNS: Final = (
    *("policy", "layers", "predicted\nms", "measured\nms", "error,\nmedian", "error,\n95th"),
    *("vs top-k,\nmeasured", "predicted", "points\napart", "rank, measured\n(predicted)"),
)


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    model: Path
    """Folder of a small model: 4 layers of 8 experts, 2 a token, such as `python -m wdmoe_env.moe train` makes."""
    text: str = ""
    """Files for it to read, separated by commas; by default what such a model has not seen."""
    policies: str = "top-k,top-k+bandwidth,wdmoe,price,pretrained:ppo"
    """Policies, as of evaluate.py."""
    passes: int = 32
    """Forward passes of each."""
    links: Literal["paced", "kernel"] = "paced"
    """Who holds the links to the channel's rates: the senders, or the kernel (root alone)."""
    slow_down: float = 8.0
    """Stretches all emulated times; measured ones are divided by it."""
    seed: int = 0
    """Of the held-out episodes."""


@dataclass(frozen=True)
class Row:
    """One policy in one cell; milliseconds and shares."""

    cell: str
    policy: str
    layers: int
    predicted_ms: float
    measured_ms: float
    error: float
    error_p95: float
    measured_vs_top_k: float
    predicted_vs_top_k: float
    rank: int
    predicted_rank: int


def main(options: Options) -> None:
    title = (
        f"layer latency, links {options.links}, all times stretched {options.slow_down:g} times while they are measured"
    )
    with harness.Report(options, COLUMNS, title=title) as report:
        for cell in CELLS:
            report.heading(cell)
            for row in rows(cell, options):
                points = 100.0 * (row.measured_vs_top_k - row.predicted_vs_top_k)
                cells = [f"{row.layers}", *(f"{ms:.2f}" for ms in (row.predicted_ms, row.measured_ms))]
                cells += [f"{100 * share:.1f} %" for share in (row.error, row.error_p95)]
                cells += [f"{ratio:.3f}" for ratio in (row.measured_vs_top_k, row.predicted_vs_top_k)]
                rank = "" if row.policy == "all" else f"{row.rank} ({row.predicted_rank})"
                report.add(asdict(row), [row.policy, *cells, f"{points:+.1f}", rank])


def scenario_of(cell: str) -> Scenario:
    """The cell, for a model of 4 layers of 8 experts."""
    if cell == "tiny-moe":
        return load_scenario(cell)
    model = {"layers": 4, "experts": 8, "top_k": 2}
    return load_scenario(cell, model=model, gating={"bank_passes": 64}, based_on=cell)


def rows(cell: str, options: Options) -> Iterator[Row]:
    """One row for each policy, and one for all."""
    scenario = scenario_of(cell)
    plan = Plan(
        max(1, round(options.passes / scenario.traffic.passes_per_episode)),
        options.seed,
        decisions=1,
        bound_steps=0,
        side_by_side=1,
    )
    contenders = find_contenders(words(options.policies), transfer=True)
    check_fit(contenders, [scenario])
    with opened(f"local:{scenario.num_devices}", options.model, scenario, options.links, options.slow_down) as live:
        reading = find_reader(str(options.model), words(options.text), live).reading(scenario, plan)
        yield from summed(cell, compare(scenario, contenders, plan, reading=reading), live)


def summed(cell: str, comparison: Comparison, live: Live) -> Iterator[Row]:
    """The rows of a comparison, and of what was recorded."""
    records: dict[str, list[Any]] = {}
    for episode in live.episodes:
        records.setdefault(episode.policy, []).extend(episode.records)
    measured, predicted = (
        {result.name: result.estimates[name].of_mean.value for result in comparison.results}
        for name in ("latency_vs_top_k", "predicted_vs_top_k")
    )
    ranks, expected = (
        {name: sorted(values.values()).index(v) + 1 for name, v in values.items()} for values in (measured, predicted)
    )
    everyone = [record for result in comparison.results for record in records[result.name]]
    for name in [*measured, "all"]:
        of = everyone if name == "all" else records[name]
        took, said = (np.array([getattr(record, what) for record in of]) for what in ("measured", "predicted"))
        error = np.abs(took / said - 1.0)
        yield Row(
            cell,
            name,
            len(of),
            1e3 * float(np.median(said)),
            1e3 * float(np.median(took)),
            float(np.median(error)),
            float(np.quantile(error, 0.95)),
            measured.get(name, float(np.mean(list(measured.values())))),
            predicted.get(name, float(np.mean(list(predicted.values())))),
            ranks.get(name, 0),
            expected.get(name, 0),
        )


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
