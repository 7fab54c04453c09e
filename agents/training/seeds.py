"""Several seeds of one plan: each is a run of its own, and all lie in one folder, which evaluation takes as one policy.

seeds.json            what was asked for: a run's config.json, and the seeds
seed-0/ seed-1/ …     the runs, see `agents.files.run_dir`; all are made before the first one starts
logs/seed-0.log …     what their processes printed
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from agents.files.run_dir import CONFIG, SEEDS, RunDir, read_config
from agents.plan.hyperparameters import told_section
from agents.plan.plan import Plan, plan_from
from agents.training.one_run import check_scenario, configuration
from agents.training.several import place, train_all
from agents.training.side_by_side import processes
from agents.training.trainer import Trainer
from wdmoe_env.files.safe import StorageError
from wdmoe_env.scenario import Scenario
from wdmoe_env.settings.contents import FILES
from wdmoe_env.workers.units import Pool

MOST = 1000


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that a text such as `4`, `0-4` or `0,2,5-7` names.

    >>> parse_seeds("0,2,5-7")
    [0, 2, 5, 6, 7]

    Raises:
        ValueError: it names none, one twice, or too many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", part, re.ASCII)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            raise ValueError(f"seeds is {text!r}, expected numbers and ranges such as 0-4 or 0,2,5-7")
        if len(seeds) + last - first >= MOST:
            raise ValueError(f"seeds is {text!r}, expected at most {MOST:,} of them")
        seeds += range(first, last + 1)
    if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise ValueError(f"seeds is {text!r}, which names {twice[0]} twice")
    return seeds


def start(
    plan: Plan, seeds: Sequence[int], path: Path, console: Console, jobs: int | None = None, on: str | None = None
) -> int:
    """Train a run for each seed in a new folder, at most `jobs` at once. Returns the process's exit status.

    Raises:
        PoolError: the place that `on` names cannot be had, see `wdmoe_env.workers.places`, or is lost.
        StorageError: the folder is used already, or cannot be written.
        ValueError: jobs is below 1, or a seed is out of range.
    """
    at_once, parent = processes(jobs), RunDir(path)
    plans = [replace(plan, seed=seed) for seed in seeds]
    parent.check_unused()
    # Built once here, so that a plan that cannot be built starts no process and leaves no folder behind.
    config = {**configuration(Trainer(plans[0], parent, console)), "seeds": list(seeds)}
    with place(on, jobs) as pool, parent.claimed(SEEDS):
        parent.create(config, SEEDS)
        if text := told_section(plan.algorithm, plan.scenario):
            console.print(text, markup=False, highlight=False, soft_wrap=True)
        return _train(path, config, plan, console, at_once, pool)


def is_set(path: Path) -> bool:
    """Whether a folder holds the runs of several seeds."""
    return (path / SEEDS).is_file()


def resume(
    path: Path, console: Console, scenario: Scenario | None = None, jobs: int | None = None, on: str | None = None
) -> int:
    """Go on with all runs of a folder that are not finished; a scenario, if one is given, must be the runs' own.

    Raises:
        PoolError: as `start`.
        StorageError: seeds.json is broken, the scenario is another one, or the runs are being trained.
        ValueError: jobs is below 1.
    """
    at_once, origin = processes(jobs), path / SEEDS
    config = read_config(origin)
    plan, seeds = plan_from(config, origin), config.get("seeds")
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int for seed in seeds)):
        raise StorageError(f"{origin} is broken: seeds is {seeds!r:.60}, expected a list of numbers")
    check_scenario(plan, path, scenario)
    # A seed that was not made yet is given the files where they are now.
    config = {**config, "scenario": plan.scenario.model_dump(mode="json")}
    with place(on, jobs) as pool, RunDir(path).claimed(SEEDS):
        return _train(path, config, plan, console, at_once, pool)


def _train(path: Path, config: Mapping[str, Any], plan: Plan, console: Console, jobs: int, pool: Pool | None) -> int:
    runs = [_made(path, seed, config) for seed in config["seeds"]]
    return train_all(path, runs, plan.timesteps, console, jobs, pool, "seeds")


def _made(path: Path, seed: int, config: Mapping[str, Any]) -> RunDir:
    """The run of a seed, which stands before its first step where there was none."""
    run = RunDir(path / f"seed-{seed}")
    if not (run.path / CONFIG).exists():
        run.create({**{name: value for name, value in config.items() if name not in ("seeds", FILES)}, "seed": seed})
    return run
