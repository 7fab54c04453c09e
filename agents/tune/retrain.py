"""After the search: train in full with what was found and with what is in use, on seeds that the search did not see."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from agents.files.run_dir import CONFIG, EVALUATIONS, RunDir
from agents.plan.hyperparameters import hyperparameters
from agents.plan.plan import Plan, plan_from
from agents.training import one_run


class StoppedError(Exception):
    """Asked to stop; `status` is the process's exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"stopped with status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Retrained:
    """Runs of the same hyperparameters: the best validation reward of each seed, and the folder that holds them."""

    folder: Path
    rewards: tuple[float, ...]


def retrain(plan: Plan, seeds: Sequence[int], folder: Path, console: Console) -> Retrained:
    """Train the plan once for each seed, into `seed-*` below the folder; go on with what is there already.

    Raises:
        StoppedError: Ctrl-C or SIGTERM; checkpoints are saved.
        ValueError: the folder holds runs of another plan.
    """
    return Retrained(folder, tuple(_best(replace(plan, seed=seed), folder / f"seed-{seed}", console) for seed in seeds))


def _best(plan: Plan, path: Path, console: Console) -> float:
    if (path / CONFIG).exists():
        if plan_from(RunDir(path).config(), path / CONFIG) != plan:
            raise ValueError(f"{path} holds a run of another plan: move it away, or choose another study")
        status = one_run.resume(path, console)
    else:
        status = one_run.start(plan, path, console)
    if status:
        raise StoppedError(status)
    with (path / EVALUATIONS).open(newline="", encoding="utf-8") as file:
        return max(float(row["reward"]) for row in csv.DictReader(file))


def comparison(rows: Mapping[str, Retrained], seeds: Sequence[int]) -> Table:
    """The best validation reward of every run, and the means."""
    table = Table("hyperparameters", *(f"seed {seed}" for seed in seeds), "mean", title="best validation reward")
    for name, found in rows.items():
        table.add_row(name, *(f"{reward:.4f}" for reward in found.rewards), f"{np.mean(found.rewards):.4f}")
    return table


def snippet(plan: Plan) -> str:
    """The scenario's section in the algorithm's YAML file, with the plan's hyperparameters."""
    default: dict[str, Any] = hyperparameters(plan.algorithm, None)
    own = {name: value for name, value in plan.hyperparameters.items() if value != default[name]}
    return yaml.safe_dump({"scenarios": {plan.scenario.name: own}}, sort_keys=False)
