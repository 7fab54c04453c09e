"""What sets of seeds and sweeps have in common: several runs that stand in their directories, trained side by side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich.console import Console

from agents.files.run_dir import RunDir
from agents.training.on_pool import OnPool
from agents.training.side_by_side import SideBySide
from wdmoe_env.workers import places
from wdmoe_env.workers.units import Pool


def place(on: str | None, jobs: int | None) -> AbstractContextManager[Pool | None]:
    """The pool that `on` names; none without it, for then each run is a child of this process.

    Raises:
        PoolError: it cannot be had.
    """
    return nullcontext() if on is None else places.opened(on, jobs)


def train_all(
    path: Path, runs: Sequence[RunDir], total: int, console: Console, jobs: int, pool: Pool | None, what: str
) -> int:
    """Train all runs of a folder that are not finished. Returns the process's exit status.

    Args:
        path: the folder.
        runs: all of them.
        total: steps of the longest.
        console: where progress is told.
        jobs: how many at once, where there is no pool.
        pool: where they are trained; None: in children of this process.
        what: the word for them, such as seeds.

    Raises:
        PoolError: the pool is lost.
    """

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    done = [run for run in runs if run.finished()]
    for run in done:
        say(f"{run.path} is already finished")
    todo = [run for run in runs if run not in done]
    say(f"training {len(todo)} of {len(runs)} {what} in {path}, at most {jobs if pool is None else pool.size} at once")
    group = _group(todo, path / "logs", total, console, jobs, pool)
    status = group.train()
    finished = len(runs) - len(group.failed) - len(group.stopped)
    failed = f"; failed: {', '.join(group.failed)}" if group.failed else ""
    advice = f"; go on with: python train.py --resume {path}" if status else ""
    say(f"{finished} of {len(runs)} {what} are finished{failed}{advice}")
    return status


def _group(
    runs: list[RunDir], logs: Path, total: int, console: Console, jobs: int, pool: Pool | None
) -> SideBySide | OnPool:
    if pool is None:
        return SideBySide(runs, logs, jobs, total, console)
    return OnPool(runs, logs, pool, total, console)
