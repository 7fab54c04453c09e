"""A trial as a unit of work: a short training run, which asks after each evaluation whether it is worth going on."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from agents.files.run_dir import CONFIG, RunDir
from agents.plan.plan import Plan
from agents.training.divergence import DivergedError
from agents.training.moving import contents
from agents.training.trainer import Trainer
from wdmoe_env.console.stop import Stop
from wdmoe_env.workers.carried import CarriedScenario
from wdmoe_env.workers.units import Line


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial.

    Attributes:
        value: its best validation reward; None where it was pruned.
        diverged: how it diverged; None where it did not.
        files: of its run directory, without configuration and checkpoints.
    """

    value: float | None
    diverged: str | None
    files: Mapping[str, bytes]


class PrunedError(Exception):
    """The trial is not worth going on."""


def settings_of(plan: Plan) -> dict[str, Any]:
    """A plan without its scenario, which travels apart."""
    return {field.name: getattr(plan, field.name) for field in fields(Plan) if field.name != "scenario"}


def run_trial(line: Line, scenario: CarriedScenario, settings: Mapping[str, Any], name: str) -> Outcome:
    """Train; asks `(steps, reward)` after each evaluation, and stops early where the answer is True."""

    def evaluated(steps: int, reward: float) -> None:
        if line.ask((steps, reward)):
            raise PrunedError

    plan = Plan(scenario=scenario.opened(), **settings)
    with tempfile.TemporaryDirectory(prefix="wdmoe-") as folder:
        run = RunDir(Path(folder) / name)
        trainer, diverged, value = Trainer(plan, run, Console(quiet=True), evaluated), None, None
        run.create(trainer.config())
        try:
            trainer.train(Stop())
            value = trainer.best
        except PrunedError:
            pass
        except DivergedError as error:
            diverged = str(error)
        files = {name: content for name, content in contents(run.path).items() if not name.startswith("checkpoints/")}
    return Outcome(value, diverged, {name: content for name, content in files.items() if name != CONFIG})
