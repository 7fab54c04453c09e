"""Start a training run in a new directory, or go on with one."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from agents.files.run_dir import CONFIG, RunDir
from agents.files.tracking import TrackingError
from agents.plan.compatibility import scenario_difference
from agents.plan.hyperparameters import told_section
from agents.plan.plan import Plan, plan_from
from agents.training.trainer import Trainer
from wdmoe_env.console.stop import Stop
from wdmoe_env.files.safe import StorageError
from wdmoe_env.scenario import Scenario


def start(plan: Plan, path: Path, console: Console) -> int:
    """Train in a new directory. Returns the process's exit status.

    Raises:
        StorageError: the directory is used already, or cannot be written.
        TrackingError: Weights & Biases does not start.
        ValueError: training diverged.
    """
    run = RunDir(path)
    run.check_unused()
    with Stop().listening() as stop:
        trainer = Trainer(plan, run, console)
        # Only now: a plan that cannot be built leaves no directory behind.
        with run.claimed():
            run.create(configuration(trainer))
            try:
                trainer.track()
            except TrackingError:
                run.discard()
                raise
            if text := told_section(plan.algorithm, plan.scenario):
                trainer.say(text)
            return trainer.train(stop)


def configuration(trainer: Trainer) -> dict[str, Any]:
    """What `config.json` keeps: the plan, with what it is carried out, and the command that asked for it."""
    return {**trainer.config(), "command": shlex.join(["python", *sys.argv])}


def resume(path: Path, console: Console, scenario: Scenario | None = None) -> int:
    """Go on with the run in a directory; one without a checkpoint starts over.

    A scenario, if one is given, must be the run's own.

    Raises:
        StorageError: there is no run, its checkpoint is broken, the scenario is another one, or it is in use.
        TrackingError: Weights & Biases does not start.
        ValueError: training diverged.
    """
    run = RunDir(path)
    plan = plan_from(run.config(), path / CONFIG)
    check_scenario(plan, path, scenario)
    with run.claimed(), Stop().listening() as stop:
        trainer = Trainer(plan, run, console)
        trainer.restore()
        if trainer.finished:
            trainer.say(f"{path} is already finished: {trainer.steps:,} steps; start a new run to train longer")
            return 0
        trainer.say(f"resuming {path} at {trainer.steps:,} of {plan.timesteps:,} steps")
        trainer.track()
        return trainer.train(stop)


def check_scenario(plan: Plan, path: Path, scenario: Scenario | None) -> None:
    """Raise a StorageError if a scenario is given that is not the one that `path` was started with."""
    if scenario is not None and (difference := scenario_difference(plan.scenario, scenario)):
        raise StorageError(f"{path} was started with another scenario: {difference}")
