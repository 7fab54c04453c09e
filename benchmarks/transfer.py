"""Policies in cells of other sizes than the one they were trained in: their share of the most reward that is proved.

The cells are those of `paper` with another number of devices and, as there, one expert on each; a quarter of them
slow, a quarter fast. Nothing is trained here.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluation.comparison import Comparison, compare
from evaluation.episodes.contenders import find_contenders
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan
from wdmoe_env import Scenario, load_scenario

METRICS = ("optimality", "reward", "retained_mass")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", default="wdmoe,price,pretrained:ppo", help="as for evaluate.py")
    parser.add_argument("--devices", type=int, nargs="+", default=[4, 8, 16, 32], help="sizes of the cell")
    parser.add_argument("--episodes", type=int, default=50, help="held-out episodes of each size")
    parser.add_argument("--bound-steps", type=int, default=200, help="single steps that are compared with the bound")
    parser.add_argument("--seed", type=int, default=0, help="seed of the episodes")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    options = parser.parse_args()
    table = Table("devices", "policy", "runs", "of the proven most, %", "interquartile mean, %", "reward", "mass")
    try:
        contenders = find_contenders(options.policies.split(","), transfer=True)
        plan = Plan(options.episodes, options.seed, decisions=1, bound_steps=options.bound_steps)
        for devices in options.devices:
            for row in rows(compare(cell(devices), contenders, plan), devices):
                if options.json:
                    print(json.dumps(row), flush=True)
                share = row["optimality"]
                ends = ", ".join(f"{100 * end:.1f}" for end in share["ci95"])
                table.add_row(
                    f"{devices}", row["policy"], f"{row['runs']}", f"{100 * share['mean']:.1f} ({ends})",
                    f"{100 * share['iqm']:.1f}", f"{row['reward']['mean']:.3f}", f"{row['retained_mass']['mean']:.3f}",
                )  # fmt: skip
    except (EvaluationError, ValueError) as error:
        sys.exit(f"error: {error}")
    if not options.json:
        Console().print(table)


if __name__ == "__main__":
    main()
