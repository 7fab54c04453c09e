"""Policies in cells of other sizes than the one they were trained in: their share of the most reward that is proved.

The cells are those of `paper` with another number of devices and, as there, one expert on each; a quarter of them
slow, a quarter fast. Nothing is trained here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final

from benchmarks import harness

from evaluation.comparison import Comparison, compare
from evaluation.episodes.contenders import find_contenders
from evaluation.episodes.plan import Plan
from wdmoe_env import Scenario, load_scenario
from wdmoe_env.console.words import words

METRICS: Final = ("optimality", "reward", "retained_mass")
COLUMNS: Final = ("devices", "policy", "runs", "of the proven most, %", "interquartile mean, %", "reward", "mass")


@dataclass(frozen=True)
class Options(harness.Options):
    """What is compared."""

    policies: str = "wdmoe,price,pretrained:ppo"
    """As for evaluate.py."""
    devices: tuple[int, ...] = (4, 8, 16, 32)
    """Sizes of the cell."""
    episodes: int = 50
    """Held-out episodes of each size."""
    bound_steps: int = 200
    """Single steps that are compared with the bound."""
    seed: int = 0
    """Seed of the episodes."""


def cell(devices: int) -> Scenario:
    """`paper` with a number of devices, at least 4."""
    if devices < 4:
        raise ValueError(f"devices is {devices}, expected at least 4")
    paper = load_scenario("paper")
    slow, medium, fast = (group.model_dump() for group in paper.devices)
    counts = devices // 4, devices - 2 * (devices // 4), devices // 4
    groups = [{**group, "count": count} for group, count in zip((slow, medium, fast), counts, strict=True)]
    return load_scenario(paper, name=f"paper-{devices}", devices=groups, model={"experts": devices})


def rows(comparison: Comparison, devices: int) -> list[dict[str, Any]]:
    """A row for each policy, with means and intervals; of the share also the interquartile mean."""
    found: list[dict[str, Any]] = []
    for result in comparison.results:
        values = {name: result.estimates[name].as_dict() for name in METRICS}
        found.append({"devices": devices, "policy": result.name, "runs": len(result.runs), **values})
    return found


def cells(row: dict[str, Any]) -> list[str]:
    """A row as text."""
    share = row["optimality"]
    ends = ", ".join(f"{100 * end:.1f}" for end in share["ci95"])
    means = (f"{row[name]['mean']:.3f}" for name in ("reward", "retained_mass"))
    found = f"{100 * share['mean']:.1f} ({ends})", f"{100 * share['iqm']:.1f}"
    return [f"{row['devices']}", row["policy"], f"{row['runs']}", *found, *means]


def main(options: Options) -> None:
    contenders = find_contenders(words(options.policies), transfer=True)
    plan = Plan(options.episodes, options.seed, decisions=1, bound_steps=options.bound_steps)
    with harness.Report(options, COLUMNS, text=2) as report:
        for devices in options.devices:
            for row in rows(compare(cell(devices), contenders, plan), devices):
                report.add(row, cells(row))


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__, one_thread=True))
