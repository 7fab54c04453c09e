"""A sweep: runs that differ in any options of train.py, as a file lists them; all lie in one folder.

sweep.json            each run's name and settings, and the command that asked for them
algo-ppo_seed-0/ …    the runs, see `agents.files.run_dir`, named by what they differ in
logs/NAME.log …       what their processes printed
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from agents.files.run_dir import CONFIG, SWEEP, RunDir
from agents.plan.plan import Plan, plan_from
from agents.training.several import place, train_all
from agents.training.side_by_side import processes
from wdmoe_env.files.atomic import write_text
from wdmoe_env.files.provenance import git_revision, versions
from wdmoe_env.files.safe import StorageError, read_json
from wdmoe_env.files.yaml import read_yaml

MOST: Final = 10_000
"""Runs of a sweep."""
FORMS: Final = ("grid", "list")
Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is asked for.

    Attributes:
        plans: of each run, by its name.
        settings: of each run, as the file has them.
    """

    plans: dict[str, Plan]
    settings: dict[str, Settings]


def read_sweep(file: Path, plan_of: Callable[[Settings], Plan]) -> Sweep:
    """Read a sweep, and make the plan of each of its runs.

    Args:
        file: a YAML file with `grid`, lists of values whose combinations are run, or `list`, the settings of each run.
        plan_of: the plan of one run's settings; raises a ValueError that says what is wrong with them.

    Raises:
        ValueError: something is wrong with the file or with a run; tells all faults, each once.
    """
    runs = list(_runs(read_yaml(file), file))
    if not 0 < len(runs) <= MOST:
        raise ValueError(f"{file} asks for {len(runs):,} runs, expected 1 to {MOST:,}")
    names = [_name(settings) for settings in runs]
    alike = "two runs have the same settings, or some that look alike in a folder's name"
    faults = [f"{name} stands twice: {alike}" for name in _twice(names)]
    plans = dict[str, Plan]()
    for name, settings in zip(names, runs, strict=True):
        try:
            plans[name] = plan_of(settings)
        except ValueError as error:
            faults.append(f"{' '.join(str(error).split())} (first in {name})")
    if faults := list({fault.partition(" (first in ")[0]: fault for fault in reversed(faults)}.values())[::-1]:
        raise ValueError(f"{file} has {len(faults)} faults, nothing was started:" + "".join(f"\n  {f}" for f in faults))
    return Sweep(plans, dict(zip(names, runs, strict=True)))


def start(
    sweep: Sweep, path: Path, console: Console, command: str, jobs: int | None = None, on: str | None = None
) -> int:
    """Train all runs of a sweep in a new folder. Returns the process's exit status.

    Raises:
        PoolError: the place that `on` names cannot be had, or is lost.
        StorageError: the folder is used already, or cannot be written.
        ValueError: jobs is below 1.
    """
    at_once, parent = processes(jobs), RunDir(path)
    parent.check_unused()
    with place(on, jobs) as pool, parent.claimed(SWEEP):
        made = {"versions": versions(), "git_revision": git_revision(), "command": command}
        _write(path, {"runs": sweep.settings, **made})
        for name, plan in sweep.plans.items():
            RunDir(path / name).create({**plan.as_json(), **made})
        runs = [RunDir(path / name) for name in sweep.plans]
        total = max(plan.timesteps for plan in sweep.plans.values())
        return train_all(path, runs, total, console, at_once, pool, "runs")


def is_sweep(path: Path) -> bool:
    """Whether a folder holds the runs of a sweep."""
    return (path / SWEEP).is_file()


def resume(path: Path, console: Console, jobs: int | None = None, on: str | None = None) -> int:
    """Go on with all runs of a sweep that are not finished.

    Raises:
        PoolError: as `start`.
        StorageError: sweep.json or a run is broken or missing, or the runs are being trained.
        ValueError: jobs is below 1.
    """
    at_once, names = processes(jobs), read_json(path / SWEEP).get("runs")
    if not isinstance(names, dict) or not names or any("/" in name or name.startswith(".") for name in names):
        raise StorageError(f"{path / SWEEP} is broken: runs is {names!r:.60}, expected a mapping of names to settings")
    runs = [RunDir(path / name) for name in names]
    total = max(plan_from(run.config(), run.path / CONFIG).timesteps for run in runs)
    with place(on, jobs) as pool, RunDir(path).claimed(SWEEP):
        return train_all(path, runs, total, console, at_once, pool, "runs")


def _runs(data: Mapping[str, Any], file: Path) -> Iterator[Settings]:
    """The settings of each run."""
    if len(data) != 1 or (form := next(iter(data))) not in FORMS:
        raise ValueError(f"{file} holds {', '.join(map(str, data)) or 'nothing'}, expected one of {', '.join(FORMS)}")
    if form == "grid":
        yield from _combinations(data["grid"], file)
    elif not isinstance(data["list"], list) or not all(isinstance(run, dict) for run in data["list"]):
        raise ValueError(f"{file}: list is {data['list']!r:.60}, expected a list of mappings of options to values")
    else:
        yield from data["list"]


def _combinations(grid: Any, file: Path) -> Iterator[Settings]:
    if not isinstance(grid, dict) or not grid:
        raise ValueError(f"{file}: grid is {grid!r:.60}, expected a mapping of options to lists of values")
    if single := [name for name, values in grid.items() if not isinstance(values, list) or not values]:
        faults = "; ".join(f"{name} is {grid[name]!r:.60}" for name in single)
        raise ValueError(f"{file}: of grid, {faults}, expected lists of values")
    count = 1
    for values in grid.values():
        count *= len(values)
    if count > MOST:
        raise ValueError(f"{file} asks for {count:,} runs, expected at most {MOST:,}")
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _name(settings: Settings) -> str:
    """A folder's name that tells the settings: `algo-ppo_set.width-64`."""
    parts = [f"{key}-{Path(str(value)).stem if key == 'scenario' else value}" for key, value in settings.items()]
    return re.sub(r"[^\w.+-]", "-", "_".join(parts), flags=re.ASCII).lstrip(".-")[:150] or "run"


def _twice(names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _write(path: Path, data: Mapping[str, Any]) -> None:
    try:
        write_text(path / SWEEP, json.dumps(data, indent=1))
    except OSError as error:
        raise StorageError(f"{path / SWEEP} cannot be written: {error.strerror}") from error
