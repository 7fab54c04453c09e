"""Plan: what one training run is asked to do, and how `config.json` keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agents.files.tracking import WandbMode
from agents.plan.compatibility import saved_scenario
from agents.plan.hyperparameters import Algorithm, WarmStart, hyperparameters
from agents.plan.memory import check_memory
from wdmoe_env.checks import check_fields
from wdmoe_env.files.safe import StorageError
from wdmoe_env.scenario import Scenario
from wdmoe_env.settings.contents import FILES, relocated

MAX_STEPS, MAX_CELLS = 10**15, 2**20
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Cells = Annotated[int, Field(ge=1, le=MAX_CELLS)]


@dataclass(frozen=True)
class Plan:
    """What one training run is asked to do.

    Attributes:
        algorithm: ppo or sac.
        scenario: where it learns.
        hyperparameters: all of them, resolved, see `agents.plan.hyperparameters.hyperparameters`.
        timesteps: environment steps, all environments together.
        num_envs: cells side by side.
        seed: of the cells, the network's weights and the exploration.
        wandb: where to log.
        evaluate_every: steps between evaluations.
        evaluate_episodes: validation episodes in each.
        checkpoint_every: steps between checkpoints.
        warm_start: what the actor imitates before it learns: nothing, or the baseline `price`.

    Raises:
        ValueError: a value is of the wrong type or out of range, too much memory is needed, or the warm start is
            unknown.
    """

    algorithm: Algorithm
    scenario: Scenario
    hyperparameters: Mapping[str, Any]
    timesteps: Steps
    num_envs: Cells
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    wandb: WandbMode
    evaluate_every: Steps = 100_000
    evaluate_episodes: Cells = 32
    checkpoint_every: Steps = 250_000
    warm_start: WarmStart = "none"

    def __post_init__(self) -> None:
        # By the names of the options that set them.
        check_fields(self, lambda name: name.replace("_", "-"))
        check_memory(self.algorithm, self.scenario, self.hyperparameters, self.num_envs)

    def as_json(self) -> dict[str, Any]:
        """Fit for config.json."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "scenario": self.scenario.model_dump(mode="json"), "hyperparameters": {**self.hyperparameters}}


def plan_from(config: Mapping[str, Any], origin: Path) -> Plan:
    """Return the plan that `config` was written for.

    Files that it names are found where they were moved with `origin`.

    Raises:
        StorageError: something is missing or broken; names `origin`.
    """
    if lacking := [field.name for field in fields(Plan) if field.name not in config]:
        raise StorageError(f"{origin} lacks {lacking[0]!r}")
    values = {field.name: config[field.name] for field in fields(Plan)}
    scenario = values["scenario"]
    try:
        if isinstance(scenario, dict):
            scenario = relocated(scenario, config.get(FILES), origin.parent)
    except ValueError as error:
        raise StorageError(f"{origin}: {error}") from error
    values["scenario"] = saved_scenario(scenario, str(origin))
    try:
        if not isinstance(given := values["hyperparameters"], dict):
            raise ValueError(f"hyperparameters is {given!r:.60}, expected a mapping")
        known = hyperparameters(values["algorithm"], None, **given)
        if lacking := sorted(set(known) - set(given)):
            raise ValueError(f"hyperparameters lack {lacking[0]!r}")
        return Plan(**values)
    except (TypeError, ValueError) as error:
        raise StorageError(f"{origin} is broken: {error}") from error
