"""What retained gate mass means for a real model: its loss, as experts are dropped down to a mass, in four ways.

- `weight`: of all tokens of a layer, the experts of least weight first; no selection keeps the mass with fewer experts.
- `price`: as the baseline `price` selects for least latency at this mass floor, in the scenario's cells: tokens may get
  other experts than their top-K, and lose their best one.
- `price-drops`: the same, but experts may only be dropped.
- `random`: any expert but a token's best one.

`best alone` is what is left when every token keeps its best expert and no other. Loss is in bits per byte of the
model's own text, relative to plain top-K routing in the same streams, with 95 % intervals of a bootstrap over documents
(over streams, with few documents). From each curve follows the lowest mass floor that costs no more than --limit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import harness
from benchmarks.dropping import Dropping

import baselines
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan
from evaluation.episodes.reader import find_reader
from evaluation.episodes.reading import Reader, Reading
from evaluation.episodes.runner import PolicyRun, run_policy
from evaluation.estimates.statistics import estimate, paired_ratio
from evaluation.report import style
from wdmoe_env import Policy, Scenario, load_scenario
from wdmoe_env.console.words import words

MASSES: Final = "1.0,0.99,0.98,0.97,0.96,0.95,0.925,0.9,0.85,0.8"
WAYS: Final = {"weight": "#0072B2", "price": "#CC79A7", "price-drops": "#E69F00", "random": "#7f7f7f"}
"""Ways to drop, and their colours."""
ALONE: Final = "best alone"
LIMIT: Final = 0.005
TOKENS: Final = 64
COLUMNS: Final = (
    *("way", "mass floor", "retained", "experts/token", "latency vs top-k", "bits/byte"),
    "loss against top-k",
)


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    model: str
    """Folder of a local Hugging Face mixture-of-experts model."""
    text: str = ""
    """UTF-8 files, separated by commas (as for evaluate.py)."""
    scenario: str | None = None
    """Preset or YAML file; by default the paper's cell, with this model's shape."""
    streams: int = 128
    """Streams of text that are read."""
    seed: int = 0
    """Decides streams and cells."""
    masses: str = MASSES
    """Mass floors, separated by commas."""
    limit: float = LIMIT
    """Loss that is accepted."""
    plot: Path | None = None
    """Draw the curves to this PNG."""


@dataclass(frozen=True)
class Row:
    """What a way to drop brings at one mass."""

    way: str
    mass_floor: float | None
    retained_mass: float
    experts_per_token: float
    latency_vs_top_k: float
    bits_per_byte: float
    bits_vs_top_k: float
    low: float
    high: float


def measure(reading: Reading, scenario: Scenario, plan: Plan, masses: Sequence[float]) -> Iterator[Row]:
    """Yield the rows of all ways, each from the largest mass to the smallest, and `best alone` at the end."""
    plain = run_policy(baselines.make("top-k"), scenario, plan, reading=reading)
    for way in WAYS:
        for mass in sorted(masses, reverse=True):
            yield _row(way, mass, run_policy(policy(way, mass), scenario, plan, reading=reading), plain)
    yield _row(ALONE, None, run_policy(Dropping(0.0), scenario, plan, reading=reading), plain)


def policy(way: str, mass: float) -> Policy:
    """What drops in one of the `WAYS` down to a mass."""
    if way in ("price", "price-drops"):
        candidates = "all" if way == "price" else "top-k"
        return baselines.make("price", mass_floor=mass, objective="latency", candidates=candidates)
    return Dropping(mass, at_random=way == "random")


def _row(way: str, mass: float | None, run: PolicyRun, plain: PolicyRun) -> Row:
    found, bits = run.episodes, "bits_per_byte"
    loss = estimate([paired_ratio(found[bits], plain.episodes[bits])], clusters=run.clusters)
    latency = paired_ratio(found["latency_ms"], plain.episodes["latency_ms"])
    return Row(
        way=way,
        mass_floor=mass,
        retained_mass=float(found["retained_mass"].mean()),
        experts_per_token=float(found["experts_per_token"].mean()),
        latency_vs_top_k=float(latency.mean()),
        bits_per_byte=float(found[bits].mean()),
        bits_vs_top_k=loss.mean,
        low=loss.low,
        high=loss.high,
    )


@dataclass(frozen=True)
class Floor:
    """The lowest mass floor that costs at most so much; None where even the largest mass costs more.

    Attributes:
        way: how is dropped.
        limit: share of plain top-K's bits per byte.
        of_mean, of_high: by the mean, and by the upper end of its interval. The smallest mass that was tried where
            nothing costs more: then the floor may lie lower.
    """

    way: str
    limit: float
    of_mean: float | None
    of_high: float | None


def floors(rows: Sequence[Row], limit: float) -> list[Floor]:
    """The lowest mass floors of all ways."""
    found = []
    for way in WAYS:
        own = [row for row in rows if row.way == way]
        mass = [row.mass_floor or 0.0 for row in own]
        ends = ([row.bits_vs_top_k for row in own], [row.high for row in own])
        found.append(Floor(way, limit, *(lowest_floor(mass, end, 1.0 + limit) for end in ends)))
    return found


def lowest_floor(masses: Sequence[float], values: Sequence[float], most: float) -> float | None:
    """Smallest mass down to which values stay at most `most`, between two masses on the line that joins them.

    >>> lowest_floor([1.0, 0.9, 0.8], [1.0, 1.02, 1.06], 1.04)
    0.85
    >>> lowest_floor([1.0, 0.9], [1.0, 1.02], 1.04), lowest_floor([1.0, 0.9], [1.05, 1.02], 1.04)
    (0.9, None)
    """
    if values[0] > most:
        return None
    for index in range(1, len(masses)):
        if values[index] > most:
            part = (most - values[index - 1]) / (values[index] - values[index - 1])
            return round(masses[index - 1] + part * (masses[index] - masses[index - 1]), 12)
    return masses[-1]


def draw(rows: Sequence[Row], limit: float, path: Path) -> None:
    """Draw the curves: loss against the gate mass that was really retained."""
    with style.applied():
        figure, axes = style.new_plot("What retained gate mass means for the model")
        for way, color in WAYS.items():
            own = [row for row in rows if row.way == way]
            mass = [row.retained_mass for row in own]
            low, middle, high = (
                [100 * (getattr(row, end) - 1) for row in own] for end in ("low", "bits_vs_top_k", "high")
            )
            axes.fill_between(mass, low, high, color=color, alpha=0.18, linewidth=0)
            axes.plot(mass, middle, "o-", ms=4, color=color, label=way)
        for row in (row for row in rows if row.way == ALONE):
            axes.plot(row.retained_mass, 100 * (row.bits_vs_top_k - 1), "D", ms=6, color=style.INK, label=ALONE)
        axes.axhline(100 * limit, color=style.MUTED, lw=1, ls=(0, (4, 3)), label=f"+{100 * limit:g} %")
        axes.invert_xaxis()
        axes.set_xlabel("retained gate mass")
        axes.set_ylabel("bits per byte against top-k (%)")
        axes.grid()
        figure.legend(loc="outside right upper")
        style.save(figure, path)


def cell_of(reader: Reader, source: str | None) -> Scenario:
    """The scenario that was asked for, or the paper's cell with a model of this one's layers and experts.

    Raises:
        EvaluationError: there is no such scenario, or the model has fewer experts than the paper's cell devices.
    """
    try:
        if source is not None:
            return load_scenario(source)
        return _papers_cell(reader)
    except ValueError as error:
        raise EvaluationError(str(error)) from error


def _papers_cell(reader: Reader) -> Scenario:
    routers, longest = reader.model.routers, reader.model.longest
    shape = {"layers": routers.layers, "experts": routers.experts, "top_k": routers.top_k}
    passes = max(1, min(longest or 8 * TOKENS, 8 * TOKENS) // TOKENS)
    traffic = {"tokens": min(TOKENS, longest or TOKENS), "passes_per_episode": passes}
    return load_scenario("paper", name="paper-cell", model=shape, traffic=traffic, gating={"bank_passes": 8})


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _floor(value: float | None, smallest: float) -> str:
    return f"below {smallest:g}, if any" if value == smallest else _shown(value)


def _cells(row: Row) -> list[str]:
    loss = f"{100 * (row.bits_vs_top_k - 1):+.3f} % ({100 * (row.low - 1):+.3f} to {100 * (row.high - 1):+.3f})"
    numbers = (row.retained_mass, row.experts_per_token, row.latency_vs_top_k, row.bits_per_byte)
    return [row.way, _shown(row.mass_floor), *(f"{number:.4f}" for number in numbers), loss]


def _verdict(floor: Floor, smallest: float) -> str:
    mean, high = (_floor(end, smallest) for end in (floor.of_mean, floor.of_high))
    share = f"{100 * floor.limit:g} %"
    return f"{floor.way}: mass floor that costs {share}: {mean}; by the interval's upper end: {high}"


def _masses(text: str) -> list[float]:
    masses = [float(word) for word in text.split(",")]
    if not all(0.0 < mass <= 1.0 for mass in masses):
        raise ValueError(f"--masses is {text}, expected numbers of more than 0 and at most 1")
    return masses


def main(options: Options) -> None:
    masses = _masses(options.masses)
    reader = find_reader(options.model, words(options.text))
    scenario, plan = cell_of(reader, options.scenario), Plan(options.streams, options.seed, 1, 0)
    title = f"{reader.facts['name']} in {scenario.name}, {options.streams} streams"
    with harness.Report(options, COLUMNS, title=title) as report:
        rows = []
        for row in measure(reader.reading(scenario, plan), scenario, plan, masses):
            rows.append(row)
            report.add(row, _cells(row))
        if options.plot is not None:
            draw(rows, options.limit, options.plot)
        for floor in floors(rows, options.limit):
            report.note(_verdict(floor, min(masses)), floor)


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
